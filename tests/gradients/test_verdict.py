"""gradcheck.compare: one call for a function and its hand-derived rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx import gradcheck
from dlx.layers import gru


def scaled_tanh(x, scale, *, power=1):
  return scale * jnp.tanh(x) ** power


def right(x, scale, *, d_out, power=1):
  t = jnp.tanh(x)
  slope = power * t ** (power - 1) * (1 - t * t)
  return d_out * scale * slope, jnp.sum(d_out * t**power)


X = np.array([0.5, -1.0, 2.0], np.float32)


def verdict(capsys, rule, *args, function=scaled_tanh, **options) -> list[str]:
  """The lines; the first says right or WRONG, as the returned value does."""
  result = gradcheck.compare(function, rule, *args, **options)
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].endswith("right" if result else "WRONG") and result == (len(lines) == 1)
  return lines


@pytest.mark.parametrize("power", [1, 2])
def test_a_right_rule_is_right(capsys, power):
  assert verdict(capsys, right, X, 2.0, power=power) == ["scaled_tanh: the rule is right"]


def test_the_argument_that_differs_is_named_with_the_place_and_the_error(capsys):
  def wrong(x, scale, *, d_out):
    d_x, d_scale = right(x, scale, d_out=d_out)
    return d_x.at[1].add(0.25), d_scale

  first, *lines = verdict(capsys, wrong, X, 2.0)
  d_out = np.random.default_rng(0).normal(size=3)
  t = np.tanh(X.astype(np.float64))
  cotangents = [*(d_out * 2 * (1 - t * t)), (d_out * t).sum(), *d_out]
  error = 0.25 / max(1, np.abs(cotangents).max())
  assert len(lines) == 2  # Eager and jitted.
  assert lines[0].startswith(f"  x: differs from jax.vjp by {error:.2g}; at [1] the rule gives ")
  assert not any("scale:" in line for line in lines)


def test_every_wrong_argument_is_named(capsys):
  wrong = lambda x, scale, *, d_out: (d_out * scale, jnp.zeros_like(scale))  # noqa: E731
  lines = verdict(capsys, wrong, X, 2.0)
  assert {line.split(":")[0].strip() for line in lines[1:]} == {"x", "scale"}


def test_wrong_structures_and_shapes_are_described(capsys):
  one = lambda x, scale, *, d_out: (d_out,)  # noqa: E731
  assert "returns 1 cotangents, expected 2" in verdict(capsys, one, X, 2.0)[1]
  summed = lambda x, *, d_out: jnp.sum(d_out)  # noqa: E731
  lines = verdict(capsys, summed, X, function=jnp.sin)
  assert "x: the cotangent is float64[], expected float64[3]" in lines[1]


def test_a_result_that_is_not_finite_is_wrong(capsys):
  wrong = lambda x, *, d_out: d_out * jnp.cos(x) / jnp.where(x < 0, 0, 1)  # noqa: E731
  lines = verdict(capsys, wrong, X, function=jnp.sin)
  assert "differs from jax.vjp by inf; at [1] the rule gives" in lines[1]


def test_a_kink_is_told_by_central_differences(capsys):
  lines = verdict(
      capsys, lambda x, *, d_out: d_out * (x > 0), np.array([1.0, 0.0]), function=jax.nn.relu
  )
  assert "rule and jax.vjp agree, but differ from central differences by" in lines[1]


@pytest.mark.full
def test_trees_and_options_are_taken(capsys):
  params = gru.init(jax.random.key(0), 2, 3)
  h, x = np.zeros(3), np.ones(2)
  reference = lambda params, h, x: gru.cell(params, h, x)[1]  # noqa: E731

  def by_jax(params, h, x, *, d_out):
    return jax.vjp(reference, params, h, x)[1](d_out)

  def wrong(params, h, x, *, d_out):
    d_params, d_h, d_x = by_jax(params, h, x, d_out=d_out)
    return d_params | {"bias": -d_params["bias"]}, d_h, d_x

  assert len(verdict(capsys, by_jax, params, h, x, function=reference)) == 1
  lines = verdict(capsys, wrong, params, h, x, function=reference)
  assert lines[1].startswith("  params: ") and "at ['bias'][" in lines[1]


def test_integers_are_passed_by_keyword():
  with pytest.raises(ValueError, match="scale: expected floating-point values, got int64"):
    gradcheck.compare(scaled_tanh, right, X, np.array([2]))
