"""A variational autoencoder of images with Bernoulli pixels, x in [0, 1].

With q(z|x) = N(mu(x), diag(sigma(x)^2)) and p(z) = N(0, I), the evidence lower bound is, in nats,

  ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z))

Source: Kingma and Welling, "Auto-encoding variational Bayes" (2014); Higgins et al., "beta-VAE"
  (2017); Bowman et al., "Generating sentences from a continuous space" (2016), for KL warm-up;
  Kingma et al., "Improved variational inference with inverse autoregressive flow" (2016), for
  free bits; Burda et al., "Importance weighted autoencoders" (2016), for L_K and active units.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlx.data import expect, images
from dlx.experiment import Data, Loss, Task
from dlx.layers import gaussian, linear
from dlx.reports import figures


def load(config, assets=None) -> Data:
  """uint8 images; their shape is an asset."""
  splits = images.from_options(config.data)
  shape = list(splits.train.images.shape[1:])
  return Data(*({"images": split.images} for split in splits), assets={"shape": shape})


def init(rng, d_image: int, d_hidden: int, d_latent: int) -> dict:
  """Encoder and decoder with one hidden layer each."""
  sizes = {
      "encoder_hidden": (d_image, d_hidden), "encoder_out": (d_hidden, 2 * d_latent),
      "decoder_hidden": (d_latent, d_hidden), "decoder_out": (d_hidden, d_image),
  }  # fmt: skip
  rngs = jax.random.split(rng, len(sizes))
  return {name: linear.init(r, *size) for r, (name, size) in zip(rngs, sizes.items())}


def encode(params, x):
  """(mu, log sigma^2) of q(z|x), each (..., d_latent), of pixels (..., d_image)."""
  h = jax.nn.relu(linear.apply(params["encoder_hidden"], x))
  return jnp.split(linear.apply(params["encoder_out"], h), 2, axis=-1)


def decode(params, z):
  """Logits of the pixels, (..., d_image)."""
  h = jax.nn.relu(linear.apply(params["decoder_hidden"], z))
  return linear.apply(params["decoder_out"], h)


def log_likelihood(params, x, z):
  """log p(x|z), (...,)."""
  logits = decode(params, z)
  return (x * logits - jax.nn.softplus(logits)).sum(-1)


def terms(params, x, rng):
  """(log p(x|z) (B,), KL of each latent (B, d_latent)), with one sample of z."""
  mu, log_var = encode(params, x)
  z = gaussian.sample(rng, mu, log_var)
  return log_likelihood(params, x, z), gaussian.kl_divergence(mu, log_var)


def make(config, assets) -> Task:
  """The model that config.model describes, its loss, metrics and figures."""
  shape, num_samples = expect.image_shape("shape", assets["shape"]), config.num_importance_samples

  def init_fn(rng, data):
    return {"params": init(rng, int(np.prod(shape)), **config.model)}

  def pixels(batch):
    return batch["images"].reshape(len(batch["images"]), -1) / 255

  def loss_fn(variables, batch, rng):
    log_p, kl = (term.mean(0) for term in terms(variables["params"], pixels(batch), rng))
    weight = config.beta * jnp.minimum(1, (batch["step"] + 1) / max(1, config.kl_warmup))
    penalty = weight * jnp.maximum(kl, config.free_bits).sum()
    return Loss(penalty - log_p, {"kl": kl.sum(), "elbo": log_p - kl.sum()})

  def eval_fn(variables, batch, rng):
    log_p, kl = terms(variables["params"], pixels(batch), rng)
    return {"loss": kl.sum(-1) - log_p, "kl": kl.sum(-1)}

  def codes_and_bound(variables, batch, rng):
    params, x = variables["params"], pixels(batch)
    joint = lambda z: log_likelihood(params, x, z) + gaussian.log_prob(z).sum(-1)  # noqa: E731
    q = encode(params, x)
    return q[0], gaussian.importance_weighted_bound(rng, joint, *q, num_samples)

  def measure_fn(variables, data, split, apply):
    codes, bound = apply(codes_and_bound, data.split(split))
    return {f"-L_{num_samples}": -bound.mean(), "active units": (codes.var(0) > 0.01).sum()}

  def decoded(variables, z):
    return np.asarray(jax.nn.sigmoid(decode(variables["params"], z))).reshape(-1, *shape)

  def sample(variables, rng, *, count=64):
    return iter(decoded(variables, jax.random.normal(rng, (count, config.model.d_latent))))

  def plot(variables, data, split, apply):
    batch = {"images": data.split(split)["images"][:32]}
    reconstructed = decoded(variables, encode(variables["params"], pixels(batch))[0])
    pairs = np.stack([batch["images"] / 255, reconstructed], 1).reshape(-1, *shape)
    plane = decoded(variables, gaussian.quantile_grid(12, config.model.d_latent))
    return {
        f"reconstructions_{split}": figures.image_grid(pairs),
        "latent_plane": figures.image_grid(plane, columns=12),
    }

  return Task(
      init_fn, loss_fn, eval_fn, measure_fn=measure_fn, sample=sample, plot=plot,
      unit="nats per image",
  )  # fmt: skip
