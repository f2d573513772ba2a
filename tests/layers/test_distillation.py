"""Distillation: the equation by hand, its limits, masks, invalid input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import distillation as gradients
from dlx.layers import distillation, losses

pytestmark = pytest.mark.usefixtures("x64")
eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
RNG = np.random.default_rng(0)
LOGITS, TEACHER = RNG.normal(size=(2, 5, 4)) * 2


def softmax(x):
  return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


@eager_and_jit
@pytest.mark.parametrize("t", [0.5, 1.0, 4.0])
def test_loss_and_gradient_are_the_equation(compile_, t):
  p, q = softmax(LOGITS / t), softmax(TEACHER / t)
  loss = lambda z, q: distillation.soft_cross_entropy(z, q, temperature=t)  # noqa: E731
  value, d_logits = compile_(jax.value_and_grad(loss))(LOGITS, q)
  assert value == pytest.approx(-(t**2) * (q * np.log(p)).sum(-1).mean(), rel=1e-13)
  np.testing.assert_allclose(d_logits, t * (p - q) / 5, atol=1e-15)
  rule = lambda z, q: gradients.soft_cross_entropy_vjp(  # noqa: E731
      z, q, d_out=jnp.ones(()), temperature=t
  )
  by_hand, d_targets = compile_(rule)(jnp.asarray(LOGITS), jnp.asarray(q))
  np.testing.assert_allclose(by_hand, d_logits, atol=1e-15)
  np.testing.assert_allclose(d_targets, -(t**2) * np.log(p) / 5, rtol=1e-13)


@eager_and_jit
def test_a_certain_teacher_is_the_label(compile_):
  labels = np.array([0, 3, 1, 1, 2])
  found = compile_(distillation.soft_cross_entropy)(LOGITS, np.eye(4)[labels])
  assert float(found) == pytest.approx(float(losses.cross_entropy(LOGITS, labels)), rel=1e-14)


def test_a_high_temperature_matches_logits():
  """Hinton et al., equation 4: the gradient of a term tends to (z - v) / K, both of mean 0."""
  z, v = (x - x.mean(-1, keepdims=True) for x in (LOGITS, TEACHER))
  t = 1e4
  loss = lambda z: distillation.soft_cross_entropy(z, softmax(v / t), temperature=t)  # noqa: E731
  np.testing.assert_allclose(jax.grad(loss)(z), (z - v) / 4 / 5, atol=1e-4)


@eager_and_jit
def test_masked_terms_are_ignored_even_if_they_are_nan(compile_):
  mask = np.array([True, False, True, True, False])
  spoiled = np.where(mask[:, None], LOGITS, np.nan)
  q = softmax(TEACHER)
  loss = compile_(jax.value_and_grad(lambda z, q: distillation.soft_cross_entropy(z, q, mask)))
  value, d_logits = loss(spoiled, np.where(mask[:, None], q, np.nan))
  expected = distillation.soft_cross_entropy(LOGITS[mask], q[mask])
  assert float(value) == pytest.approx(float(expected), rel=1e-14)
  assert np.isfinite(d_logits).all() and not d_logits[~mask].any()


def test_weights_weigh_the_terms():
  w, q = np.array([1.0, 0, 2, 0, 0]), softmax(TEACHER)
  found = distillation.soft_cross_entropy(LOGITS, q, weights=w)
  terms = -(q * np.log(softmax(LOGITS))).sum(-1)
  assert float(found) == pytest.approx((terms[0] + 2 * terms[2]) / 3, rel=1e-13)


def test_float16_is_computed_in_float32():
  q = softmax(TEACHER)
  found = distillation.soft_cross_entropy(jnp.float16(1e4 * LOGITS / 8), jnp.float16(q))
  assert found.dtype == jnp.float32 and jnp.isfinite(found)


def test_invalid_input_is_reported():
  q = softmax(TEACHER)
  with pytest.raises(ValueError, match=r"targets: expected shape \(5, 4\), got \(5, 3\)"):
    distillation.soft_cross_entropy(LOGITS, q[:, :3])
  with pytest.raises(ValueError, match="temperature: expected a number above 0, got 0"):
    distillation.soft_cross_entropy(LOGITS, q, temperature=0.0)
  with pytest.raises(ValueError, match="mask: expected dtype bool"):
    distillation.soft_cross_entropy(LOGITS, q, np.ones(5))
