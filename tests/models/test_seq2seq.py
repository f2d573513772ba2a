"""Encoders with decoders: reading a target whole, token by token, and as beams."""

import functools

import drawn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import alignment, beam_search
from dlx.models import seq2seq

pytestmark = pytest.mark.usefixtures("x64")

COMMON = {"d_model": 8, "tied": True, "shared": False, "dropout_rate": 0.1}
RECURRENT = {**COMMON, "architecture": "recurrent", "num_layers": 2, "cell": "gru"}
TRANSFORMER = {
    **COMMON, "architecture": "transformer", "num_encoder_layers": 1, "num_layers": 2,
    "num_heads": 2, "d_ff": 12, "positions": "rotary", "dtype": "float64",
}  # fmt: skip
OPTIONS = {
    "gru, additive": {**RECURRENT, "attention": "additive"},
    "lstm, multiplicative": {
        **RECURRENT, "num_layers": 1, "cell": "lstm", "attention": "multiplicative", "tied": False,
    },
    "convolutional": {**COMMON, "architecture": "convolutional", "num_layers": 2, "kernel_size": 3},
    "transformer": {**TRANSFORMER, "shared": True},
}  # fmt: skip
B, S, T, V = 3, 5, 4, 11


@pytest.fixture(scope="module", params=OPTIONS)
def case(request):
  """(model, params, source, mask, ids), the params in float64."""
  with jax.enable_x64(True):
    model = seq2seq.make(OPTIONS[request.param], V, V, max_length=8)
    rng = np.random.default_rng(0)
    source, ids = (jnp.asarray(rng.integers(3, V, (B, n)), jnp.int32) for n in (S, T))
    mask = jnp.arange(S) < jnp.array([5, 3, 1])[:, None]
    variables = drawn.variables(model.init, jax.random.key(0), source, mask, ids, dtype=float)
    return model, variables["params"], source, mask, ids


def close(found, expected):
  np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def whole(model):
  """The jitted logits of whole targets."""
  return jax.jit(lambda params, *inputs: model.apply({"params": params}, *inputs))


@pytest.mark.sampled(1)
def test_token_by_token_the_logits_of_beams_are_those_of_the_whole_targets(case):
  """Two targets for each source, read side by side, in dimensions (B, 2)."""
  model, params, source, mask, ids = case
  targets = jnp.stack([ids, ids[::-1]], 1)  # (B, 2, T)

  @jax.jit
  def by_token(params):
    memory, carry = model.apply({"params": params}, source, mask, method="encode")
    carry = jax.tree.map(lambda x: jnp.repeat(x[:, None], 2, 1) if x.ndim else x, carry)

    def step(carry, ids):
      logits, carry = model.apply(
          {"params": params}, memory, carry, ids[..., None], method="decode"
      )
      return carry, logits[..., 0, :]

    return jax.lax.scan(step, carry, jnp.moveaxis(targets, -1, 0))[1]

  found = jnp.moveaxis(by_token(params), 0, -2)  # (B, 2, T, V)
  for k in range(2):
    close(found[:, k], whole(model)(params, source, mask, targets[:, k]))


@pytest.mark.parametrize("positions", ["rotary", pytest.param("learned", marks=pytest.mark.full)])
def test_beams_that_replace_others_continue_their_tokens(positions):
  """In the cache that the beams of a transformer share."""
  options = {**OPTIONS["transformer"], "positions": positions}
  model = seq2seq.make(options, V, V, max_length=8)
  rng = np.random.default_rng(0)
  source, drawn_ids = (jnp.asarray(rng.integers(3, V, n), jnp.int32) for n in ((B, S), (B, 3, T)))
  parents = jnp.asarray(rng.integers(0, 3, (T, B, 3)), jnp.int32)
  mask = jnp.arange(S) < jnp.array([5, 3, 1])[:, None]
  params = drawn.variables(
      model.init, jax.random.key(0), source, mask, drawn_ids[:, 0], dtype=float
  )["params"]

  @jax.jit
  def by_token(params):
    memory, carry = model.apply({"params": params}, source, mask, 3, method="encode")

    def step(state, inputs):
      carry, read = state
      t, ids, parents = inputs
      logits, carry = model.apply(
          {"params": params}, memory, carry, ids[..., None], method="decode"
      )
      carry = model.pair.reorder(carry, parents)
      read = read.at[..., t].set(ids)
      return (carry, beam_search.pick(read, parents)), (logits[..., 0, :], read)

    inputs = jnp.arange(T), jnp.moveaxis(drawn_ids, -1, 0), parents
    read = jnp.zeros((B, 3, T), jnp.int32)
    return jax.lax.scan(step, (carry, read), inputs)[1]

  found, read = by_token(params)  # (T, B, 3, V) and (T, B, 3, T)
  for t in range(1, T):
    assert not (read[t] == drawn_ids.at[..., t + 1 :].set(0)).all()  # Beams were replaced.
  for t, k in np.ndindex(T, 3):
    close(found[t, :, k], whole(model)(params, source, mask, read[t, :, k])[:, t])


