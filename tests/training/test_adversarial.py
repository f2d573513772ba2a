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


def found(g, x=X, mask=MASK, epsilon=0.5, compile_=jax.jit):
  """The perturbations, and the radius of each document's ball."""
  r = compile_(lambda *args: adversarial.perturbation(*args, epsilon=epsilon))(g, x, mask)
  scale = np.sqrt((x**2 * mask[..., None]).sum((1, 2)) / FEATURES)
  return np.asarray(r), epsilon * scale


@eager_and_jit
def test_it_is_the_gradient_at_the_radius_of_the_ball(compile_):
  r, radius = found(W, compile_=compile_)
  g = W * MASK[..., None]
  unit = g / np.sqrt((g**2).sum((1, 2), keepdims=True))
  np.testing.assert_allclose(r, radius[:, None, None] * unit, rtol=1e-12, atol=1e-15)


def test_no_perturbation_of_the_ball_raises_a_linear_loss_more():
  r, radius = found(W)
  others = RNG.normal(size=(1000, *X.shape)) * MASK[..., None]
  others *= radius[:, None, None] / np.sqrt((others**2).sum((2, 3), keepdims=True))
  rises = (others * W).sum((2, 3))
  assert (rises < (r * W).sum((1, 2))).all()


def test_padding_has_none_whatever_stands_there():
  spoil = lambda a: np.where(MASK[..., None], a, 1e6)  # noqa: E731
  r, _ = found(spoil(W), spoil(X))
  np.testing.assert_allclose(r, found(W)[0], rtol=1e-14)
  assert (r[~MASK] == 0).all()


def test_a_document_without_a_gradient_has_none():
  r, _ = found(W * np.array([1, 0, 0])[:, None, None])
  assert (r[1:] == 0).all() and (r[0] != 0).all()


def test_the_norm_is_exact_for_gradients_whose_squares_underflow():
  g, x = np.float32(W * 1e-30), np.float32(X)
  r, radius = found(g, x)
  assert r.dtype == np.float32
  np.testing.assert_allclose(np.sqrt((r**2).sum((1, 2))), radius, rtol=1e-6)


def test_networks_cannot_escape_by_scaling_their_embeddings():
  """f(x / 10) has a tenth of the gradient at 10 x, and ten times the perturbation."""
  np.testing.assert_allclose(found(W / 10, 10 * X)[0], 10 * found(W)[0], rtol=1e-13)


def loss_fn(w, r):
  value = (jnp.tanh((X + r) * w) ** 2).sum()
  return value, {"clean": value}


@eager_and_jit
def test_the_loss_is_the_mean_of_two_and_the_perturbation_a_constant_of_its_gradient(compile_):
  whole = lambda w: adversarial.with_adversarial(loss_fn, w, X, MASK, epsilon=0.5)  # noqa: E731
  (value, others), grads = compile_(jax.value_and_grad(whole, has_aux=True))(W)
  y = np.tanh(X * W)
  r, _ = found(2 * y * (1 - y**2) * W)
  expected = lambda w: (loss_fn(w, 0)[0] + loss_fn(w, r)[0]) / 2  # noqa: E731
  assert float(value) == pytest.approx(float(expected(W)), rel=1e-13)
  assert float(others["clean"]) == pytest.approx(float(loss_fn(W, 0)[0]), rel=1e-13)
  np.testing.assert_allclose(grads, jax.grad(expected)(W), rtol=1e-11)
  scaled = compile_(jax.grad(lambda w: 3 * whole(w)[0]))(W)
  np.testing.assert_allclose(scaled, 3 * grads, rtol=1e-13)
