"""Layers of autoencoders, with the distances and penalties of their losses.

Each layer is h = s(x W + b) and x' = s(h V + c), with V = W^T where weights are tied. s is the
sigmoid, and the distance cross-entropy in nats; or the identity, without biases, and the distance
||x - x'||^2.

Source: Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks"
  (2006); Baldi and Hornik (1989), linear; Ng, CS294A lecture notes (2011), and Ranzato et al.
  (2007), sparse; Vincent et al. (2008), denoising; Rifai et al. (2011), contractive; Bengio et
  al., "Greedy layer-wise training of deep networks" (2007), stacked.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import rel_entr
import optax

from dlx.layers import linear

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "identity": lambda x: x}


def init(rng, sizes, *, tied: bool, bias: bool) -> dict:
  """Layers of sizes (D, ..., k): an encoder (d_in, d_out) and a decoder (d_out, d_in) each."""
  params = {}
  for i, (d_in, d_out) in enumerate(zip(sizes, sizes[1:])):
    rngs = jax.random.split(jax.random.fold_in(rng, i))
    decoder = linear.init(rngs[1], d_out, d_in, bias=bias)
    params[f"layer{i}"] = {
        "encoder": linear.init(rngs[0], d_in, d_out, bias=bias),
        "decoder": {k: v for k, v in decoder.items() if not (tied and k == "kernel")},
    }
  return params


def encode(layers, x, activation: str):
  """The codes, (..., k), of x, (..., D)."""
  for layer in layers:
    x = ACTIVATIONS[activation](linear.apply(layer["encoder"], x))
  return x


def decode(layers, h, activation: str):
  """The pre-activations a of the reconstructions s(a), (..., D), of codes, (..., k)."""
  for i, layer in enumerate(reversed(layers)):
    params = {"kernel": layer["encoder"]["kernel"].T, **layer["decoder"]}
    h = linear.apply(params, ACTIVATIONS[activation](h) if i else h)
  return h


def distance(x, a, activation: str):
  """-sum_i x_i log s(a_i) + (1 - x_i) log(1 - s(a_i)), or ||x - a||^2 for the identity."""
  if activation == "sigmoid":
    return optax.sigmoid_binary_cross_entropy(a, x).sum(-1)
  return jnp.square(x - a).sum(-1)


def draw(rng, h, kind: str, std: float = 0.0):
  """Codes z ~ N(h, std^2) or Bernoulli(h), with dz/dh = 1: exact for Gaussian noise, and the
  straight-through estimate of Bengio, Leonard and Courville (2013) for Bernoulli codes."""
  if kind == "gaussian":
    return h + std * jax.random.normal(rng, h.shape, h.dtype)
  if kind == "bernoulli":
    return h + jax.lax.stop_gradient(jax.random.bernoulli(rng, h).astype(h.dtype) - h)
  return h


def rate_divergence(h, rate: float):
  """sum_j KL(Bernoulli(rate) || Bernoulli(mean of h_j over the batch)), a scalar."""
  mean = h.mean(0)
  return (rel_entr(rate, mean) + rel_entr(1 - rate, 1 - mean)).sum()


def jacobian_norm(function, x):
  """||d function / dx||_F^2 of each row of x, (B,), by automatic differentiation."""
  return jnp.square(jax.vmap(jax.jacrev(function))(x)).sum((-2, -1))  # Codes are smaller than x.


def sigmoid_jacobian_norm(kernel, h):
  """`jacobian_norm` of h = sigmoid(x W + b): sum_j (h_j (1 - h_j))^2 sum_i W_ij^2, (B,)."""
  return jnp.square(h * (1 - h)) @ jnp.square(kernel).sum(0)


def penalty(kind: str, layers, x, h, activation: str, rate: float = 0.0):
  """The penalty of codes h of inputs x: (B,), or a scalar if it depends on the batch's mean."""
  if kind in ("none", "l1"):
    return jnp.abs(h).sum(-1) if kind == "l1" else 0.0
  if kind == "kl":
    return rate_divergence(h, rate)
  if len(layers) == 1 and activation == "sigmoid":
    return sigmoid_jacobian_norm(layers[0]["encoder"]["kernel"], h)
  return jacobian_norm(lambda x: encode(layers, x, activation), x)
