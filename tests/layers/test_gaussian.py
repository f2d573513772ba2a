"""Diagonal Gaussians against scipy, numerical integration and exact marginals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from dlx.layers import gaussian


def test_log_prob_is_that_of_scipy(x64):
  z, mean, log_var = np.random.default_rng(0).normal(size=(3, 4, 5))
  expected = stats.norm.logpdf(z, mean, np.exp(log_var / 2))
  for f in (gaussian.log_prob, jax.jit(gaussian.log_prob)):
    np.testing.assert_allclose(f(z, mean, log_var), expected, rtol=1e-12)
  np.testing.assert_allclose(gaussian.log_prob(z), stats.norm.logpdf(z), rtol=1e-12)


@pytest.mark.parametrize("mean, log_var", [(0.7, -1.2), (-2.0, 0.5), (0.0, 0.0)])
def test_kl_divergence_is_its_integral(x64, mean, log_var):
  q = stats.norm(mean, np.exp(log_var / 2))
  integrand = lambda z: q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z))  # noqa: E731
  expected, _ = integrate.quad(integrand, mean - 12, mean + 12)
  for f in (gaussian.kl_divergence, jax.jit(gaussian.kl_divergence)):
    np.testing.assert_allclose(f(jnp.float64(mean), jnp.float64(log_var)), expected, atol=1e-9)


def test_samples_have_the_mean_and_the_variance():
  mean, log_var = jnp.full(200_000, 1.5), jnp.full(200_000, np.log(0.25))
  z = gaussian.sample(jax.random.key(0), mean, log_var)
  assert abs(z.mean() - 1.5) < 5e-3 and abs(z.var() - 0.25) < 5e-3


def test_the_gradient_of_a_sample_is_that_of_its_reparameterization(x64):
  rng, mean, log_var = jax.random.key(3), jnp.array([0.3, -1.0]), jnp.array([0.2, -0.4])
  d_mean, d_log_var = jax.grad(
      lambda m, v: gaussian.sample(rng, m, v).sum(), argnums=(0, 1)
  )(mean, log_var)
  z = gaussian.sample(rng, mean, log_var)
  np.testing.assert_allclose(d_mean, 1)
  np.testing.assert_allclose(d_log_var, (z - mean) / 2, rtol=1e-12)


class TestImportanceWeightedBound:
  """x | z ~ N(z, 1) and z ~ N(0, 1), so that x ~ N(0, 2) and z | x ~ N(x / 2, 1 / 2)."""

  x = jnp.array([[0.4], [-1.3]])

  def log_joint(self, z):
    return (gaussian.log_prob(self.x, z) + gaussian.log_prob(z)).sum(-1)

  def bound(self, mean, log_var, num_samples):
    rngs = jax.random.split(jax.random.key(0), 2000)
    bounds = jax.vmap(
        lambda rng: gaussian.importance_weighted_bound(
            rng, self.log_joint, mean, log_var, num_samples
        )
    )(rngs)
    return bounds.mean(0)

  @property
  def log_evidence(self):
    return stats.norm.logpdf(np.asarray(self.x)[:, 0], 0, np.sqrt(2))

  def test_it_is_exact_for_the_true_posterior(self):
    log_var = jnp.full((2, 1), np.log(0.5))
    for num_samples in (1, 5):
      found = self.bound(self.x / 2, log_var, num_samples)
      np.testing.assert_allclose(found, self.log_evidence, atol=1e-4)

  @pytest.mark.full
  def test_it_tightens_with_the_number_of_samples(self):
    mean, log_var = jnp.zeros((2, 1)), jnp.zeros((2, 1))
    one, ten, many = (self.bound(mean, log_var, k) for k in (1, 10, 300))
    assert (one < ten).all() and (ten < many).all()
    np.testing.assert_allclose(many, self.log_evidence, atol=0.02)

  @pytest.mark.full
  def test_one_sample_is_the_elbo(self):
    mean, log_var = jnp.full((2, 1), 0.3), jnp.full((2, 1), -0.5)
    rng = jax.random.key(1)
    found = gaussian.importance_weighted_bound(rng, self.log_joint, mean, log_var, 1)
    z = gaussian.sample(jax.random.split(rng, 1)[0], mean, log_var)
    elbo = self.log_joint(z) - gaussian.log_prob(z, mean, log_var).sum(-1)
    np.testing.assert_allclose(found, elbo, rtol=1e-6)


def test_a_quantile_grid_divides_the_probability_equally():
  grid = np.asarray(gaussian.quantile_grid(4, 3))
  assert grid.shape == (16, 3) and not grid[:, 1].any()
  np.testing.assert_allclose(
      stats.norm.cdf(grid[:4, 0]), [0.125, 0.375, 0.625, 0.875], rtol=1e-5
  )
  np.testing.assert_allclose(grid[::4, 2], grid[:4, 0])
