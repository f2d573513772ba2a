"""Checks of a rule: against jax, central differences, second derivatives, jit and vmap.

Every function returns an error: the largest difference over all elements of all
cotangents, divided by the largest element of d_out and of the expected cotangents (by 1
when they are all below 1). It is inf when a result is not finite where the expected one
is, or has another structure, shape or dtype.
"""

from collections.abc import Callable
import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from dlx.gradcheck.case import Case

STEP = 1e-5  # Of central differences: rounding 1e-16 / STEP and curvature STEP^2 both stay small.


def cast(tree, dtype):
  """All arrays as jax arrays, floating-point ones in `dtype`."""

  def leaf(x):
    if not isinstance(x, (np.ndarray, jax.Array)):
      return x
    return jnp.asarray(x, dtype) if jnp.issubdtype(x.dtype, jnp.floating) else jnp.asarray(x)

  return jax.tree.map(leaf, tree)


def cotangents(case: Case, inputs: tuple, options: dict, rng: np.random.Generator):
  """A normal cotangent for each output of the reference, in the output's dtype."""
  out = jax.eval_shape(lambda *args: case.reference(*args, **options), *inputs)
  return jax.tree.map(lambda o: jnp.asarray(rng.normal(size=o.shape), o.dtype), out)


def by_jax(case: Case, inputs: tuple, d_out, options: dict) -> tuple:
  """The cotangents of the inputs by jax.vjp of the reference."""
  return jax.vjp(lambda *args: case.reference(*args, **options), *inputs)[1](d_out)


def by_rule(case: Case, inputs: tuple, d_out, options: dict, rule: Callable | None = None):
  """The cotangents by the case's rule, or by `rule` if given; always a tuple."""
  found = (rule or case.rule)(*inputs, d_out=d_out, **options)
  return (found,) if len(inputs) == 1 else tuple(found)


def largest(tree) -> float:
  """The largest absolute value of all leaves; 0 without leaves."""
  leaves = [np.abs(np.asarray(x, np.float64)) for x in jax.tree.leaves(tree)]
  return max((float(x.max()) for x in leaves if x.size), default=0.0)


def error(actual, expected, d_out) -> float:
  """The largest difference of two trees of cotangents, scaled as described above."""
  if jax.tree.structure(actual) != jax.tree.structure(expected):
    return np.inf
  worst = 0.0
  for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
    a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
    if a.shape != e.shape:
      return np.inf
    with np.errstate(invalid="ignore"):  # inf - inf, where both are the same inf.
      difference = np.where((a == e) | (np.isnan(a) & np.isnan(e)), 0.0, np.abs(a - e))
    if not np.isfinite(difference).all():
      return np.inf
    worst = max(worst, float(np.max(difference, initial=0.0)))
  return worst / max(1.0, largest((expected, d_out)))


def same_types(actual, expected) -> bool:
  """Whether two trees have the same structure, shapes and dtypes."""
  types = functools.partial(jax.tree.map, lambda x: (jnp.shape(x), jnp.result_type(x)))
  return types(actual) == types(expected)


def vjp_error(case: Case, rng: np.random.Generator, **sizes) -> float:
  """The rule's error against jax.vjp in float64; both jitted."""
  inputs, options = cast(case.example(rng, **sizes), jnp.float64)
  d_out = cotangents(case, inputs, options, rng)
  both = jax.jit(lambda *args: (by_rule(case, *args, options), by_jax(case, *args, options)))
  actual, expected = both(inputs, d_out)
  return error(actual, expected, d_out) if same_types(actual, expected) else np.inf


def difference_error(case: Case, rng: np.random.Generator, **sizes) -> float:
  """The rule's error against central differences along every element, in float64.

  d_x_i ~ <d_out, f(x + h e_i) - f(x - h e_i)> / 2h.
  """
  inputs, options = cast(case.example(rng, **sizes), jnp.float64)
  d_out = cotangents(case, inputs, options, rng)
  actual = jax.jit(lambda *args: by_rule(case, *args, options))(inputs, d_out)
  return error(actual, by_differences(case, inputs, d_out, options), d_out)


