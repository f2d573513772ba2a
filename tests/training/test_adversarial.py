"""Adversarial perturbations: norm, direction, the worst of a ball, padding, constants, limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.training import adversarial

pytestmark = pytest.mark.usefixtures("x64")
eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(2, 3, 5, 4))
MASK = np.arange(5) < np.array([[5], [2], [4]])
FEATURES = np.array([20, 8, 16])


def linear(w, r, x=X):
  return ((x + r) * w).sum()


def found(loss, w=W, x=X, epsilon=0.5, compile_=jax.jit):
  """The perturbations, and the radius of each document's ball."""
  r = compile_(lambda w, x: adversarial.perturbation(loss, w, x, MASK, epsilon=epsilon))(w, x)
  scale = np.sqrt((x**2 * MASK[..., None]).sum((1, 2)) / FEATURES)
  return np.asarray(r), epsilon * scale


@eager_and_jit
def test_it_is_the_gradient_at_the_radius_of_the_ball(compile_):
  loss = lambda w, r: (jnp.tanh((X + r) * w) ** 2).sum()  # noqa: E731
  r, radius = found(loss, compile_=compile_)
  y = np.tanh(X * W)
  g = 2 * y * (1 - y**2) * W * MASK[..., None]
  unit = g / np.sqrt((g**2).sum((1, 2), keepdims=True))
  np.testing.assert_allclose(r, radius[:, None, None] * unit, rtol=1e-12, atol=1e-15)


def test_no_perturbation_of_the_ball_raises_a_linear_loss_more():
  r, radius = found(linear)
  others = RNG.normal(size=(1000, *X.shape)) * MASK[..., None]
  others *= radius[:, None, None] / np.sqrt((others**2).sum((2, 3), keepdims=True))
  rises = (others * W).sum((2, 3))
  assert (rises < (r * W).sum((1, 2))).all()


def test_padding_has_none_whatever_stands_there():
  spoiled = np.where(MASK[..., None], X, 1e6)
  r, _ = found(linear, x=spoiled)
  np.testing.assert_allclose(r, found(linear)[0], rtol=1e-14)
  assert (r[~MASK] == 0).all()


def test_a_document_without_a_gradient_has_none():
  r, _ = found(lambda w, r: linear(w, r) * 0)
  assert (r == 0).all()
  r, _ = found(lambda w, r: linear(w[:1], r[:1], X[:1]))
  assert (r[1:] == 0).all() and (r[0] != 0).all()


def test_the_norm_is_exact_for_gradients_whose_squares_underflow():
  x = jnp.asarray(X, jnp.float32)
  r, radius = found(lambda w, r: linear(w, r, x) * jnp.float32(1e-30), jnp.asarray(W, "float32"), x)
  assert r.dtype == np.float32
  np.testing.assert_allclose(np.sqrt((r**2).sum((1, 2))), radius, rtol=1e-6)


@eager_and_jit
def test_networks_cannot_escape_by_scaling_their_embeddings(compile_):
  """f(x / 10) has ten times the perturbation at 10 x that f has at x."""
  r, _ = found(lambda w, r: jnp.sin((X + r) * w).sum(), compile_=compile_)
  scaled, _ = found(
      lambda w, r: jnp.sin((10 * X + r) / 10 * w).sum(), x=10 * X, compile_=compile_
  )
  np.testing.assert_allclose(scaled, 10 * r, rtol=1e-12, atol=1e-15)


def test_it_is_a_constant_for_the_gradient_of_the_loss():
  loss = lambda w, r: (jnp.tanh((X + r) * w) ** 2).sum()  # noqa: E731

  def trained(w):
    return loss(w, adversarial.perturbation(loss, w, X, MASK, epsilon=0.5))

  constant = found(loss)[0]
  expected = jax.grad(loss)(W, constant)
  np.testing.assert_allclose(jax.jit(jax.grad(trained))(W), expected, rtol=1e-12)
