"""docs/shapes-of-sequence-models.md: shapes of outputs, and parameters that do not depend on T."""

import math

import jax
import jax.numpy as jnp
import pytest

from dlx.layers import recurrent
from dlx.layers.recurrent import CELLS
from dlx.models.forecaster import Forecaster
from dlx.models.language_model import RecurrentLanguageModel
from dlx.models.sequence_heads import Classifier, EncoderDecoder, LanguageModel
from dlx.models.transformer import Transformer

B, V, K, D, H, F = 2, 11, 3, 8, 5, 7
LENGTHS = (1, 30)


def ids(t):
  return jax.ShapeDtypeStruct((B, t), jnp.int32)


def values(t):
  return jax.ShapeDtypeStruct((B, t), jnp.float32)


def traced(model, *args, **options):
  """(variables, output) as shapes."""
  function = lambda *args: model.init_with_output(jax.random.key(0), *args, **options)  # noqa: E731
  output, variables = jax.eval_shape(function, *args)
  return variables["params"], output


def count(params):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def transformer(**options):
  return Transformer(V, d_model=D, num_layers=2, num_heads=2, d_ff=F, **options)


FORECASTERS = {
    **{name: Forecaster(name, H, 2) for name in CELLS},
    **{
        positions: Forecaster("transformer", D, 2, 2, F, positions=positions)
        for positions in ("rotary", "sinusoidal")
    },
}
MODELS = {
    **{f"forecaster {name}": (model, values) for name, model in FORECASTERS.items()},
    **{
        f"language model {name}": (RecurrentLanguageModel(V, D, H, 2, cell=name), ids)
        for name in CELLS
    },
    **{
        f"{positions} transformer": (transformer(positions=positions), ids)
        for positions in ("rotary", "sinusoidal", "none")
    },
    "causal transformer": (transformer(positions="rotary", is_causal=True), ids),
    "convolution": (transformer(positions="none", conv_width=3), ids),
    "classifier": (Classifier(transformer(), K), ids),
    "masked language model": (LanguageModel(transformer(), mlm_transform=True), ids),
}


@pytest.mark.parametrize("model, inputs", MODELS.values(), ids=MODELS)
def test_no_parameter_depends_on_the_length_of_the_sequence(model, inputs):
  shapes = [traced(model, inputs(t))[0] for t in LENGTHS]
  assert shapes[0] == shapes[1] and count(shapes[0])
  # And so the same parameters take sequences of every length.
  run = lambda params, x: model.apply({"params": params}, x)  # noqa: E731
  output = jax.eval_shape(run, shapes[0], inputs(17))
  assert jax.tree.leaves(output)[0].shape[0] == B


def test_learned_positions_are_the_exception():
  sizes = {m: count(traced(transformer(positions="learned", max_length=m), ids(4))[0])
           for m in (4, 9)}  # fmt: skip
  without = count(traced(transformer(positions="none"), ids(4))[0])
  assert sizes == {m: without + m * D for m in (4, 9)}
  with pytest.raises(ValueError, match="expected at most max_length=4 tokens, got 5"):
    traced(transformer(positions="learned", max_length=4), ids(5))


@pytest.mark.parametrize("name, options, gates, extra", [
    ("rnn", {}, 1, 0), ("gru", {}, 3, 0), ("gru", {"reset_after": True}, 3, 3 * H),
    ("lstm", {}, 4, 0),
])  # fmt: skip
def test_parameters_of_a_recurrent_layer(name, options, gates, extra):
  init = lambda rng: recurrent.init(rng, D, H, 2, cell=CELLS[name], **options)  # noqa: E731
  first, second = jax.eval_shape(init, jax.random.key(0))
  assert count(first) == gates * H * (D + H + 1) + extra
  assert count(second) == gates * H * (H + H + 1) + extra


def test_parameters_of_a_block():
  for positions in ("rotary", "sinusoidal", "none"):
    params, _ = traced(transformer(positions=positions), ids(4))
    assert count(params["block0"]) == 4 * D * (D + 1) + 2 * D * F + F + D + 4 * D
    assert count(params) == V * D + 2 * count(params["block0"]) + 2 * D  # Embedding, last norm.


def test_shapes_of_outputs():
  t = 6
  for model in FORECASTERS.values():
    assert traced(model, values(t))[1].shape == (B,)
  assert traced(Classifier(transformer(), K), ids(t))[1].shape == (B, K)
  assert traced(RecurrentLanguageModel(V, D, H, 2), ids(t))[1][0].shape == (B, t, V)
  decoder = LanguageModel(transformer(is_causal=True))
  assert traced(decoder, ids(t))[1].shape == (B, t, V)
  masked = lambda ids, places: model.init_with_output(  # noqa: E731
      jax.random.key(0), ids, positions=places
  )
  model = LanguageModel(transformer(), mlm_transform=True)
  assert jax.eval_shape(masked, ids(t), ids(3))[0].shape == (B, 3, V)
  both = EncoderDecoder(transformer(), decoder)
  assert traced(both, ids(9), ids(t))[1].shape == (B, t, V)