def test_a_search_with_a_shared_cache_finds_what_one_with_gathered_caches_does():
  model = seq2seq.make(OPTIONS["transformer"], V, V, max_length=8)
  source = jnp.asarray(np.random.default_rng(0).integers(3, V, (16, S)), jnp.int32)
  mask = source > 0
  variables = drawn.variables(model.init, jax.random.key(3), source, mask, source, dtype=float)

  @functools.partial(jax.jit, static_argnums=(1, 2))
  def search(variables, width, reorder):
    memory, carry = model.apply(variables, source, mask, width, method="encode")

    def step(carry, ids):
      logits, carry = model.apply(variables, memory, carry, ids[..., None], method="decode")
      return carry, logits[..., 0, :]

    return beam_search.beam_search(
        step, carry, batch_size=16, width=3, max_length=7, start=1, end=2, reorder=reorder
    )

  expected = search(variables, None, None)
  found = search(variables, 3, model.pair.reorder)
  np.testing.assert_array_equal(found.ids, expected.ids)
  close(found.scores, expected.scores)


@pytest.mark.sampled(1)
def test_padding_and_later_tokens_change_nothing(case):
  model, params, source, mask, ids = case
  expected = whole(model)(params, source, mask, ids)
  other = jnp.where(mask, source, 7)
  longer = jnp.pad(other, ((0, 0), (0, 2)), constant_values=4)
  changed = ids.at[:, -1].set(9)
  found = model.apply({"params": params}, longer, jnp.pad(mask, ((0, 0), (0, 2))), changed)
  close(found[:, :-1], expected[:, :-1])


@pytest.mark.full
def test_every_parameter_has_a_gradient(case):
  model, params, source, mask, ids = case

  @jax.jit
  @jax.grad
  def gradient(params):
    logits = model.apply(
        {"params": params}, source, mask, ids, True, rngs={"dropout": jax.random.key(1)}
    )
    return jnp.square(logits).mean()

  for path, grad in jax.tree.leaves_with_path(gradient(params)):
    assert jnp.isfinite(grad).all() and jnp.any(grad != 0), jax.tree_util.keystr(path)


@pytest.mark.full
def test_alignments_are_distributions_over_the_source_without_padding(case):
  model, params, source, mask, ids = case
  found = seq2seq.alignment(model, params, source, mask, ids)
  close(found.sum(-1), np.ones((B, T)))
  assert (jnp.where(mask[:, None], 0, found) == 0).all()


@pytest.mark.parametrize("kind", ["additive", "multiplicative"])
def test_attention_is_its_equation(kind):
  params = alignment.init(jax.random.key(0), kind, 4, 6)
  rng = np.random.default_rng(1)
  query, memory = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 6))
  found = alignment.weights(params, query, alignment.project(params, memory))
  for b, t in np.ndindex(2, 3):
    key = memory[b] @ np.asarray(params["key"]["kernel"])
    scores = key @ query[b, t]
    if kind == "additive":
      q = query[b, t] @ np.asarray(params["query"]["kernel"])
      scores = np.tanh(q + key) @ np.asarray(params["vector"])
    close(found[b, t], np.exp(scores) / np.exp(scores).sum())
  with pytest.raises(ValueError, match="expected additive or multiplicative, got 'none'"):
    alignment.init(jax.random.key(0), "none", 4, 6)
