"""The GRU's hand-derived gradient against autodiff, central differences and the pencil."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import gru as gradients
from dlx.layers import gru

D, H = 2, 3
pytestmark = pytest.mark.usefixtures("x64")
both_forms = pytest.mark.parametrize("reset_after", [False, True], ids=["before", "after"])

# (leading dimensions, T, lengths, reverse)
CASES = {
    "lengths": ((3,), 4, [4, 2, 0], False),
    "lengths_reverse": ((3,), 4, [4, 2, 0], True),
    "two_leading_reverse": ((2, 2), 3, None, True),
    "one_step": ((), 1, None, False),
}


def draw(reset_after, batch, steps):
  """(params, xs, carry), (d_last, d_ys): inputs and cotangents, none of them zero."""
  rng = np.random.default_rng(0)

  def normal(*shape):
    return jnp.asarray(rng.normal(size=shape))

  params = {"input": normal(D, 3 * H), "hidden": normal(H, 3 * H), "bias": normal(3 * H)}
  if reset_after:
    params["hidden_bias"] = normal(3 * H)
  inputs = params, normal(*batch, steps, D), normal(*batch, H)
  return inputs, (normal(*batch, H), normal(*batch, steps, H))


def by_vjp(implementation, options, inputs, d_out):
  """The cotangents of the inputs that jax makes of an implementation of the layer."""
  scan = functools.partial(gru.scan, implementation=implementation, **options)
  return jax.vjp(scan, *inputs)[1](d_out)


def by_rule(options, inputs, d_out):
  return gradients.scan_vjp(*inputs, d_out=d_out, **options)


def check(actual, expected, tolerance=1e-11):
  """Every cotangent, leaf by leaf; fails as AssertionError."""
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance),
      actual,
      expected,
  )


@both_forms
@pytest.mark.parametrize("case", CASES)
def test_the_rule_is_what_autodiff_finds(reset_after, case):
  batch, steps, lengths, reverse = CASES[case]
  lengths = None if lengths is None else jnp.asarray(lengths)
  options = {"lengths": lengths, "reverse": reverse, "reset_after": reset_after}
  inputs, d_out = draw(reset_after, batch, steps)

  @jax.jit
  def three_ways(*args):
    both = (by_vjp(implementation, options, *args) for implementation in ("autodiff", "auto"))
    return *both, by_rule(options, *args)

  expected, auto, rule = three_ways(inputs, d_out)
  check(auto, expected)
  check(rule, expected)


@both_forms
def test_eager_jit_and_vmap_agree(reset_after):
  lengths = jnp.asarray([4, 2, 0])
  (params, xs, carry), d_out = draw(reset_after, (3,), 4)

  def rule(xs, carry, d_out, lengths):
    options = {"lengths": lengths, "reset_after": reset_after}
    return by_rule(options, (params, xs, carry), d_out)

  args = xs, carry, d_out, lengths
  eager = rule(*args)
  check(jax.jit(rule)(*args), eager)
  d_params, d_xs, d_carry = jax.jit(jax.vmap(rule))(*args)
  check((jax.tree.map(lambda d: d.sum(0), d_params), d_xs, d_carry), eager)


@both_forms
def test_the_rule_is_the_slope_of_central_differences(reset_after):
  options = {"lengths": jnp.asarray([4, 2, 0]), "reverse": True, "reset_after": reset_after}
  inputs, d_out = draw(reset_after, (3,), 4)

  @jax.jit
  def loss(inputs):
    return sum(jnp.vdot(d, v) for d, v in zip(d_out, gru.scan(*inputs, **options)))

  leaves, tree = jax.tree.flatten(inputs)
  rule = jax.tree.leaves(jax.jit(functools.partial(by_rule, options))(inputs, d_out))
  rng, size = np.random.default_rng(1), 1e-5
  for i, (leaf, d_leaf) in enumerate(zip(leaves, rule)):
    direction = rng.normal(size=leaf.shape)
    ends = [
        loss(tree.unflatten([*leaves[:i], leaf + sign * size * direction, *leaves[i + 1 :]]))
        for sign in (1, -1)
    ]
    slope = (ends[0] - ends[1]) / (2 * size)
    np.testing.assert_allclose(slope, np.vdot(d_leaf, direction), rtol=1e-7, atol=1e-8)


@both_forms
def test_second_derivatives_are_those_of_autodiff(reset_after):
  options = {"lengths": jnp.asarray([4, 2, 0]), "reset_after": reset_after}
  inputs, d_out = draw(reset_after, (3,), 4)
  direction = jax.tree.map(jnp.cos, inputs)

  def second(first):
    """Reverse over reverse: the gradient of the slope along a direction."""

    @jax.jit
    @jax.grad
    def of_slope(inputs_and_d_out):
      slopes = jax.tree.map(jnp.vdot, first(*inputs_and_d_out), direction)
      return sum(jax.tree.leaves(slopes))

    return of_slope((inputs, d_out))

  expected = second(functools.partial(by_vjp, "autodiff", options))
  assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(expected))
  check(second(functools.partial(by_vjp, "auto", options)), expected)
  check(second(functools.partial(by_rule, options)), expected)


def sigmoid(a):
  return 1 / (1 + np.exp(-a))


def with_a_pencil(params, xs, carry, d_last, d_ys, mistake=None):
  """The rule of the form without reset_after, for one sequence, with a mistake if wanted."""
  u_r, u_z, u_n = np.split(params["hidden"], 3, axis=-1)
  h, saved = carry, []
  for x in xs:
    a_r, a_z, a_n = np.split(x @ params["input"] + params["bias"], 3)
    r, z = sigmoid(a_r + h @ u_r), sigmoid(a_z + h @ u_z)
    n = np.tanh(a_n + (r * h) @ u_n)
    saved.append((x, h, r, z, n))
    h = (1 - z) * h + z * n
  d_params = {name: np.zeros_like(value) for name, value in params.items()}
  d_xs, d_h = np.zeros_like(xs), np.zeros_like(d_last) if mistake == "no d_carry" else d_last
  for t in reversed(range(len(xs))):
    x, h, r, z, n = saved[t]
    d_new = d_h + d_ys[t]
    d_an = d_new * z * (1 - n**2)
    d_az = d_new * (n - h) * z * (1 - z) * (-1 if mistake == "sign of d_az" else 1)
    d_rh = d_an @ (u_n if mistake == "U_n not transposed" else u_n.T)
    d_ar = d_rh * h * r * (1 if mistake == "no 1 - r" else 1 - r)
    reset = 1 if mistake == "no r in d_h" else r
    d_h = d_new * (1 - z) + d_rh * reset + d_ar @ u_r.T + d_az @ u_z.T
    d_a = np.concatenate([d_ar, d_az, d_an])
    d_xs[t] = params["input"] @ d_a
    d_params["input"] += np.outer(x, d_a)
    d_params["bias"] += d_a
    d_params["hidden"] += np.concatenate(
        [np.outer(h, d_ar), np.outer(h, d_az), np.outer(r * h, d_an)], axis=-1
    )
  return d_params, d_xs, d_h


def test_the_rule_is_that_of_the_pencil():
  inputs, d_out = draw(False, (), 4)
  pencil = with_a_pencil(*jax.tree.map(np.asarray, (*inputs, *d_out)))
  check(by_rule({}, inputs, d_out), pencil)


@pytest.mark.parametrize(
    "mistake",
    ["sign of d_az", "U_n not transposed", "no 1 - r", "no r in d_h", "no d_carry"],
)
def test_the_check_finds_a_planted_mistake(mistake):
  inputs, d_out = draw(False, (), 4)
  expected = by_vjp("autodiff", {}, inputs, d_out)
  wrong = with_a_pencil(*jax.tree.map(np.asarray, (*inputs, *d_out)), mistake=mistake)
  with pytest.raises(AssertionError):
    check(wrong, expected)
  # Not a matter of tolerance: the mistake is visible with the naked eye.
  with pytest.raises(AssertionError):
    check(wrong, expected, tolerance=1e-3)


@both_forms
def test_held_steps_pass_the_state_and_its_cotangent_on_exactly(reset_after):
  (params, xs, carry), (d_last, d_ys) = draw(reset_after, (3,), 4)
  options = {"lengths": jnp.zeros(3, jnp.int32), "reset_after": reset_after}
  d_params, d_xs, d_carry = by_rule(options, (params, xs, carry), (d_last, d_ys))
  np.testing.assert_array_equal(d_carry, d_last)
  for leaf in jax.tree.leaves((d_params, d_xs)):
    np.testing.assert_array_equal(leaf, 0)


@pytest.mark.parametrize("reverse", [False, True])
def test_no_steps_pass_the_gradient_of_the_carry_on(reverse):
  params = gru.init(jax.random.key(0), 3, 4)
  carry = jnp.arange(4.0)

  def weighted(params, carry):
    carry, _ = gru.scan(params, jnp.zeros((0, 3)), carry, reverse=reverse)
    return carry @ jnp.arange(1.0, 5.0)

  d_params, d_carry = jax.grad(weighted, argnums=(0, 1))(params, carry)
  np.testing.assert_array_equal(d_carry, jnp.arange(1.0, 5.0))
  assert all((d == 0).all() for d in jax.tree.leaves(d_params))
