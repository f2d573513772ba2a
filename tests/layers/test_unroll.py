"""Scans over time for every recurrent layer: batches, lengths, direction, causality."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import gru, lstm, rnn, unroll

B, T, D, H = 3, 4, 2, 3
LENGTHS = np.array([4, 2, 0])

each_cell = pytest.mark.parametrize(
    "cell, options",
    [
        (rnn, ()),
        (rnn, (("activation", jax.nn.relu),)),
        (gru, ()),
        (gru, (("reset_after", True),)),
        (lstm, ()),
    ],
    ids=["rnn", "rnn_relu", "gru", "gru_reset_after", "lstm"],
)
pytestmark = pytest.mark.usefixtures("x64")


@functools.partial(jax.jit, static_argnames=("cell", "options", "reverse"))
def scan(params, xs, carry, lengths=None, *, cell, options, reverse=False):
  return cell.scan(params, xs, carry, lengths=lengths, reverse=reverse, **dict(options))


def draw(cell, options, batch=(B,)):
  """(params, xs, carry) of a layer, all nonzero."""
  rng = np.random.default_rng(0)

  def noise(a):
    return jnp.asarray(rng.normal(size=a.shape))

  form = {name: value for name, value in options if name != "activation"}  # Of the parameters.
  params = jax.tree.map(noise, cell.init(jax.random.key(0), D, H, **form))
  if len(form) < len(options):
    params["bias"] += 2  # In no step is every unit of relu inactive.
  xs = jnp.asarray(rng.normal(size=(*batch, T, D)))
  return params, xs, jax.tree.map(noise, cell.initial_carry(params, batch))


def assert_close(actual, expected):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12, rtol=0), actual, expected)


def assert_same(actual, expected):
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


def flip_valid(xs, lengths):
  """Reverses the valid steps of each sequence and keeps its padding in place."""
  return jnp.stack([jnp.concatenate([x[:n][::-1], x[n:]]) for x, n in zip(xs, lengths)])


@pytest.mark.sampled(2)
@each_cell
def test_leading_dimensions_equal_vmap_and_one_by_one(cell, options):
  params, xs, carry = draw(cell, options, (2, B))
  lengths = jnp.asarray([LENGTHS, LENGTHS[::-1]])
  one = functools.partial(scan, cell=cell, options=options)
  whole = one(params, xs, carry, lengths)
  over = jax.vmap(jax.vmap(one, (None, 0, 0, 0)), (None, 0, 0, 0))
  assert_close(over(params, xs, carry, lengths), whole)
  for i in np.ndindex(2, B):
    pick = functools.partial(jax.tree.map, lambda a, i=i: a[i])
    assert_close(one(params, xs[i], pick(carry), lengths[i]), pick(whole))


@each_cell
def test_scan_is_the_cell_step_by_step(cell, options):
  params, xs, carry = draw(cell, options)
  step = jax.jit(functools.partial(cell.cell, **dict(options)))
  last, ys = scan(params, xs, carry, cell=cell, options=options)
  for t in range(T):
    carry, y = step(params, carry, xs[:, t])
    assert_close(ys[:, t], y)
  assert_close(last, carry)


@each_cell
def test_the_carry_defaults_to_initial_carry(cell, options):
  params, xs, _ = draw(cell, options)
  zeros = cell.initial_carry(params, (B,))
  for leaf in jax.tree.leaves(zeros):
    assert leaf.shape == (B, H)
    np.testing.assert_array_equal(leaf, 0)
  run = functools.partial(scan, cell=cell, options=options)
  assert_same(run(params, xs, None), run(params, xs, zeros))


@each_cell
def test_beyond_its_length_a_sequence_keeps_its_carry_and_outputs_zeros(cell, options):
  params, xs, carry = draw(cell, options)
  run = functools.partial(scan, cell=cell, options=options)
  last, ys = run(params, xs, carry, jnp.asarray(LENGTHS))
  for steps in (4, 2):
    prefix_last, prefix_ys = run(params, xs[:, :steps], carry)
    (i,) = np.flatnonzero(LENGTHS == steps)
    assert_close(ys[i, :steps], prefix_ys[i])
    np.testing.assert_array_equal(ys[i, steps:], 0)
    assert_close(*(jax.tree.map(lambda a, i=i: a[i], c) for c in (last, prefix_last)))


@each_cell
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_length_zero_returns_the_initial_carry(cell, options, reverse):
  params, xs, carry = draw(cell, options)
  run = functools.partial(scan, cell=cell, options=options, reverse=reverse)
  last, ys = run(params, xs, carry, jnp.asarray(LENGTHS))
  assert_same(*(jax.tree.map(lambda a: a[2], c) for c in (last, carry)))
  np.testing.assert_array_equal(ys[2], 0)


@each_cell
def test_reverse_is_the_scan_of_each_flipped_valid_prefix(cell, options):
  params, xs, carry = draw(cell, options)
  run = functools.partial(scan, cell=cell, options=options)
  for lengths in (None, jnp.asarray(LENGTHS)):
    flip = functools.partial(flip_valid, lengths=[T] * B if lengths is None else LENGTHS)
    last, ys = run(params, xs, carry, lengths, reverse=True)
    expected_last, expected_ys = run(params, flip(xs), carry, lengths)
    assert_close(last, expected_last)
    assert_close(ys, flip(expected_ys))


@each_cell
def test_two_halves_with_the_carry_passed_on_are_one_scan(cell, options):
  params, xs, carry = draw(cell, options)
  run = functools.partial(scan, cell=cell, options=options)
  last, ys = run(params, xs, carry)
  middle, first = run(params, xs[:, :2], carry)
  end, second = run(params, xs[:, 2:], middle)
  assert_close(jnp.concatenate([first, second], axis=1), ys)
  assert_close(end, last)


@pytest.mark.sampled(2)
@each_cell
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_padding_has_no_effect_on_values_and_gradients_and_no_gradient(cell, options, reverse):
  params, xs, carry = draw(cell, options)
  rng = np.random.default_rng(1)
  weights = jax.tree.map(
      lambda a: jnp.asarray(rng.normal(size=a.shape)), (carry, jnp.zeros((B, T, H)))
  )
  valid = np.arange(T)[:, None] < LENGTHS[:, None, None]

  @jax.jit
  def run(params, xs, carry, weights):
    out, vjp = jax.vjp(
        functools.partial(
            cell.scan, lengths=jnp.asarray(LENGTHS), reverse=reverse, **dict(options)
        ),
        params,
        xs,
        carry,
    )
    return out, vjp(weights)

  out, (d_params, d_xs, d_carry) = run(params, xs, carry, weights)
  np.testing.assert_array_equal(np.where(valid, 0, d_xs), 0)
  assert np.all(np.where(valid, d_xs, 1) != 0)
  # Garbage in the padding of the inputs and of the cotangents of the outputs.
  d_last, d_ys = weights
  garbage = jnp.where(valid, xs, 1e30), carry, (d_last, jnp.where(valid, d_ys, -1e30))
  assert_same(run(params, *garbage), (out, (d_params, d_xs, d_carry)))


@pytest.mark.full
@each_cell
@pytest.mark.parametrize("batch", [(B,), (2, B), ()], ids=str)
def test_auto_matches_the_values_and_gradients_of_autodiff(cell, options, batch):
  params, xs, carry = draw(cell, options, batch)
  lengths = jnp.asarray(np.broadcast_to(LENGTHS, batch) if batch else 3)
  reverse = len(batch) != 1

  @jax.jit
  def both(inputs, weights):
    found = []
    for implementation in ("auto", "autodiff"):
      chosen = dict(options) | {"implementation": implementation}
      run = functools.partial(cell.scan, lengths=lengths, reverse=reverse, **chosen)
      out, vjp = jax.vjp(run, *inputs)
      found.append((out, vjp(jax.tree.map(jnp.multiply, out, weights))))
    return found

  weights = jax.tree.map(lambda a: 1 + jnp.cos(a), (carry, jnp.ones((*batch, T, H))))
  auto, autodiff = both((params, xs, carry), weights)
  assert_close(auto, autodiff)
  assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(auto))


@each_cell
def test_auto_has_no_forward_mode_and_autodiff_has(cell, options):
  params, xs, carry = draw(cell, options)

  def along(implementation):
    chosen = dict(options) | {"implementation": implementation}
    return jax.jvp(functools.partial(cell.scan, **chosen), (params, xs, carry), (params, xs, carry))

  with pytest.raises(TypeError, match="no forward mode"):
    along("auto")
  out, d_out = jax.eval_shape(lambda: along("autodiff"))
  assert jax.tree.map(jnp.shape, out) == jax.tree.map(jnp.shape, d_out)


@each_cell
def test_an_unknown_implementation_is_named(cell, options):
  params, xs, carry = draw(cell, options)
  message = """implementation: expected "auto" or "autodiff", got 'fast'"""
  with pytest.raises(ValueError, match=message):
    cell.scan(params, xs, carry, implementation="fast", **dict(options))


@each_cell
def test_a_step_depends_on_every_earlier_and_no_later_step(cell, options):
  params, xs, carry = draw(cell, options, ())
  run = functools.partial(scan, cell=cell, options=options)
  jacobian = jax.jit(jax.jacrev(lambda xs: run(params, xs, carry)[1]))(xs)  # (T, H, T, D)
  depends = np.any(np.asarray(jacobian) != 0, axis=(1, 3))
  np.testing.assert_array_equal(depends, np.tri(T, dtype=bool))


def test_scan_skips_invalid_steps():
  def add(total, x):
    return total + x[0], 10 * x[0]

  inputs = (jnp.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])[..., None],)
  valid = unroll.valid_steps(jnp.array([3, 1]), inputs[0])
  for reverse in (False, True):
    total, ys = unroll.scan(add, inputs, jnp.zeros((2, 1)), valid=valid, reverse=reverse)
    np.testing.assert_array_equal(total[:, 0], [7, 1])
    np.testing.assert_array_equal(ys[..., 0], [[10, 10], [20, 0], [40, 0]])


def test_time_first_moves_the_axis_before_the_last_and_time_last_undoes_it():
  xs = jnp.arange(24.0).reshape(2, 3, 4)
  np.testing.assert_array_equal(unroll.time_first(xs), np.transpose(xs, (1, 0, 2)))
  np.testing.assert_array_equal(unroll.time_last(unroll.time_first(xs)), xs)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("padding", [np.nan, np.inf])
@pytest.mark.parametrize("cell", [rnn, gru, lstm])
def test_nan_in_the_padding_does_not_reach_states_or_gradients(cell, padding):
  params = cell.init(jax.random.key(0), 3, 4)
  xs = jax.random.normal(jax.random.key(1), (2, 5, 3))

  def loss(params, xs):
    carry, ys = cell.scan(params, xs, lengths=jnp.array([2, 5]))
    return (ys**2).sum() + sum((c**2).sum() for c in jax.tree.leaves(carry))

  run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
  clean, padded = run(params, xs), run(params, xs.at[0, 2:].set(padding))
  jax.tree.map(np.testing.assert_array_equal, padded, clean)
