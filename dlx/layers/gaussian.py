"""Diagonal Gaussians, given by mean and log variance."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float


def sample(
    rng: jax.Array, mean: Float[Array, "*S"], log_var: Float[Array, "*S"]
) -> Float[Array, "*S"]:
  """A reparameterized sample, z = mean + exp(log_var / 2) e with e ~ N(0, I).

  The noise e is drawn in float32, so that a key gives the same one in every dtype.

  Source: Kingma and Welling, "Auto-encoding variational Bayes" (2014), section 2.4.
  """
  noise = jax.random.normal(rng, mean.shape, jnp.float32).astype(mean.dtype)
  return mean + jnp.exp(log_var / 2) * noise


def log_prob(
    z: Float[Array, "*S"], mean: Float[Array, "*S"] = 0.0, log_var: Float[Array, "*S"] = 0.0
) -> Float[Array, "*S"]:
  """log N(z; mean, exp(log_var)) of each element, in nats; the standard normal by default."""
  return norm.logpdf(z, mean, jnp.exp(jnp.asarray(log_var) / 2))


def kl_divergence(mean: Float[Array, "*S"], log_var: Float[Array, "*S"]) -> Float[Array, "*S"]:
  """KL(N(mean, sigma^2) || N(0, 1)) of each element, in nats, with log_var = log sigma^2.

  (mean^2 + sigma^2 - 1 - log sigma^2) / 2

  Source: Kingma and Welling, "Auto-encoding variational Bayes" (2014), appendix B.
  """
  return 0.5 * (mean**2 + jnp.exp(log_var) - 1 - log_var)


def importance_weighted_bound(
    rng: jax.Array,
    log_joint: Callable[[Array], Array],
    mean: Float[Array, "*B D"],
    log_var: Float[Array, "*B D"],
    num_samples: int,
) -> Float[Array, "*B"]:
  """L_K = log 1/K sum_k p(x, z_k) / q(z_k|x) with z_k ~ q = N(mean, exp(log_var)), in nats.

  In expectation a lower bound of log p(x) that tightens as K grows; L_1 is the ELBO.

  Args:
    rng: a typed key.
    log_joint: `log_joint(z) -> log p(x, z)`, (*B,).
    mean, log_var: of the proposal q.
    num_samples: K.

  Source: Burda, Grosse, Salakhutdinov, "Importance weighted autoencoders" (2016), equation 8.
  """

  def log_weight(rng):
    z = sample(rng, mean, log_var)
    return log_joint(z) - log_prob(z, mean, log_var).sum(-1)

  log_weights = jax.lax.map(log_weight, jax.random.split(rng, num_samples))
  return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(num_samples)


def quantile_grid(side: int, dim: int) -> Float[Array, "side*side dim"]:
  """Points in the plane of the first and the last dimension, at equal steps of probability.

  The other dimensions are 0; rows of the grid vary the last dimension.
  """
  axis = norm.ppf((jnp.arange(side) + 0.5) / side)
  points = jnp.zeros((side**2, dim)).at[:, 0].set(jnp.tile(axis, side))
  return points.at[:, -1].set(jnp.repeat(axis, side)) if dim > 1 else points
