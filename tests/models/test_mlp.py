"""The feed-forward network against numpy, its special cases, dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from dlx.layers import linear
from dlx.models import mlp

BY_HAND = {
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "gelu": lambda z: z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))) / 2,
    "silu": lambda z: z * special.expit(z),
    "softplus": lambda z: np.log1p(np.exp(z)),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "selu": lambda z: 1.0507009873554805
    * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z)),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "hard_tanh": lambda z: np.clip(z, -1, 1),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "square": np.square,
    "identity": lambda z: z,
}


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("activation", sorted(mlp.ACTIVATIONS))
def test_it_is_the_composition_of_its_layers(x64, compile_, activation):
  params = mlp.init(jax.random.key(0), (3, 5, 4, 2), activation)
  params = jax.tree.map(lambda p: p + 0.1, params)
  x = np.random.default_rng(0).normal(size=(2, 6, 3))
  h = x
  for i in range(3):
    layer = {name: np.asarray(p) for name, p in params[f"layer{i}"].items()}
    h = h @ layer["kernel"] + layer["bias"]
    h = BY_HAND[activation](h) if i < 2 else h
  found = compile_(lambda params, x: mlp.apply(params, x, activation))(params, x)
  np.testing.assert_allclose(found, h, rtol=1e-10)


def test_without_hidden_layers_it_is_linear():
  params = mlp.init(jax.random.key(0), (3, 2), "relu")
  x = np.random.default_rng(0).normal(size=(6, 3))
  np.testing.assert_array_equal(
      mlp.apply(params, x, "relu"), linear.apply(params["layer0"], x)
  )


def test_the_variance_of_a_deep_network_of_rectified_units_is_that_of_its_inputs():
  params = mlp.init(jax.random.key(0), (200, *[200] * 6, 200), "relu")
  x = jax.random.normal(jax.random.key(1), (100, 200))
  assert 0.5 < float(mlp.apply(params, x, "relu").var()) < 2


def test_dropout_keeps_the_mean_and_differs_between_layers_and_keys():
  ones = {"kernel": jnp.eye(2000), "bias": jnp.zeros(2000)}
  params = {"layer0": ones, "layer1": ones, "layer2": ones}
  x = jnp.ones(2000)
  drop = lambda seed: mlp.apply(  # noqa: E731
      params, x, "identity", rng=jax.random.key(seed), dropout_rate=0.5
  )
  found = np.asarray(drop(0))
  assert set(np.unique(found)) == {0, 4} and (drop(1) != found).any()
  assert (found > 0).mean() == pytest.approx(0.25, abs=0.05)  # Both layers keep it: independent.
  assert (mlp.apply(params, x, "identity", dropout_rate=0.5) == 1).all()
