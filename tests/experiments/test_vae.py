"""The VAE: ELBO by numerical integration, KL weight, free bits, the importance-weighted bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from dlx import presets
from experiments.vae import config as configs
from experiments.vae import experiment

SHAPE = [3, 2, 1]


def task_of(**changes):
  changes = {"model.d_hidden": 5, "model.d_latent": 1, **changes}
  config = presets.in_steps(configs.get_config("debug", changes), 10)
  return experiment.make(config, {"shape": SHAPE})


@pytest.fixture
def variables():
  params = experiment.init(jax.random.key(0), 6, 5, 1)
  return {"params": jax.tree.map(lambda p: 0.5 * p + 0.1, params)}


@pytest.fixture
def batch():
  images = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=np.uint8)
  return {"images": images, "step": jnp.int32(0)}


def log_joint(variables, pixels, z):
  """log p(x, z) of one image by loops, with Bernoulli pixels in [0, 1]."""
  params = jax.tree.map(np.float64, variables["params"])
  h = np.maximum(z * params["decoder_hidden"]["kernel"][0] + params["decoder_hidden"]["bias"], 0)
  logits = h @ params["decoder_out"]["kernel"] + params["decoder_out"]["bias"]
  log_p = pixels * -np.logaddexp(0, -logits) + (1 - pixels) * -np.logaddexp(0, logits)
  return log_p.sum() + stats.norm.logpdf(z)


def test_the_elbo_is_its_integral_and_below_the_evidence(variables, batch):
  task = task_of()
  rngs = jax.random.split(jax.random.key(1), 4000)
  losses = jax.jit(jax.vmap(lambda r: task.eval_fn(variables, batch, r)["loss"]))(rngs).mean(0)
  x = batch["images"].reshape(2, -1) / 255
  mu, log_var = (np.float64(v)[:, 0] for v in experiment.encode(variables["params"], x))
  for i in range(2):
    q = stats.norm(mu[i], np.exp(log_var[i] / 2))
    integrand = lambda z: q.pdf(z) * (log_joint(variables, x[i], z) - q.logpdf(z))  # noqa: B023, E731
    elbo, _ = integrate.quad(integrand, *q.interval(1 - 1e-12))
    evidence, _ = integrate.quad(lambda z: np.exp(log_joint(variables, x[i], z)), -10, 10)  # noqa: B023
    np.testing.assert_allclose(-losses[i], elbo, atol=0.02)
    assert elbo < np.log(evidence)


@pytest.mark.full
def test_the_bound_of_many_samples_is_the_evidence(variables, batch):
  task = task_of(num_importance_samples=3000)
  x = batch["images"].reshape(2, -1) / 255
  data = experiment.Data(validation={"images": batch["images"]})
  apply = lambda f, arrays: jax.device_get(f(variables, arrays, jax.random.key(2)))  # noqa: E731
  found = task.measure_fn(variables, data, "validation", apply)["-L_3000"]
  evidence = [
      np.log(integrate.quad(lambda z: np.exp(log_joint(variables, row, z)), -10, 10)[0])  # noqa: B023
      for row in x
  ]
  np.testing.assert_allclose(-found, np.mean(evidence), atol=0.02)


@pytest.mark.parametrize("step, weight", [(0, 0.5), (3, 2.0), (7, 4.0), (100, 4.0)])
def test_the_kl_weight_rises_linearly_to_beta(variables, batch, step, weight):
  task = task_of(beta=4.0, kl_warmup=8, free_bits=0.0)
  loss = task.loss_fn(variables, {**batch, "step": jnp.int32(step)}, jax.random.key(0))
  kl, elbo = loss.metrics["kl"], loss.metrics["elbo"]
  np.testing.assert_allclose(loss.value, weight * kl - (elbo + kl), rtol=1e-5)


@pytest.mark.full
def test_latents_below_the_free_bits_have_no_kl_gradient(variables, batch):
  def gradient(free_bits):
    task = task_of(kl_warmup=0, free_bits=free_bits)
    loss = lambda v: task.loss_fn(v, batch, jax.random.key(0)).value  # noqa: E731
    return jax.grad(loss)(variables)["params"]["encoder_out"]["bias"]

  reconstruction = jax.grad(
      lambda v: -experiment.terms(v["params"], batch["images"].reshape(2, -1) / 255,
                                  jax.random.key(0))[0].mean()
  )(variables)["params"]["encoder_out"]["bias"]  # fmt: skip
  np.testing.assert_allclose(gradient(100.0), reconstruction, rtol=1e-5, atol=1e-7)
  assert np.abs(gradient(0.0) - reconstruction).max() > 1e-3


def test_a_latent_that_the_encoder_ignores_is_not_active(variables, batch):
  params = variables["params"]
  constant = jax.tree.map(jnp.zeros_like, params["encoder_out"])
  data = experiment.Data(validation={"images": batch["images"]})
  apply = lambda f, arrays: jax.device_get(f(ignoring, arrays, jax.random.key(2)))  # noqa: E731
  ignoring = {"params": {**params, "encoder_out": constant}}
  assert task_of().measure_fn(ignoring, data, "validation", apply)["active units"] == 0


def test_samples_are_images_of_means():
  task = task_of()
  params = experiment.init(jax.random.key(0), 6, 5, 1)
  images = list(task.sample({"params": params}, jax.random.key(0), count=3))
  assert [image.shape for image in images] == [(3, 2, 1)] * 3
  assert all(0 < image.min() and image.max() < 1 for image in images)
