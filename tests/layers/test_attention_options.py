"""Options of attention: biases, local windows, grouped queries, soft caps."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx import platform
from dlx.layers import attention, attention_arguments

eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
each_implementation = pytest.mark.parametrize("implementation", ["autodiff", "blocked"])

REAL_BLOCK_SIZES = attention.block_sizes


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  """Blocks of 4 queries and 3 keys, so that small arrays have several, some of them padded."""
  monkeypatch.setattr(attention, "block_sizes", lambda query_shape, key_shape: (4, 3))


def draw(*shapes, seed=0, dtype=None):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def attend(implementation, **options):
  return lambda *args: attention.dot_product_attention(
      *args, **options, implementation=implementation
  )


def value_and_gradients(f, args, d_out, compile_=jax.jit):
  def both(args, d_out):
    out, vjp = jax.vjp(f, *args)
    return out, *vjp(d_out)

  return compile_(both)(args, d_out)


def in_window(queries, keys, window):
  """Pairs (t, s) one by one, where s is at most l before and at most r after t."""
  left, right = window
  return np.array([[-left <= s - t <= right for s in range(keys)] for t in range(queries)])


def plain(query, key, value, bias, *, where, softcap=None):
  """Attention by einsum, with the heads of keys repeated."""
  group = query.shape[-3] // key.shape[-3]
  key, value = (jnp.repeat(x, group, axis=-3) for x in (key, value))
  scores = jnp.einsum("...td,...sd->...ts", query, key) / np.sqrt(query.shape[-1])
  if softcap is not None:
    scores = softcap * jnp.tanh(scores / softcap)
  scores = jnp.where(where, scores + bias, -1e30)
  return jnp.einsum("...ts,...sd->...td", jax.nn.softmax(scores, -1) * where, value)


SIZES = {"self": (10, 10), "queries": (13, 7), "keys": (5, 14)}
COMBINATIONS = [
    # (sizes, heads of keys, bias, window, is_causal, softcap)
    ("self", 4, (2, 4, 10, 10), None, False, None),
    ("queries", 2, (13, 7), (4, 9), False, 0.6),
    ("self", 1, (1, 1, 10), (2, 1), False, None),
    ("keys", 4, (4, 1, 1), None, True, None),
    ("keys", 1, (), (0, 4), False, 0.6),
    ("self", 2, (2, 1, 10, 1), (3, 2), True, 0.6),
]


@pytest.mark.sampled(3)
@each_implementation
@pytest.mark.parametrize("case, compile_", [*((c, jax.jit) for c in COMBINATIONS),
                                            (COMBINATIONS[-1], lambda f: f)])  # fmt: skip
def test_values_and_gradients_match_an_einsum(x64, implementation, case, compile_):
  sizes, heads, bias, window, is_causal, softcap = case
  queries, keys = SIZES[sizes]
  args = draw((2, 4, queries, 3), (2, heads, keys, 3), (2, heads, keys, 2), bias)
  (d_out,) = draw((2, 4, queries, 2), seed=1)
  where = in_window(queries, keys, (99, 0) if is_causal else (99, 99))
  where &= in_window(queries, keys, window or (99, 99))

  options = {"local_window_size": window, "is_causal": is_causal, "softcap": softcap}
  found = value_and_gradients(attend(implementation, **options), args, d_out, compile_)
  reference = functools.partial(plain, where=where, softcap=softcap)
  expected = value_and_gradients(reference, args, d_out)
  for x, y in zip(found, expected, strict=True):
    assert x.dtype == jnp.float64
    np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)
  a = attention.weights(*args[:2], args[3], **options)
  value = jnp.repeat(args[2], 4 // heads, axis=-3)
  np.testing.assert_allclose(a @ value, expected[0], rtol=1e-12, atol=1e-13)


@pytest.mark.sampled(2)
@each_implementation
@pytest.mark.parametrize(
    "heads, window, is_causal", [(4, None, False), (1, 2, False), (2, (3, 1), True)]
)
def test_values_and_gradients_match_jax_nn(implementation, heads, window, is_causal):
  shapes = (2, 4, 10, 8), (2, heads, 10, 8), (2, heads, 10, 8), (1, 4, 10, 10)
  args = draw(*shapes, dtype=jnp.float32)
  (d_out,) = draw((2, 4, 10, 8), seed=1, dtype=jnp.float32)
  options = {"local_window_size": window, "is_causal": is_causal}

  def by_jax(query, key, value, bias):  # In its layout, (B, T, N, D).
    moved = (x.swapaxes(-2, -3) for x in (query, key, value))
    return jax.nn.dot_product_attention(*moved, bias, **options).swapaxes(-2, -3)

  found = value_and_gradients(attend(implementation, **options), args, d_out)
  for a, b in zip(found, value_and_gradients(by_jax, args, d_out), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("window, pair", [
    (2, (2, 2)), (np.int64(1), (1, 1)), ([3, 1], (3, 1)), ((3, np.int32(0)), (3, 0)),
    (sys.maxsize, (9, 7)), ((sys.maxsize, 0), (9, 0)), (None, None),
])  # fmt: skip
def test_an_int_is_a_window_to_both_sides_and_any_size_is_taken(window, pair):
  assert attention_arguments.window(window, 9, 7) == pair


@each_implementation
def test_the_narrowest_window_is_the_key_of_the_query_and_the_widest_everything(
    x64, implementation
):
  args = draw((9, 3), (9, 3), (9, 3))
  own = attend(implementation, local_window_size=0)(*args)
  np.testing.assert_allclose(own, args[2], rtol=1e-14)
  everything = attend(implementation, local_window_size=sys.maxsize)(*args)
  np.testing.assert_allclose(everything, attend(implementation)(*args), rtol=1e-13)


@pytest.mark.parametrize("at, untouched, of_key", [(0, slice(8, None), 12), (23, slice(0, 16), 10)])
def test_blocks_outside_the_window_are_not_read(x64, at, untouched, of_key):
  """A nan spreads over the blocks that are computed with it, so it shows which those are."""
  query, key, value = draw((24, 2), (24, 2), (24, 2))
  value = value.at[at].set(jnp.nan)

  def loss(query, key):
    return attend("blocked", local_window_size=(3, 2))(query, key, value)[untouched].sum()

  total, (d_query, d_key) = jax.value_and_grad(loss, (0, 1))(query, key)
  assert np.isfinite(total) and np.isfinite(d_query[untouched]).all()
  assert np.isfinite(d_key[of_key]).all()
  np.testing.assert_array_equal(np.isnan(attend("blocked")(query, key, value)[:, 0]), True)


@pytest.mark.sampled(1)
@eager_and_jit
@each_implementation
def test_an_infinite_negative_bias_is_a_mask(x64, compile_, implementation):
  *args, bias = draw((2, 9, 3), (2, 8, 3), (2, 8, 3), (2, 9, 8))
  mask = np.random.default_rng(1).random((2, 9, 8)) < 0.6
  mask[:, 4] = False  # One query may attend to nothing.
  def gradients(bias, mask):
    def loss(*args):
      out = attend(implementation, mask=mask, softcap=0.9)(*args)
      return (out**2).sum(), out
    return jax.grad(loss, (0, 1, 2, 3), has_aux=True)(*args, bias)
  found = compile_(lambda: gradients(jnp.where(mask, bias, -jnp.inf), None))()
  expected = compile_(lambda: gradients(bias, mask))()
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
  (d_query, *_, d_bias), out = found
  for x in (out, d_query, d_bias):
    np.testing.assert_array_equal(x[:, 4], 0)
  np.testing.assert_array_equal(np.asarray(d_bias)[~mask], 0)


@pytest.mark.full
@each_implementation
def test_queries_beyond_the_keys_of_their_window_are_zero(x64, implementation):
  args = draw((12, 2), (5, 2), (5, 2))
  attended = attend(implementation, local_window_size=(2, 3))
  (d_query, d_key, _), out = jax.grad(
      lambda *args: ((attended(*args) ** 2).sum(), attended(*args)), (0, 1, 2), has_aux=True
  )(*args)
  np.testing.assert_array_equal(np.any(out != 0, -1), np.arange(12) < 7)
  np.testing.assert_array_equal(np.any(d_query[7:] != 0, -1), False)
  assert np.isfinite(d_key).all()


@each_implementation
@pytest.mark.parametrize("softcap", [0.5, 50.0])
def test_soft_caps_bound_the_scores(x64, implementation, softcap):
  """Huge scores are +-g: two keys have the weights sigmoid(+-2 g)."""
  query, key, value = 1e150 * jnp.ones((1, 1)), jnp.asarray([[1e150], [-1e150]]), jnp.eye(2)
  out, *d = value_and_gradients(
      attend(implementation, softcap=softcap), (query, key, value), jnp.asarray([[1.0, 0.0]])
  )
  weight = 1 / (1 + np.exp(-2 * softcap))
  np.testing.assert_allclose(out, [[weight, 1 - weight]], rtol=1e-12, atol=1e-15)
  np.testing.assert_array_equal(d[0], 0)
  np.testing.assert_array_equal(d[1], 0)


@pytest.mark.sampled(2)
@each_implementation
@pytest.mark.parametrize(
    "of_inputs, of_bias", [("float32", "bfloat16"), ("bfloat16", "float32")]
)
def test_the_bias_does_not_change_the_dtype(implementation, of_inputs, of_bias):
  args = *draw((2, 9, 8), (1, 9, 8), (1, 9, 8), dtype=of_inputs), *draw((2, 1, 9), dtype=of_bias)
  options = {"local_window_size": 4, "softcap": 2.0}
  attended = attend(implementation, **options)
  out, *d = value_and_gradients(attended, args, jnp.ones((2, 9, 8), of_inputs))
  assert out.dtype == of_inputs
  for x, dx in zip(args, d):
    assert (x.shape, x.dtype) == (dx.shape, dx.dtype)
  weights = jax.eval_shape(lambda *args: attention.weights(*args, **options), *args[:2], args[3])
  assert weights.dtype == of_inputs
  wide = [np.asarray(x, np.float64) for x in args]
  expected = plain(*wide, where=in_window(9, 9, (4, 4)), softcap=2.0)
  close = {"float32": 1e-5, "bfloat16": 0.02}[of_inputs] * np.abs(expected).max()
  np.testing.assert_allclose(np.asarray(out, np.float64), expected, atol=close)


@each_implementation
def test_vmap_and_leading_dimensions_agree(x64, implementation):
  args = draw((2, 3, 4, 5, 4), (2, 3, 2, 6, 4), (2, 3, 2, 6, 2), (2, 3, 4, 5, 6))

  def gradients(*args):
    attended = attend(implementation, local_window_size=(3, 1), softcap=1.5)
    return jax.grad(lambda *args: jnp.sin(attended(*args)).sum(), (0, 1, 2, 3))(*args)

  together, apart = jax.jit(gradients)(*args), jax.jit(jax.vmap(jax.vmap(gradients)))(*args)
  for a, b in zip(apart, together):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@each_implementation
@pytest.mark.parametrize("queries, keys", [(3, 0), (0, 3), (0, 0)])
def test_without_keys_or_queries_the_output_is_zero(implementation, queries, keys):
  args = draw((2, 4, queries, 3), (2, 2, keys, 3), (2, 2, keys, 5), (4, queries, keys))
  attended = attend(implementation, local_window_size=1, softcap=1.0, is_causal=True)
  out, *d = value_and_gradients(attended, args, jnp.ones((2, 4, queries, 5)))
  assert out.shape == (2, 4, queries, 5) and not np.any(out)
  assert all(a.shape == b.shape and not np.any(b) for a, b in zip(args, d))


def test_memory_grows_with_the_length_not_its_square(monkeypatch):
  monkeypatch.setattr(attention, "block_sizes", REAL_BLOCK_SIZES)

  def bytes_at(t):
    shapes = (1, 8, t, 64), (1, 2, t, 64), (1, 2, t, 64), (8, 1, t)
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    options = {"is_causal": True, "local_window_size": 256, "softcap": 50.0}
    loss = lambda *args: attend("auto", **options)(*args).sum()  # noqa: E731
    compiled = jax.jit(jax.grad(loss, (0, 1, 2, 3))).lower(*args).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  long, short = bytes_at(16384), bytes_at(4096)
  assert long < 4.2 * short
  assert long < 16 * 8 * 16384 * 64 * 4  # Sixteen arrays of the size of the queries.


def test_cudnn_is_chosen_without_the_options_that_its_kernel_lacks():
  x = jnp.ones((2, 3, 8), jnp.bfloat16)
  for options in ({"bias": jnp.ones((3, 3))}, {"local_window_size": 1}, {"softcap": 1.0}):
    with platform.lowering_for("gpu"):
      assert attention.dot_product_attention(x, x, x, **options).dtype == jnp.bfloat16
    (name,) = options
    message = f'implementation: "cudnn" takes no {name}; use "autodiff" or "blocked"'
    with pytest.raises(ValueError, match=message):
      attention.dot_product_attention(x, x, x, **options, implementation="cudnn")


WINDOW = r"local_window_size: expected an int or a pair \(left, right\), not negative, got "
SOFTCAP = "softcap: expected a positive number, got "


@pytest.mark.parametrize("options, message", [
    ({"bias": np.ones((5, 6), bool)}, "bias: expected a floating-point dtype, got bool"),
    ({"bias": np.ones((5, 6), int)}, "bias: expected a floating-point dtype, got int"),
    ({"bias": np.ones((6, 5))}, r"bias: expected a shape that broadcasts to \(4, 5, 6\)"),
    ({"bias": np.ones((2, 5, 6))}, r"bias: expected a shape that broadcasts to \(4, 5, 6\)"),
    ({"local_window_size": -1}, WINDOW + "-1"),
    ({"local_window_size": (2, -1)}, WINDOW + r"\(2, -1\)"),
    ({"local_window_size": (1, 2, 3)}, WINDOW + r"\(1, 2, 3\)"),
    ({"local_window_size": 1.5}, WINDOW + "1.5"),
    ({"local_window_size": (1, None)}, WINDOW + r"\(1, None\)"),
    ({"local_window_size": True}, WINDOW + "True"),
    ({"softcap": 0.0}, SOFTCAP + "0.0"),
    ({"softcap": -5}, SOFTCAP + "-5"),
    ({"softcap": np.nan}, SOFTCAP + "nan"),
    ({"softcap": np.inf}, SOFTCAP + "inf"),
    ({"softcap": "50"}, SOFTCAP + "'50'"),
])  # fmt: skip
def test_a_wrong_option_is_named(options, message):
  query, key = jnp.zeros((4, 5, 3)), jnp.zeros((2, 6, 3))
  for call in (
      lambda: attention.dot_product_attention(query, key, key, **options),
      lambda: attention.weights(query, key, **options),
  ):
    with pytest.raises(ValueError, match=message):
      call()
