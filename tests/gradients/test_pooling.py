"""Gradients of pooling at ties, at -inf and in overlapping windows.

tests/gradients/test_rules.py checks the rules against jax over random shapes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import pooling as gradients
from dlx.layers import pooling

compiled = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def image(rows):
  return jnp.asarray(rows, jnp.float64)[..., None]


def both(x, d_y, compile_, **options):
  """d_x by the rule, after checking that jax agrees."""

  def ways(x, d_y):
    by_jax = jax.vjp(lambda x: pooling.max_pool(x, **options), x)[1](d_y)[0]
    return gradients.max_pool_vjp(x, d_out=d_y, **options), by_jax

  by_rule, by_jax = compile_(ways)(x, d_y)
  np.testing.assert_array_equal(by_rule, by_jax)
  return by_rule[..., 0]


@pytest.mark.full
@compiled
def test_at_ties_the_first_maximum_gets_the_whole_cotangent(x64, compile_):
  x = image([[0, 5, 5, 1], [5, 5, 1, 1]])
  d_x = both(x, image([[2, 3]]), compile_, window=2)
  np.testing.assert_array_equal(d_x, [[0, 2, 3, 0], [0, 0, 0, 0]])
  same = both(jnp.zeros((4, 4, 1)), image([[1, 2], [3, 4]]), compile_, window=2)
  np.testing.assert_array_equal(
      same, [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
  )


@compiled
def test_overlapping_windows_add_up_at_a_shared_maximum(x64, compile_):
  x = image([[1, 2, 3], [4, 9, 5], [6, 7, 8]])
  d_x = both(x, image([[1, 10], [100, 1000]]), compile_, window=2, strides=1)
  np.testing.assert_array_equal(d_x, [[0, 0, 0], [0, 1111, 0], [0, 0, 0]])
  tied = both(jnp.ones((1, 4, 1)), image([[1, 10, 100]]), compile_, window=(1, 2), strides=1)
  np.testing.assert_array_equal(tied, [[1, 10, 100, 0]])


@compiled
def test_padding_is_less_than_every_number(x64, compile_):
  options = {"window": 2, "strides": 1, "padding": ((1, 0), (1, 0))}
  d_x = both(image([[-9, -8], [-7, -1e300]]), image([[1, 10], [100, 1000]]), compile_, **options)
  np.testing.assert_array_equal(d_x, [[1, 10], [1100, 0]])


@compiled
def test_minus_infinity_is_a_tie_with_padding_before_it(x64, compile_):
  low = -jnp.inf
  d_x = both(image([[low, low], [low, 3]]), image([[7]]), compile_, window=2)
  np.testing.assert_array_equal(d_x, [[0, 0], [0, 7]])
  d_x = both(image([[low, low], [low, low]]), image([[7]]), compile_, window=2)
  np.testing.assert_array_equal(d_x, [[7, 0], [0, 0]])
  options = {"window": (1, 2), "strides": 2, "padding": ((0, 0), (1, 1))}
  d_x = both(image([[low, low]]), image([[7, 8]]), compile_, **options)
  np.testing.assert_array_equal(d_x, [[0, 8]])


@compiled
def test_an_average_is_distributed_over_all_counted_elements(x64, compile_):
  options = {"window": 2, "strides": 1, "padding": ((0, 0), (1, 0))}
  x, d_y = jnp.zeros((2, 2, 1)), image([[4, 8]])
  for count, expected in {True: [[3, 2], [3, 2]], False: [[4, 2], [4, 2]]}.items():
    d_x = compile_(
        lambda x, d, count=count: gradients.avg_pool_vjp(
            x, d_out=d, count_include_pad=count, **options
        )
    )(x, d_y)
    np.testing.assert_array_equal(d_x[..., 0], expected)


def test_elements_outside_all_windows_have_no_gradient(x64):
  d_y = jnp.ones((1, 2, 1))
  for rule in (gradients.max_pool_vjp, gradients.avg_pool_vjp):
    d_x = rule(jnp.zeros((3, 7, 1)), d_out=d_y, window=2, strides=3)
    assert not d_x[2].any() and not d_x[:, [2, 5, 6]].any() and d_x[:2, :2].sum() == 1


def test_a_bfloat16_average_is_divided_in_float32():
  d_x = gradients.avg_pool_vjp(
      jnp.zeros((1, 9, 1), jnp.bfloat16), d_out=jnp.ones((1, 7, 1), jnp.bfloat16), window=(1, 3),
      strides=1,
  )  # fmt: skip
  assert d_x.dtype == jnp.bfloat16
  assert d_x[0, 4, 0] == 1  # Three thirds, rounded once.


@pytest.mark.parametrize("rule", [gradients.max_pool_vjp, gradients.avg_pool_vjp])
def test_a_wrong_cotangent_is_reported(rule):
  x = jnp.zeros((3, 5, 4, 2))
  with pytest.raises(ValueError) as e:
    rule(x, d_out=jnp.zeros((3, 5, 4, 2)), window=2)
  assert str(e.value) == "d_out: expected shape (3, 2, 2, 2), got (3, 5, 4, 2)"
  with pytest.raises(ValueError) as e:
    rule(x, d_out=jnp.zeros((3, 2, 2, 2), jnp.bfloat16), window=2)
  assert str(e.value) == "d_out: expected dtype float32, got bfloat16"