def by_differences(case: Case, inputs: tuple, d_out, options: dict) -> tuple:
  """The cotangents of the inputs by central differences along every element."""
  flat, unflatten = jax.flatten_util.ravel_pytree(inputs)

  def slopes(flat, d_out):
    def weighted(flat):
      out = case.reference(*unflatten(flat), **options)
      return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, d_out, out)), start=jnp.zeros(()))

    def slope(direction):
      return (weighted(flat + STEP * direction) - weighted(flat - STEP * direction)) / (2 * STEP)

    return jax.lax.map(slope, jnp.eye(flat.size), batch_size=64)

  return unflatten(jax.jit(slopes)(flat, d_out))


def low_precision_error(case: Case, rng: np.random.Generator, dtype, **sizes) -> float:
  """The rule's error in `dtype` against jax.vjp in float64 from the same rounded inputs."""
  inputs, options = cast(case.example(rng, **sizes), dtype)
  d_out = cotangents(case, inputs, options, rng)

  @jax.jit
  def both(inputs, d_out):
    wide = cast((inputs, d_out, options), jnp.float64)
    return by_rule(case, inputs, d_out, options), by_jax(case, *wide)

  actual, expected = both(inputs, d_out)
  if any(a.dtype != x.dtype for a, x in zip(*map(jax.tree.leaves, (actual, inputs)))):
    return np.inf
  return error(actual, expected, d_out)


def second_order_error(case: Case, rng: np.random.Generator, **sizes) -> float:
  """The error of the rule's derivative against that of jax.vjp, in float64.

  Both are the gradient of <cotangents(inputs, d_out), v> for a fixed v: with d_out
  fixed, jax's Hessian-vector product of <d_out, f>; d_out is differentiated too.
  """
  inputs, options = cast(case.example(rng, **sizes), jnp.float64)
  d_out = cotangents(case, inputs, options, rng)
  v = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), inputs)

  def second(first):
    def slope(inputs, d_out):
      return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, first(inputs, d_out), v)))

    return jax.grad(slope, argnums=(0, 1))

  both = jax.jit(
      lambda *args: tuple(
          second(functools.partial(first, case, options=options))(*args)
          for first in (by_rule, by_jax)
      )
  )
  return error(*both(inputs, d_out), (d_out, v))


def eager_error(case: Case, rng: np.random.Generator, **sizes) -> float:
  """The difference between the rule run eagerly and jitted, in float64."""
  inputs, options = cast(case.example(rng, **sizes), jnp.float64)
  d_out = cotangents(case, inputs, options, rng)
  jitted = jax.jit(lambda *args: by_rule(case, *args, options))(inputs, d_out)
  return error(by_rule(case, inputs, d_out, options), jitted, d_out)


def _is_array(x):
  return isinstance(x, (np.ndarray, jax.Array))


def vmap_error(case: Case, rng: np.random.Generator, **sizes) -> float:
  """The difference between the rule under vmap over two draws and one draw at a time."""
  draws = []
  for _ in range(2):
    inputs, options = cast(case.example(rng, **sizes), jnp.float64)
    draws.append((inputs, cotangents(case, inputs, options, rng), options))
  static = {name: value for name, value in draws[0][2].items() if not _is_array(value)}
  arrays = [
      (inputs, d_out, {name: value for name, value in options.items() if _is_array(value)})
      for inputs, d_out, options in draws
  ]

  def rule(inputs, d_out, options):
    return by_rule(case, inputs, d_out, options | static)

  one = jax.jit(rule)
  expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(one(*draw) for draw in arrays))
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays)
  return error(jax.jit(jax.vmap(rule))(*stacked), expected, stacked[1])


def leading_error(case: Case, rng: np.random.Generator, **sizes) -> float:
  """The difference between leading dimensions (2, 3) and one example at a time.

  The cotangent of an input without leading dimensions is the sum over the examples.
  """
  inputs, options = cast(case.example(rng, **sizes | {"batch": (2, 3)}), jnp.float64)
  d_out = cotangents(case, inputs, options, rng)
  together = jax.jit(lambda *args: by_rule(case, *args, options))(inputs, d_out)
  batched = {name: options[name] for name in case.batched_options if _is_array(options[name])}
  shared = {name: value for name, value in options.items() if name not in batched}

  def rule(inputs, d_out, batched):
    return by_rule(case, inputs, d_out, shared | batched)

  axes = (tuple(0 if b else None for b in case.batched), 0, 0)
  apart = jax.jit(jax.vmap(jax.vmap(rule, axes), axes))(inputs, d_out, batched)
  apart = tuple(
      x if b else jax.tree.map(lambda leaf: leaf.sum((0, 1)), x)
      for x, b in zip(apart, case.batched)
  )
  return error(together, apart, d_out)
