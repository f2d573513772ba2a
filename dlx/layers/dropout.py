"""Inverted dropout: expected values are preserved, so nothing is scaled in evaluation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dlx.gradients import dropout as gradients


def dropout(
    rng: jax.Array,
    x: Float[Array, "..."],
    *,
    rate: float,
    broadcast_dims: tuple[int, ...] = (),
) -> Float[Array, "..."]:
  """Zeroes each unit with probability `rate` and scales the others by 1/(1 - rate).

  y = m * x / (1 - rate) with m ~ Bernoulli(1 - rate), so E[y] = x.

  Args:
    rng: a typed key.
    x: any shape.
    rate: the probability of dropping a unit, 0 <= rate < 1; a Python number.
    broadcast_dims: dimensions along which the mask is shared. With `(-2,)` on a sequence
      (..., T, D) a feature is dropped at all steps, which is variational dropout.

  Returns:
    y, in the shape and dtype of x; x itself for rate 0.

  Raises:
    ValueError: rate is outside [0, 1).

  Source: Srivastava et al., "Dropout" (2014); Gal and Ghahramani, "A theoretically
    grounded application of dropout in recurrent neural networks" (2016).
  """
  if not 0 <= rate < 1:
    raise ValueError(f"rate: expected 0 <= rate < 1, got {rate}")
  if rate == 0:
    return x
  keep = gradients.draw_mask(rng, x.shape, rate, broadcast_dims)
  return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype))
