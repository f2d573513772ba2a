"""Vectors of documents: the maximum by trying all, its gradient, padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.models import document_vectors as model

OBJECTIVE = {"scale": 3.0, "negatives": 1.5}


def draw(d: int, dtype=np.float64):
  rng = np.random.default_rng(d)
  near = rng.normal(size=d)  # Where the n-grams are, so that J has one maximum.
  ngrams = model.unit(jnp.asarray(near + 0.3 * rng.normal(size=(4, 7, d)), dtype))
  noise = model.unit(jnp.asarray(rng.normal(size=(5, d)), dtype))
  return ngrams, jnp.asarray(rng.uniform(0.1, 1, (4, 7)), dtype), noise


def infer(*arrays, steps=300, rate=0.3):
  return model.infer(*arrays, steps=steps, rate=rate, **OBJECTIVE)


def by_loops(d, ngrams, weights, noise):
  """J of one document."""
  log_sigma = lambda z: -np.log1p(np.exp(-z))  # noqa: E731
  s, k = OBJECTIVE["scale"], OBJECTIVE["negatives"]
  present = sum(c * log_sigma(s * (d @ w)) for c, w in zip(weights, ngrams)) / sum(weights)
  return present + k * sum(log_sigma(-s * (d @ u)) for u in noise) / len(noise)


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_vector_is_the_best_of_all_directions_in_the_plane(compile_):
  with jax.enable_x64(True):
    arrays = draw(2)
    angles = np.linspace(0, 2 * np.pi, 20_001)
    circle = np.stack([np.cos(angles), np.sin(angles)], -1)
    found = np.asarray(compile_(infer)(*arrays))
    values = compile_(lambda d: model.objective(d, *arrays, **OBJECTIVE))(jnp.asarray(found))
    for i, d in enumerate(found):
      ngrams, weights, noise = np.asarray(arrays[0][i]), np.asarray(arrays[1][i]), arrays[2]
      each = [by_loops(direction, ngrams, weights, np.asarray(noise)) for direction in circle[::50]]
      assert abs(np.linalg.norm(d) - 1) < 1e-12
      assert max(each) <= by_loops(d, ngrams, weights, np.asarray(noise)) + 1e-12
      np.testing.assert_allclose(values[i], by_loops(d, ngrams, weights, np.asarray(noise)))


def test_no_gradient_of_the_maximum_flows_through_the_ascent():
  with jax.enable_x64(True):
    ngrams, weights, noise = draw(6)

    def value(ngrams, noise, stop):
      d = infer(ngrams, weights, noise)
      d = jax.lax.stop_gradient(d) if stop else d
      return model.objective(d, ngrams, weights, noise, **OBJECTIVE).sum()

    through = jax.grad(value, (0, 1))(ngrams, noise, False)
    at_maximum = jax.grad(value, (0, 1))(ngrams, noise, True)
    for a, b in zip(through, at_maximum):
      np.testing.assert_allclose(a, b, atol=1e-9)


def test_padding_changes_nothing_and_a_document_without_ngrams_has_a_finite_vector():
  ngrams, weights, noise = draw(6, np.float32)
  padded = jnp.pad(ngrams, ((0, 0), (0, 3), (0, 0)), constant_values=7)
  found = infer(padded, jnp.pad(weights, ((0, 0), (0, 3))), noise)
  np.testing.assert_allclose(found, infer(ngrams, weights, noise), atol=1e-6)
  empty = infer(ngrams, jnp.zeros_like(weights), noise)
  assert np.isfinite(empty).all() and (empty == empty[0]).all()
