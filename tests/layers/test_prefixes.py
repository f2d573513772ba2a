"""Prefix tuning: against a loop in NumPy, with masks, causal, in blocks, from a cache."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import attention, kv_cache, prefixes

pytestmark = pytest.mark.usefixtures("x64")
N, T, D, P = 3, 7, 12, 4
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(2, T, D)))
PARAMS = {
    name: {"kernel": RNG.normal(size=(D, D)) / 3, "bias": RNG.normal(size=D)}
    for name in ("query", "key", "value", "out")
}
PREFIX = {"key": RNG.normal(size=(P, D)), "value": RNG.normal(size=(P, D))}
VALID = np.arange(T) < np.array([[T], [4]])
MASKS = {
    "all": None, "padding": VALID[:, None, None, :], "none": np.zeros((2, 1, 1, 1), bool),
    "pairs": RNG.random((2, N, T, T)) < 0.5,
}  # fmt: skip


def turned(x):
  """Rotary positions of one head (T, D): pairs (i, i + D / 2) turn by t 10000^(-2i / D)."""
  half = x.shape[-1] // 2
  angle = np.arange(len(x))[:, None] * 10_000.0 ** (-np.arange(half) / half)
  a, b = x[:, :half], x[:, half:]
  return np.concatenate(
      [a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], -1
  )


def reference(x, mask, is_causal, rotary):
  """One query at a time; the prefix is a list of keys and values before those of the tokens."""
  allowed = np.broadcast_to(True if mask is None else mask, (2, N, T, T))
  y = np.zeros((2, T, D))
  for b in range(2):
    q, k, v = (x[b] @ PARAMS[n]["kernel"] + PARAMS[n]["bias"] for n in ("query", "key", "value"))
    for n in range(N):
      columns = slice(n * D // N, (n + 1) * D // N)
      queries, keys = (turned(h[:, columns]) if rotary else h[:, columns] for h in (q, k))
      for t in range(T):
        seen = [s for s in range(T) if allowed[b, n, t, s] and not (is_causal and s > t)]
        rows = np.concatenate([PREFIX["key"][:, columns], keys[seen]])
        values = np.concatenate([PREFIX["value"][:, columns], v[seen, columns]])
        e = np.exp(rows @ queries[t] / np.sqrt(D // N))
        y[b, t, columns] = (e / e.sum()) @ values
  return y @ PARAMS["out"]["kernel"] + PARAMS["out"]["bias"]


@pytest.mark.sampled(5)
@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("implementation", ["autodiff", "blocked"])
@pytest.mark.parametrize("mask, is_causal, rotary", [
    ("all", False, False), ("padding", False, True), ("all", True, False), ("padding", True, True),
    ("pairs", False, False), ("pairs", True, True), ("none", False, False),
])  # fmt: skip
def test_attention_after_a_prefix_equals_a_loop(mask, is_causal, rotary, implementation, jitted):
  def f(params, prefix, x):
    return prefixes.multi_head(
        params, prefix, x, num_heads=N, mask=MASKS[mask], is_causal=is_causal, rotary=rotary,
        implementation=implementation,
    )  # fmt: skip

  expected = reference(np.asarray(X), MASKS[mask], is_causal, rotary)
  found = (jax.jit(f) if jitted else f)(PARAMS, PREFIX, X)
  np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.full
def test_the_gradient_of_a_prefix_in_blocks_is_that_of_the_plain_form():
  """Of 70 tokens, which make several blocks; and by finite differences."""
  x = jnp.asarray(RNG.normal(size=(1, 70, D)))

  def loss(prefix, implementation):
    y = prefixes.multi_head(
        PARAMS, prefix, x, num_heads=N, is_causal=True, implementation=implementation
    )
    return (y**2).mean()

  plain = jax.grad(loss)(PREFIX, "autodiff")
  blocked = jax.jit(jax.grad(loss), static_argnums=1)(PREFIX, "blocked")
  for name in PREFIX:
    np.testing.assert_allclose(blocked[name], plain[name], rtol=1e-9, atol=1e-13)
    step = np.zeros((P, D))
    step[1, 5] = 1e-5
    up, down = (loss({**PREFIX, name: PREFIX[name] + s}, "autodiff") for s in (step, -step))
    np.testing.assert_allclose(plain[name][1, 5], (up - down) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize("is_causal", [False, True])
def test_the_weights_of_tokens_leave_room_for_the_prefix(is_causal):
  query, key, _ = attention.project(PARAMS, X, num_heads=N)
  a = prefixes.weights(PREFIX, query, key, mask=MASKS["padding"], is_causal=is_causal)
  rows = np.broadcast_to(PREFIX["key"].reshape(P, N, -1).swapaxes(0, 1), (2, N, P, D // N))
  scores = query @ np.concatenate([rows, key], 2).swapaxes(-1, -2) / np.sqrt(D // N)
  seen = np.broadcast_to(MASKS["padding"], (2, N, T, T)) & (np.tri(T, dtype=bool) | (not is_causal))
  e = np.exp(scores) * np.concatenate([np.ones((2, N, T, P)), seen], -1)
  np.testing.assert_allclose(a, (e / e.sum(-1, keepdims=True))[..., P:], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("rotary", [False, True])
def test_a_cache_gives_the_causal_attention_after_a_prefix(rotary):
  expected = reference(np.asarray(X), None, True, rotary)
  cache = kv_cache.init((2,), T + 2, num_heads=N, d_model=D, dtype=float)
  cache = jax.tree.map(lambda rows: rows + 99.0, cache)  # Unwritten rows must not matter.
  position, found = 0, []
  for size in (3, 1, T - 4):
    y, cache = kv_cache.attend(
        PARAMS, X[:, position : position + size], cache, jnp.int32(position), num_heads=N,
        rotary=rotary, prefix=PREFIX,
    )  # fmt: skip
    found, position = [*found, y], position + size
  np.testing.assert_allclose(np.concatenate(found, 1), expected, rtol=1e-11, atol=1e-12)


def test_an_empty_prefix_is_attention_itself():
  empty = prefixes.init(jax.random.key(0), 0, D)
  found = prefixes.multi_head(PARAMS, empty, X, num_heads=N, is_causal=True)
  expected = attention.multi_head(PARAMS, X, num_heads=N, is_causal=True)
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_new_prefix_only_takes_weight_from_the_tokens():
  prefix = prefixes.init(jax.random.key(0), 64, D)
  assert not prefix["value"].any() and 0.8 < prefix["key"].std() < 1.2
  query, key, value = attention.project(PARAMS, X, num_heads=N)
  a = prefixes.weights(prefix, query, key)
  expected = np.swapaxes(a @ value, 1, 2).reshape(2, T, D) @ PARAMS["out"]["kernel"]
  found = prefixes.multi_head(PARAMS, prefix, X, num_heads=N)
  np.testing.assert_allclose(found, expected + PARAMS["out"]["bias"], rtol=1e-10, atol=1e-12)
