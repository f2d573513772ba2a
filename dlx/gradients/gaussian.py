"""The gradients of diagonal Gaussians, derived by hand.

The functions are those of dlx.layers.gaussian, elementwise in mean m and log variance l, with
sigma^2 = e^l. All rules take d_out in the shape and dtype of the output, and return cotangents
in the shapes and dtypes of the inputs. They raise ValueError if d_out has another shape or
dtype.
"""

import jax
import jax.numpy as jnp

from dlx.gradients import checks


def sample_vjp(mean, log_var, *, d_out, rng):
  """The vector-Jacobian product of `dlx.layers.gaussian.sample`, z = m + e^(l/2) e.

  The noise e does not depend on m and l: dz/dm = 1 and dz/dl = e^(l/2) e / 2, so

    d_m = d_out,  d_l = d_out e^(l/2) e / 2

  Source: Kingma and Welling, "Auto-encoding variational Bayes" (2014), section 2.4.
  """
  checks.expect_like("d_out", d_out, mean.shape, mean.dtype)
  noise = jax.random.normal(rng, mean.shape, jnp.float32).astype(mean.dtype)
  return d_out, d_out * jnp.exp(log_var / 2) * noise / 2


def log_prob_vjp(z, mean, log_var, *, d_out):
  """The vector-Jacobian product of `dlx.layers.gaussian.log_prob`.

  log N = -(z - m)^2 e^-l / 2 - l / 2 - log(2 pi) / 2. With the standardized u = (z - m) e^-l:

    d_z = -d_out u,  d_m = d_out u,  d_l = d_out ((z - m) u - 1) / 2
  """
  checks.expect_like("d_out", d_out, z.shape, z.dtype)
  u = (z - mean) * jnp.exp(-log_var)
  return -d_out * u, d_out * u, d_out * ((z - mean) * u - 1) / 2


def kl_divergence_vjp(mean, log_var, *, d_out):
  """The vector-Jacobian product of `dlx.layers.gaussian.kl_divergence`.

  KL = (m^2 + e^l - 1 - l) / 2, so d_m = d_out m and d_l = d_out (e^l - 1) / 2: both vanish at
  the standard normal.

  Source: Kingma and Welling, "Auto-encoding variational Bayes" (2014), appendix B.
  """
  checks.expect_like("d_out", d_out, mean.shape, mean.dtype)
  return d_out * mean, d_out * jnp.expm1(log_var) / 2
