"""The recurrent classifier: padding, each way of pooling, dropout."""

import drawn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import linear, lstm, pooling
from dlx.models.recurrent_classifier import POOLINGS, RecurrentClassifier

RNG = jax.random.key(0)
LENGTHS = jnp.asarray([4, 2])
IDS = jnp.asarray([[1, 2, 3, 4], [5, 2, 0, 0]])


def model_of(**options):
  sizes = {"d_word": 4, "d_hidden": 3, "num_layers": 2, "d_attention": 5}
  return RecurrentClassifier(7, 3, **{**sizes, **options})


@pytest.mark.sampled(2)
@pytest.mark.parametrize("pooling_, cell", zip(POOLINGS, ("lstm", "gru", "rnn", "lstm")))
def test_padding_changes_nothing(pooling_, cell):
  model = model_of(pooling=pooling_, cell=cell)
  variables, apply = drawn.variables(model.init, RNG, IDS, LENGTHS), jax.jit(model.apply)
  logits, weights = apply(variables, IDS, LENGTHS)
  assert logits.shape == (2, 3) and (weights is None) == (pooling_ != "attention")
  wide = jnp.pad(IDS, ((0, 0), (0, 3)), constant_values=6)
  np.testing.assert_allclose(apply(variables, wide, LENGTHS)[0], logits, rtol=1e-5, atol=1e-6)
  short, _ = apply(variables, IDS[1:, :2], LENGTHS[1:])
  np.testing.assert_allclose(short, logits[1:], rtol=1e-5, atol=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("how", ["last", "attention"])
def test_the_logits_are_those_of_the_pooled_states(how):
  model = model_of(pooling=how, num_layers=1)
  variables = drawn.variables(model.init, RNG, IDS, LENGTHS)
  params, (logits, found) = variables["params"], model.apply(variables, IDS, LENGTHS)
  for i, (ids, n) in enumerate(zip(IDS, LENGTHS)):
    x = params["words"]["embedding"][ids[:n]]
    (_, h), ys = lstm.scan(params["layer_0"]["forward"], x)
    (_, h_back), ys_back = lstm.scan(params["layer_0"]["backward"], x, reverse=True)
    if how == "last":
      pooled = jnp.concatenate([h, h_back])
    else:
      y = jnp.concatenate([ys, ys_back], -1)
      pooled = found[i, :n] @ y
      weights = pooling.attention_weights(params["pooling"], y)
      np.testing.assert_allclose(found[i, :n], weights, atol=1e-6)
    np.testing.assert_allclose(logits[i], linear.apply(params["head"], pooled), atol=1e-5)


@pytest.mark.full
def test_dropout_is_drawn_in_training_only():
  model = model_of(dropout_rate=0.5, recurrent_dropout_rate=0.5, pooling="max")
  variables = drawn.variables(model.init, RNG, IDS, LENGTHS)
  train = jax.jit(
      lambda rng: model.apply(variables, IDS, LENGTHS, train=True, rngs={"dropout": rng})[0]
  )
  first, second = (train(jax.random.key(i)) for i in (1, 2))
  assert np.abs(first - second).max() > 1e-3
  plain = model_of(pooling="max").apply(variables, IDS, LENGTHS)[0]
  np.testing.assert_array_equal(model.apply(variables, IDS, LENGTHS)[0], plain)
