"""Attention: values, masks, symmetries, blocks, multi-head, devices, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx import platform
from dlx.layers import attention

eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
each_implementation = pytest.mark.parametrize("implementation", ["autodiff", "blocked"])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  """Blocks of 4 queries and 3 keys, so that small arrays have several, some of them padded."""
  monkeypatch.setattr(attention, "block_sizes", lambda query_shape, key_shape: (4, 3))


REAL_BLOCK_SIZES = attention.block_sizes


def draw(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


def attend(implementation, **options):
  return lambda *args: attention.dot_product_attention(
      *args, **options, implementation=implementation
  )


def reference(query, key, value, mask, scale):
  """Attention for one query at a time: scores, exponentials, weighted mean of the values."""
  query, key, value = map(np.asarray, (query, key, value))
  out = np.zeros((*query.shape[:-1], value.shape[-1]))
  for *head, t in np.ndindex(query.shape[:-1]):
    head = tuple(head)
    e = [
        np.exp(scale * (query[*head, t] @ key[*head, s])) * mask[*head, t, s]
        for s in range(key.shape[-2])
    ]
    for s, e_s in enumerate(e):
      if sum(e) > 0:
        out[*head, t] += e_s / sum(e) * value[*head, s]
  return out


@pytest.mark.sampled(2)
@eager_and_jit
@each_implementation
@pytest.mark.parametrize(
    "queries, keys, is_causal", [(5, 7, False), (5, 7, True), (8, 4, True), (1, 6, False)]
)
def test_the_output_matches_a_loop_over_queries(
    x64, compile_, implementation, queries, keys, is_causal
):
  args = draw((2, queries, 3), (2, keys, 3), (2, keys, 2))
  mask = np.random.default_rng(1).random((2, queries, keys)) < 0.7
  out = compile_(attend(implementation, mask=mask, is_causal=is_causal, scale=0.8))(*args)
  assert out.dtype == jnp.float64
  allowed = mask & (np.tri(queries, keys, dtype=bool) | (not is_causal))
  np.testing.assert_allclose(out, reference(*args, allowed, 0.8), rtol=1e-12, atol=1e-14)


@pytest.mark.sampled(2)
@each_implementation
@pytest.mark.parametrize("is_causal", [False, True], ids=["all", "causal"])
def test_values_and_gradients_match_jax_nn(implementation, is_causal):
  # jax.nn's layout is (B, T, N, D), its scale 1/sqrt(D) too.
  *args, d_out = (x.astype(jnp.float32) for x in draw(*[(2, 3, 10, 4)] * 4))
  out, vjp = jax.vjp(attend(implementation, is_causal=is_causal), *args)

  def by_jax(*args):
    moved = (x.swapaxes(-2, -3) for x in args)
    return jax.nn.dot_product_attention(*moved, is_causal=is_causal).swapaxes(-2, -3)

  expected, expected_vjp = jax.vjp(by_jax, *args)
  for a, b in zip((out, *vjp(d_out)), (expected, *expected_vjp(d_out))):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


def test_the_output_is_the_mean_of_the_values_under_the_weights(x64):
  query, key, value = draw((2, 5, 3), (2, 4, 3), (2, 4, 2))
  a = attention.weights(query, key, is_causal=True)
  np.testing.assert_allclose(a.sum(-1), 1, rtol=1e-14)
  np.testing.assert_array_equal(a * ~np.tri(5, 4, dtype=bool), 0)
  out = attention.dot_product_attention(query, key, value, is_causal=True)
  np.testing.assert_allclose(a @ value, out, rtol=1e-14)


def test_the_causal_mask_is_lower_triangular_and_the_same_as_is_causal(x64):
  np.testing.assert_array_equal(
      attention.causal_mask(3), [[True, False, False], [True, True, False], [True, True, True]]
  )
  query, key = draw((5, 3), (5, 3))
  by_mask = attention.weights(query, key, mask=attention.causal_mask(5))
  np.testing.assert_array_equal(attention.weights(query, key, is_causal=True), by_mask)


@each_implementation
def test_causal_gradients_reach_the_past_and_not_the_future(x64, implementation):
  query, key, value = draw((7, 2), (7, 2), (7, 2))
  attended = attend(implementation, is_causal=True)
  # [t, i, s, j]: d out[t, i] / d key[s, j].
  of_key, of_value = jax.jacrev(attended, (1, 2))(query, key, value)
  for jacobian in (of_key, of_value):
    reached = np.abs(jacobian).max((1, 3)) > 0
    expected = np.tri(7, dtype=bool)
    if jacobian is of_key:
      expected[0, 0] = False  # The weight of a single key is always 1.
    np.testing.assert_array_equal(reached, expected)


@pytest.mark.sampled(2)
@each_implementation
@pytest.mark.parametrize("shape", [(6,), (5, 1), (3, 1, 6), (2, 1, 5, 6), ()])
def test_masks_broadcast(x64, implementation, shape):
  args = draw((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4))
  mask = np.random.default_rng(1).random(shape) < 0.6
  full = jnp.broadcast_to(mask, (2, 3, 5, 6))
  out = attend(implementation, mask=mask)(*args)
  np.testing.assert_allclose(
      out, reference(*args, np.asarray(full), 0.5), rtol=1e-12, atol=1e-14
  )


@each_implementation
def test_masked_keys_and_values_have_no_effect(x64, implementation):
  query, key, value = draw((5, 2), (6, 2), (6, 2))
  mask = np.arange(6) != 2
  out = attend(implementation, mask=mask)(query, key, value)
  changed = attend(implementation, mask=mask)(query, key.at[2].set(1e3), value.at[2].set(-7.0))
  np.testing.assert_array_equal(out, changed)
  assert np.any(out != attend(implementation)(query, key, value))


@each_implementation
def test_permuting_queries_or_keys_permutes_or_keeps_the_output(x64, implementation):
  query, key, value = draw((5, 2), (7, 2), (7, 2))
  out = attend(implementation)(query, key, value)
  order = np.random.default_rng(1).permutation(7)
  np.testing.assert_allclose(
      attend(implementation)(query, key[order], value[order]), out, rtol=1e-12
  )
  np.testing.assert_allclose(
      attend(implementation)(query[::-1], key, value), out[::-1], rtol=1e-12
  )


@pytest.mark.sampled(1)
@eager_and_jit
@each_implementation
def test_a_fully_masked_row_is_zero_and_has_no_gradient(x64, compile_, implementation):
  args = draw((5, 2), (6, 2), (6, 2))
  attended = attend(implementation, mask=jnp.arange(5)[:, None] != 1)

  def squares(*args):
    out = attended(*args)
    return (out**2).sum(), out

  (d_query, _, _), out = compile_(jax.grad(squares, (0, 1, 2), has_aux=True))(*args)
  np.testing.assert_array_equal(np.any(out != 0, -1), [True, False, True, True, True])
  np.testing.assert_array_equal(np.any(d_query != 0, -1), [True, False, True, True, True])


@each_implementation
def test_a_fully_masked_row_has_no_second_derivative(x64, implementation):
  query, key, value = draw((5, 2), (6, 2), (6, 2))
  attended = attend(implementation, mask=jnp.arange(5)[:, None] != 1)
  first = jax.grad(lambda query: (attended(query, key, value) ** 2).sum())
  second = jax.jit(jax.grad(lambda query: (first(query) ** 2).sum()))(query)
  assert np.all(np.isfinite(second))
  np.testing.assert_array_equal(np.any(second != 0, -1), [True, False, True, True, True])


@each_implementation
def test_everything_masked_gives_zeros(implementation):
  args = [x.astype(jnp.float32) for x in draw((5, 2), (6, 2), (6, 2))]
  out, vjp = jax.vjp(attend(implementation, mask=np.zeros((5, 6), bool)), *args)
  for x in (out, *vjp(jnp.ones((5, 2)))):
    np.testing.assert_array_equal(x, 0)


@pytest.mark.sampled(1)
@each_implementation
def test_vmap_and_leading_dimensions_agree(x64, implementation):
  args = draw((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 2))
  mask = np.random.default_rng(1).random((2, 3, 5, 6)) < 0.7

  def gradients(mask, *args):
    attended = attend(implementation, mask=mask, is_causal=True)
    return jax.value_and_grad(lambda *args: jnp.sin(attended(*args)).sum(), (0, 1, 2))(*args)

  total, together = gradients(mask, *args)
  totals, apart = jax.jit(jax.vmap(jax.vmap(gradients)))(mask, *args)
  np.testing.assert_allclose(totals.sum(), total, rtol=1e-12)
  for a, b in zip(apart, together):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@each_implementation
def test_bfloat16_stays_bfloat16_and_close(implementation):
  args = [x.astype(jnp.bfloat16) for x in draw((2, 9, 8), (2, 10, 8), (2, 10, 8))]
  out = attend(implementation, is_causal=True)(*args)
  assert out.dtype == jnp.bfloat16
  mask = np.broadcast_to(np.tri(9, 10, dtype=bool), (2, 9, 10))
  wide = reference(*(np.asarray(x, np.float64) for x in args), mask, 8**-0.5)
  # Eight bits: a rounding error of 0.004 in the weights and again in the output.
  np.testing.assert_allclose(out.astype(jnp.float32), wide, atol=0.01 * np.abs(wide).max())


def test_auto_is_blocked_for_long_sequences_on_cpu_only():
  short, long = (2, 8, 64, 64), (2, 8, 2048, 64)
  assert attention.choose(short, short) == "autodiff"
  assert attention.choose(long, long) == "blocked"
  for name in ("gpu", "tpu"):
    with platform.lowering_for(name):
      assert attention.choose(long, long) == "autodiff"


@pytest.mark.parametrize("t, size", [(1, 16), (16, 16), (17, 32), (300, 160), (2048, 256)])
def test_blocks_pad_little(t, size):
  assert REAL_BLOCK_SIZES((2, 8, t, 64), (2, 8, 2048, 64)) == (size, 256)


def test_more_heads_have_smaller_blocks():
  sizes = [REAL_BLOCK_SIZES((n, 2048, 64), (n, 2048, 64))[0] for n in (1, 16, 64, 4096)]
  assert sizes == [512, 256, 128, 64]


def test_memory_grows_with_the_length_not_its_square(monkeypatch):
  monkeypatch.setattr(attention, "block_sizes", REAL_BLOCK_SIZES)

  def bytes_at(t, implementation):
    x = jax.ShapeDtypeStruct((1, 8, t, 64), jnp.float32)
    def loss(*args):
      return attend(implementation, is_causal=True)(*args).sum()
    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, x, x).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  long, short = bytes_at(16384, "auto"), bytes_at(4096, "auto")
  assert long < 4.2 * short
  assert long < 16 * 8 * 16384 * 64 * 4  # Sixteen arrays of the size of the queries.
  assert bytes_at(4096, "autodiff") > 8 * 4096**2 * 4  # The weights, at a quarter of T.


# Runs on eight virtual CPU devices: the batch is sharded, parameters are replicated.
PROGRAM = '''
import functools
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from dlx.layers import attention

mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
params = attention.init(jax.random.key(0), 16)
x, d_y = jax.random.normal(jax.random.key(1), (2, 8, 520, 16))
assert attention.choose((8, 2, 520, 8), (8, 2, 520, 8)) == "blocked"

@jax.jit
def step(params, x, d_y):
  layer = functools.partial(attention.multi_head, num_heads=2, is_causal=True)
  loss = lambda params, x: jnp.vdot(layer(params, x), d_y)
  return jax.value_and_grad(loss, (0, 1))(params, x)

expected = step(params, x, d_y)
split = NamedSharding(mesh, P("data"))
args = jax.device_put(params, NamedSharding(mesh, P())), *jax.device_put((x, d_y), split)
text = step.lower(*args).compile().as_text()
assert " while(" in text and " all-reduce(" in text
for name in ("all-gather", "all-to-all", "collective-permute"):
  assert f" {name}(" not in text and f" {name}-start(" not in text, name
assert "f64[1,2,520,8]" in text and "f64[8,2,520,8]" not in text
for a, b in zip(*map(jax.tree.leaves, (step(*args), expected))):
  np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
print("nothing is gathered")
'''


@pytest.mark.full
def test_on_eight_devices_no_activation_is_gathered(on_eight_devices):
  assert on_eight_devices(PROGRAM) == ["nothing is gathered"]
