"""A learned mixture of the layers of a network."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dlx.layers import shapes


def init(rng: jax.Array, num_layers: int) -> dict[str, Array]:
  """`weights (L,)`, zeros, for equal shares, and `scale ()`, 1; nothing is drawn."""
  del rng
  return {"weights": jnp.zeros(num_layers), "scale": jnp.ones(())}


def apply(params: dict[str, Array], states: Float[Array, "... L T D"]) -> Float[Array, "... T D"]:
  """The mixture y = gamma sum_j s_j h_j with s = softmax(w), over the layers j.

  Args:
    params: `weights (L,)`, w, and `scale ()`, gamma.
    states: h, `(..., L, T, D)`, the states of L layers.

  Returns:
    y, `(..., T, D)`, in the dtype of the states; the softmax is computed in at least float32.

  Raises:
    ValueError: there are not as many layers as weights.

  Source: Peters et al., "Deep contextualized word representations" (2018), equation 1.
  """
  shapes.expect_rank("states", states, 3, "(..., L, T, D)")
  w = params["weights"]
  if states.shape[-3] != len(w):
    raise ValueError(f"states: expected {len(w)} layers, one for each weight, got {states.shape}")
  shares = jax.nn.softmax(w.astype(jnp.promote_types(w.dtype, jnp.float32)))
  shares = (params["scale"] * shares).astype(states.dtype)
  return (shares[:, None, None] * states).sum(-3)
