"""Losses of word vectors against loops over pairs, and their gradients."""

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from dlx.layers import word_losses

B, L, K, P, D = 2, 5, 3, 4, 6
COMPILE = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def arrays():
  rng = np.random.default_rng(0)
  pairs = rng.random((B, L, L)) < 0.4
  pairs[0, 1] = False  # A word without neighbours.
  signs = rng.choice([-1.0, 0.0, 1.0], (B, L, P))
  return (*(rng.normal(size=s) for s in ((B, L, D), (B, L, D), (B, K, D), (B, L, P, D))),
          pairs, signs)  # fmt: skip


@COMPILE
def test_skip_gram_is_the_sum_over_pairs(x64, compile_):
  v, u, noise, _, pairs, _ = arrays()
  found = compile_(lambda *a: word_losses.skip_gram(*a, negatives=5))(v, u, noise, pairs)
  for b, i in np.ndindex(B, L):
    against = -5 * np.mean([np.log(sigmoid(-v[b, i] @ noise[b, k])) for k in range(K)])
    each = [-np.log(sigmoid(v[b, i] @ u[b, j])) + against for j in range(L) if pairs[b, i, j]]
    assert found[b, i] == pytest.approx(sum(each), rel=1e-12)


def means(v, pairs):
  return np.stack([
      [v[b, pairs[b, i]].mean(0) if pairs[b, i].any() else np.zeros(D) for i in range(L)]
      for b in range(B)
  ])  # fmt: skip


@COMPILE
def test_cbow_is_the_loss_of_the_mean_of_the_neighbours(x64, compile_):
  v, u, noise, _, pairs, _ = arrays()
  h = means(v, pairs)
  found = compile_(lambda *a: word_losses.cbow(*a, negatives=5))(v, u, noise, pairs)
  for b, i in np.ndindex(B, L):
    against = -5 * np.mean(np.log(sigmoid(-noise[b] @ h[b, i])))
    expected = against - np.log(sigmoid(h[b, i] @ u[b, i])) if pairs[b, i].any() else 0
    assert found[b, i] == pytest.approx(expected, rel=1e-12)


@COMPILE
def test_paths_are_products_of_the_nodes_probabilities(x64, compile_):
  v, _, _, nodes, pairs, signs = arrays()
  h = means(v, pairs)
  found = compile_(word_losses.skip_gram_paths)(v, nodes, signs, pairs)
  of_mean = compile_(word_losses.cbow_paths)(v, nodes, signs, pairs)
  for b, i in np.ndindex(B, L):

    def loss(x, b=b, i=i):
      return -sum(np.log(sigmoid(s * (x @ u))) for s, u in zip(signs[b, i], nodes[b, i]) if s)

    expected = sum(loss(v[b, j]) for j in range(L) if pairs[b, i, j])
    assert found[b, i] == pytest.approx(expected, rel=1e-12)
    expected = loss(h[b, i]) if pairs[b, i].any() else 0
    assert of_mean[b, i] == pytest.approx(expected, rel=1e-12)


@COMPILE
def test_glove_weighs_squared_errors_of_logarithms(x64, compile_):
  v, u, *_ = arrays()
  counts = np.array([0.5, 3, 10, 40, 1])
  biases = np.arange(5.0), np.array([1.0, -1, 0, 2, 1])
  found = compile_(lambda *a: word_losses.glove(*a, largest=10))(v[0], u[0], *biases, counts)
  for i, x in enumerate(counts):
    error = v[0, i] @ u[0, i] + biases[0][i] + biases[1][i] - np.log(x)
    assert found[i] == pytest.approx(0.5 * min(1, (x / 10) ** 0.75) * error**2, rel=1e-12)


def test_gradients_are_those_of_central_differences(x64):
  v, u, noise, nodes, pairs, signs = map(jnp.asarray, arrays())
  losses = [
      (lambda *a: word_losses.skip_gram(*a, pairs, negatives=5).sum(), (v, u, noise)),
      (lambda *a: word_losses.cbow(*a, pairs, negatives=5).sum(), (v, u, noise)),
      (lambda *a: word_losses.skip_gram_paths(*a, signs, pairs).sum(), (v, nodes)),
      (lambda *a: word_losses.cbow_paths(*a, signs, pairs).sum(), (v, nodes)),
  ]
  for loss, rows in losses:
    check_grads(jax.jit(loss), rows, order=1, modes=["rev"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1e4, -1e4])
def test_extreme_scores_give_finite_losses_and_gradients(scale):
  v = jnp.full((1, 2, 1), 1.0)
  pairs = jnp.array([[[False, True], [True, False]]])

  def loss(u):
    return word_losses.skip_gram(v, u, u, pairs, negatives=5).sum()

  value, gradient = jax.value_and_grad(loss)(jnp.full((1, 2, 1), scale))
  softplus = np.logaddexp(0, [-scale, scale])
  assert value == pytest.approx(2 * softplus[0] + 10 * softplus[1], rel=1e-6)
  assert np.isfinite(gradient).all()
