"""A feed-forward network: linear layers with a nonlinearity between them.

  h_0 = x,   h_l = f(W_l h_{l-1} + b_l),   z = W_{L+1} h_L + b_{L+1}

Without a hidden layer (L = 0) it is a linear model, and with the identity as f equal to one. With a
function f that is no polynomial, one hidden layer of enough units comes as near to any continuous
function on a bounded set as is wanted; with z^2, L layers make polynomials of degree 2^L, of any
width.

Source: Leshno, Lin, Pinkus, Schocken, "Multilayer feedforward networks with a nonpolynomial
  activation function can approximate any function" (1993).
"""

from collections.abc import Sequence

import jax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float

from dlx.layers import linear
from dlx.layers.activations import gelu
from dlx.layers.dropout import dropout

ACTIVATIONS = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "leaky_relu": jax.nn.leaky_relu,
    "hard_tanh": jax.nn.hard_tanh,
    "softsign": jax.nn.soft_sign,
    "square": jnp.square,
    "identity": lambda x: x,
}
_RECTIFIED = ("relu", "leaky_relu", "gelu", "silu", "elu")  # About half of the variance is lost.


def init(rng: jax.Array, sizes: Sequence[int], activation: str) -> dict[str, dict[str, Array]]:
  """Layers "layer0", "layer1", ... of dlx.layers.linear; the variance of a kernel is 1/d_in.

  Behind rectified units it is 2/d_in.

  Args:
    rng: a typed key.
    sizes: (D, hidden units ..., outputs).
    activation: a key of ACTIVATIONS.

  Source: He et al., "Delving deep into rectifiers" (2015), for rectified units.
  """
  params = {}
  for i, (d_in, d_out) in enumerate(zip(sizes, sizes[1:])):
    layer_rng = jax.random.fold_in(rng, i)
    params[f"layer{i}"] = linear.init(layer_rng, d_in, d_out)
    if i and activation in _RECTIFIED:
      params[f"layer{i}"]["kernel"] = initializers.he_normal()(layer_rng, (d_in, d_out))
  return params


def apply(
    params: dict[str, dict[str, Array]],
    x: Float[Array, "... D"],
    activation: str,
    *,
    rng: jax.Array | None = None,
    dropout_rate: float = 0.0,
) -> Float[Array, "... K"]:
  """z of x.

  Args:
    params: of `init`.
    x: `(..., D)`.
    activation: f, a key of ACTIVATIONS.
    rng: a typed key for dropout; None for none.
    dropout_rate: of the hidden units.
  """
  last = len(params) - 1
  for i in range(last):
    x = ACTIVATIONS[activation](linear.apply(params[f"layer{i}"], x))
    if rng is not None and dropout_rate:
      x = dropout(jax.random.fold_in(rng, i), x, rate=dropout_rate)
  return linear.apply(params[f"layer{last}"], x)
