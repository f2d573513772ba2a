"""Arguments of layers: empty shapes, lists, dtypes that differ, and what is refused."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import attention, conv, embedding, gru, linear, losses, lstm, norm, pooling, rnn

RNG = jax.random.key(0)
CELLS = [rnn, gru, lstm]
zeros = jnp.zeros


# Empty shapes.


@pytest.mark.full
@pytest.mark.parametrize("implementation", ["autodiff", "blocked", "auto"])
@pytest.mark.parametrize("batch, queries, keys", [(2, 3, 0), (2, 0, 3), (0, 3, 3), (2, 0, 0)])
def test_attention_without_keys_or_queries_is_zero(implementation, batch, queries, keys):
  def attend(q, k, v):
    return attention.dot_product_attention(q, k, v, implementation=implementation)

  args = zeros((batch, 2, queries, 4)) + 1, zeros((batch, 2, keys, 4)), zeros((batch, 2, keys, 5))
  out = attend(*args)
  assert out.shape == (batch, 2, queries, 5) and not np.any(out)
  grads = jax.grad(lambda *args: attend(*args).sum(), (0, 1, 2))(*args)
  assert all(g.shape == x.shape and not np.any(g) for g, x in zip(grads, args))
  params = attention.init(RNG, 4)
  found = attention.multi_head(
      params, zeros((batch, queries, 4)), zeros((batch, keys, 4)), num_heads=2,
      implementation=implementation,
  )  # fmt: skip
  assert found.shape == (batch, queries, 4)


def test_attention_without_features_is_refused():
  with pytest.raises(ValueError, match="query: expected at least one feature"):
    attention.dot_product_attention(zeros((2, 3, 0)), zeros((2, 3, 0)), zeros((2, 3, 4)))


@pytest.mark.full
def test_losses_of_nothing_are_constant():
  def loss(w):
    return losses.cross_entropy(zeros((0, 3)) * w, zeros(0, int))

  def weighted(w):
    return losses.masked_mean(zeros((0, 2)) * w, weights=zeros(2))

  for f in (loss, lambda w: losses.squared_error(zeros(0) * w, zeros(0)), weighted):
    assert [float(g(1.0)) for g in (f, jax.grad(f), jax.grad(jax.grad(f)))] == [0, 0, 0]


# Dtypes.


@pytest.mark.full
@pytest.mark.parametrize("implementation", ["auto", "autodiff"])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_layers_promote_params_inputs_and_carry(cell, implementation):
  params = cell.init(RNG, 3, 4)
  full = cell.scan(params, zeros((2, 5, 3)) + 1)[0]
  for kernel, bias, x, c in itertools.product(["float32", "bfloat16"], repeat=4):
    if len({kernel, bias, x, c}) == 1:
      continue
    mixed = {k: v.astype(bias if "bias" in k else kernel) for k, v in params.items()}
    xs, carry = zeros((2, 5, 3), x) + 1, jax.tree.map(lambda a: a.astype(c), full)  # noqa: B023

    def scan(mixed, xs, carry):
      return cell.scan(mixed, xs, carry, implementation=implementation)

    out = jax.eval_shape(scan, mixed, xs, carry)
    assert {leaf.dtype for leaf in jax.tree.leaves(out)} == {jnp.dtype("float32")}
    grads = jax.eval_shape(
        jax.grad(lambda *args: scan(*args)[1].sum(), (0, 1, 2)), mixed, xs, carry
    )
    for g, a in zip(jax.tree.leaves(grads), jax.tree.leaves((mixed, xs, carry))):
      assert (g.shape, g.dtype) == (a.shape, a.dtype)


@pytest.mark.parametrize("cell", CELLS)
def test_a_mixed_scan_equals_the_scan_of_the_promoted_arguments(cell):
  params, xs = cell.init(RNG, 3, 4), jax.random.normal(RNG, (2, 5, 3))
  mixed = {k: v.astype(jnp.bfloat16) if "bias" not in k else v for k, v in params.items()}
  wide = {k: v.astype(jnp.float32) for k, v in mixed.items()}
  for a, b in zip(jax.tree.leaves(cell.scan(mixed, xs)), jax.tree.leaves(cell.scan(wide, xs))):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# Lists are arrays.


@pytest.mark.sampled(2)
@pytest.mark.parametrize("function, args", [
    (lambda x: linear.apply(linear.init(RNG, 2, 3), x), ([[1.0, 2.0]],)),
    (lambda x: norm.layer_norm(norm.init(RNG, 2), x), ([[1.0, 2.0]],)),
    (lambda x: norm.group_norm(norm.init(RNG, 2), x, groups=1), ([[[1.0, 2.0]]],)),
    (lambda x: conv.apply(conv.init(RNG, 1, 1, 2), x), ([[[1.0], [2.0]]],)),
    (lambda x: pooling.max_pool(x, 1, 1), ([[[1.0], [2.0]]],)),
    (lambda x: pooling.max_pool(x, 2, 2, dilation=[1, 1], ceil_mode=True), ([[[1.0]], [[2.0]]],)),
    (lambda x: embedding.lookup(embedding.init(RNG, 3, 2), x), ([0, 2],)),
    (lambda x, c: rnn.scan(rnn.init(RNG, 2, 3), x, c), ([[1.0, 2.0]], [0.0, 0.0, 1.0])),
    (lambda x: gru.scan(gru.init(RNG, 2, 3), x), ([[1.0, 2.0]],)),
    (
        lambda x, c, h: lstm.scan(lstm.init(RNG, 2, 2), x, (c, h)),
        ([[1.0, 2.0]], [0.0, 0.0], [1.0, 1.0]),
    ),
    (losses.cross_entropy, ([[1.0, 2.0]], [0])),
    (losses.squared_error, ([1.0, 2.0], [1.0, 4.0])),
    (losses.masked_mean, ([1.0, 2.0],)),
    (lambda x, w: losses.masked_mean(x, weights=w), ([1.0, 2.0], [3, 1])),
    (attention.dot_product_attention, ([[1.0, 2.0]], [[1.0, 2.0]], [[3.0]])),
])  # fmt: skip
def test_lists_are_arrays(function, args):
  found, expected = function(*args), function(*map(jnp.asarray, args))
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    np.testing.assert_array_equal(a, b)


# Refusals.


@pytest.mark.parametrize("mask", [[0.5, 1.0], [2, 1], np.array([255, 0], np.uint8)])
def test_masks_of_losses_are_bool(mask):
  for loss in (
      lambda: losses.masked_mean(zeros(2), jnp.asarray(mask)),
      lambda: losses.cross_entropy(zeros((2, 3)), zeros(2, int), jnp.asarray(mask)),
      lambda: losses.squared_error(zeros(2), zeros(2), jnp.asarray(mask)),
  ):
    with pytest.raises(ValueError, match="mask: expected dtype bool"):
      loss()


@pytest.mark.parametrize("cell", CELLS)
def test_wrong_arguments_of_scans_are_named(cell):
  params, xs = cell.init(RNG, 3, 4), zeros((2, 5, 3))
  for options, message in (
      ({"lengths": jnp.ones(2)}, "lengths: expected integers, got float32"),
      ({"xs": zeros((2, 5, 3), bool)}, "xs: expected numbers or integer ids, got bool"),
      ({"carry": (zeros((2, 4)),)}, "carry"),
      ({"carry": [zeros((2, 4)), zeros(3)]}, "carry"),
      ({"params": {k: v for k, v in params.items() if k != "bias"}}, "params: .*bias is missing"),
  ):
    with pytest.raises(ValueError, match=message):
      cell.scan(**{"params": params, "xs": xs, **options})


@pytest.mark.full
@pytest.mark.parametrize("layer", [
    lambda x: norm.layer_norm(norm.init(RNG, 3), x),
    lambda x: norm.group_norm(norm.init(RNG, 3), x, groups=3, spatial=1),
    lambda x: gru.scan(gru.init(RNG, 3, 4), x)[1],
])  # fmt: skip
def test_forward_mode_names_the_argument_that_has_it(layer):
  x = zeros((5, 3))
  for forward in (lambda: jax.jvp(layer, (x,), (x,)), lambda: jax.jacfwd(layer)(x)):
    with pytest.raises(TypeError, match='no forward mode .*implementation="autodiff"'):
      forward()


@pytest.mark.parametrize("where", [(0, 0), (1, 1), (2, 2), (0, 2), (1, 0)])
@pytest.mark.parametrize("strides", [1, 2])
def test_nan_reaches_every_window_that_has_it_and_has_the_gradient_of_autodiff(where, strides):
  rows, columns = np.meshgrid(np.arange(5), np.arange(5), indexing="ij")
  x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 5, 1)))
  x = x.at[where].set(jnp.nan)
  pool = lambda x, how: pooling.max_pool(x, 3, strides, implementation=how)  # noqa: E731
  out = pool(x, "auto")
  for u, v in np.ndindex(*out.shape[:2]):
    window = x[u * strides : u * strides + 3, v * strides : v * strides + 3]
    assert bool(jnp.isnan(out[u, v, 0])) == bool(jnp.isnan(window).any())
  weights = jnp.arange(1.0, 1 + out.size).reshape(out.shape)
  found, expected = (
      jax.vjp(lambda x: pool(x, how), x)[1](weights)[0] for how in ("auto", "autodiff")  # noqa: B023
  )
  np.testing.assert_array_equal(found, expected)
