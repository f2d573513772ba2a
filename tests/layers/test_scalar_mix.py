"""The mixture of layers: its value, its gradient, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import scalar_mix

compiled = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


@compiled
def test_the_mixture_is_that_of_the_paper(x64, compile_):
  rng = np.random.default_rng(0)
  w, gamma, states = rng.normal(size=3), 1.7, rng.normal(size=(2, 3, 5, 4))
  params = {"weights": jnp.asarray(w), "scale": jnp.asarray(gamma)}
  s = np.exp(w) / np.exp(w).sum()
  expected = gamma * sum(s[j] * states[:, j] for j in range(3))
  found = compile_(scalar_mix.apply)(params, jnp.asarray(states))
  np.testing.assert_allclose(found, expected, rtol=1e-12)
  # d/dw_j of the sum of the outputs is gamma s_j (sum h_j - sum_k s_k sum h_k).
  totals = states.sum((0, 2, 3))
  grads = compile_(jax.grad(lambda p: scalar_mix.apply(p, states).sum()))(params)
  np.testing.assert_allclose(grads["weights"], gamma * s * (totals - s @ totals), rtol=1e-10)
  np.testing.assert_allclose(grads["scale"], s @ totals, rtol=1e-10)


def test_it_starts_as_the_mean_of_the_layers():
  states = jax.random.normal(jax.random.key(0), (3, 5, 4))
  mixed = scalar_mix.apply(scalar_mix.init(jax.random.key(0), 3), states)
  np.testing.assert_allclose(mixed, states.mean(0), atol=1e-6)


def test_another_number_of_layers_is_refused():
  with pytest.raises(ValueError, match="states: expected 3 layers, one for each weight"):
    scalar_mix.apply(scalar_mix.init(jax.random.key(0), 3), jnp.zeros((2, 5, 4)))
