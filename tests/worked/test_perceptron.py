"""Mistakes of the perceptron on scaled inputs. Final exam of January 25, 2023."""

from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import linear as gradients
from dlx.layers import linear

pytestmark = pytest.mark.usefixtures("x64")


def separable(seed):
  """Twelve points, none nearer than 0.1 to the line that separates them, and their signs."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(100, 2))
  margin = x @ np.array([0.6, -0.8])
  far = np.abs(margin) > 0.1
  return x[far][:12], np.sign(margin[far][:12])


def train(w, x, y, passes=30):
  """(w, mistakes of each pass) of the perceptron without a bias, from the weights w.

  A mistake is sign(w x) != y, so at a score of 0, too. The step w + y x is one of
  gradient descent on -y (w x), at rate 1.
  """

  def visit(w, example):
    x, y = example
    params = {"kernel": w}
    wrong = y * linear.apply(params, x)[0] <= 0
    d_params, _ = gradients.apply_vjp(params, x, d_out=-y[None])
    return jnp.where(wrong, w - d_params["kernel"], w), wrong

  def one_pass(w, _):
    w, wrong = lax.scan(visit, w, (x, y))
    return w, wrong.sum()

  w, mistakes = lax.scan(one_pass, w[:, None], length=passes)
  return w[:, 0], mistakes


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_doubled_inputs_cause_as_many_mistakes(run, seed):
  """Part 1, question 3: from zero weights the mistakes on 2x are those on x.

  The weights on 2x are twice those on x at every moment, so every sign is the same.
  """
  x, y = separable(seed)
  w, mistakes = run(train)(jnp.zeros(2), x, y)
  w_2, mistakes_2 = run(train)(jnp.zeros(2), 2 * x, y)
  assert mistakes.sum() > 1 and mistakes[-1] == 0  # It converged.
  np.testing.assert_array_equal(mistakes_2, mistakes)
  np.testing.assert_array_equal(w_2, 2 * w)
  assert (np.sign(x @ np.asarray(w)) == y).all()


def test_from_other_weights_the_mistakes_differ(run):
  """The same question: the argument needs weights that start at zero."""
  x, y = separable(0)
  start = 5 * (x * -y[:, None]).mean(0)  # Wrong for most.
  _, mistakes = run(train)(start, x, y)
  _, mistakes_2 = run(train)(start, 2 * x, y)
  assert mistakes[-1] == mistakes_2[-1] == 0
  assert mistakes_2.sum() < mistakes.sum()
