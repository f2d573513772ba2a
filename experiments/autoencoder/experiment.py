"""Autoencoders of images: a code h that is smaller, sparser or smoother than the image x.

  loss = distance(x, x') + penalty,   h = encode(corrupted x),   z = h or drawn around h

with x' = decode(z) and pixels in [0, 1]; dlx.models.autoencoder has the layers, distances and
penalties. Pixels are centered where the activation is the identity.
"""

import jax
import jax.numpy as jnp
import numpy as np

import dlx
from dlx.data import augmentation, expect
from dlx.data import images as image_data
from dlx.experiment import Data, Loss, Task
from dlx.metrics import representations
from dlx.models import autoencoder
from dlx.reports import figures
from dlx.training import finetuning


def load(config, assets=None) -> Data:
  """uint8 images with labels; their shape, the class names, and the mean training image."""
  splits = image_data.from_options(config.data)
  images = splits.train.images
  mean = np.float32(images.mean(0).ravel() / 255)
  known = {"classes": list(splits.train.classes), "shape": list(images.shape[1:]), "mean": mean}
  pretrained = config.init_from and (lambda: dlx.load_run(config.init_from).variables)
  return Data(*(split.arrays for split in splits), assets=assets or known, pretrained=pretrained)


def make(config, assets) -> Task:
  """The layers that config.model describes, and their loss."""
  options, classes = config.model, expect.names("classes", assets["classes"])
  shape = expect.image_shape("shape", assets["shape"])
  activation, is_linear = options.activation, options.activation == "identity"
  sizes = [int(np.prod(shape)), *map(int, options.sizes.split("-"))]
  depth, last = len(sizes) - 1, f"layer{len(sizes) - 2}"
  mean = expect.array("mean", assets["mean"], sizes[:1])
  offset = mean if is_linear else 0 * mean
  num_frozen = depth - 1 if config.trainable == "last_layer" else 0

  def init_fn(rng, data):
    params = autoencoder.init(rng, sizes, tied=options.tied, bias=not is_linear)
    if data.pretrained is not None:
      old = data.pretrained["params"]
      params = finetuning.load_pretrained(params, old, config.init_from, new_params=last)
    return {"params": params}

  def layers_of(variables, first=0, end=depth):
    return [variables["params"][f"layer{i}"] for i in range(first, end)]

  def pixels(batch):
    return batch["images"].reshape(len(batch["images"]), -1) / 255 - offset

  def objective(variables, batch, rng):
    """The loss of each image, (B,); with frozen layers that of the last one on its input."""
    corruption_rng, code_rng = jax.random.split(rng)
    frozen, layers = layers_of(variables, 0, num_frozen), layers_of(variables, num_frozen)
    x = autoencoder.encode(frozen, pixels(batch), activation)
    noisy = augmentation.corrupt(corruption_rng, x, **config.corruption)
    h = autoencoder.encode(layers, noisy, activation)
    z = autoencoder.draw(code_rng, h, options.code, options.get("code_std"))
    error = autoencoder.distance(x, autoencoder.decode(layers, z, activation), activation)
    kind, rate = config.penalty.kind, config.penalty.get("rate")
    penalty = autoencoder.penalty(kind, layers, noisy, h, activation, rate)
    return error + config.penalty.get("weight", 0.0) * penalty

  def codes(variables, batch, rng=None):
    return autoencoder.encode(layers_of(variables), pixels(batch), activation)

  def reconstructions(variables, batch, rng=None):
    a = autoencoder.decode(layers_of(variables), codes(variables, batch), activation)
    return autoencoder.ACTIVATIONS[activation](a) + offset

  def eval_fn(variables, batch, rng):
    error = jnp.square(reconstructions(variables, batch) - offset - pixels(batch)).sum(-1)
    size = jnp.abs(codes(variables, batch)).mean(-1)
    return {"loss": objective(variables, batch, rng), "error": error, "activation": size}

  def measure_fn(variables, data, split, apply):
    splits = data.train, data.split(split)
    labels = [examples["labels"] for examples in splits]
    x = [np.float32(pixels(examples) + offset - mean) for examples in splits]
    z = [apply(codes, examples) for examples in splits]
    basis = None
    if is_linear:
      basis = autoencoder.decode(layers_of(variables), np.eye(sizes[-1]), activation).T
    return representations.compare_with_pca(z, x, labels, basis)

  def plot(variables, data, split, apply):
    examples = data.split(split)
    x, y = examples["images"][:36], apply(reconstructions, examples)[:36]
    drawn = {f"reconstructions_{split}": figures.reconstructions(x, y.reshape(x.shape))}
    if sizes[-1] == 2:
      drawn[f"codes_{split}"] = figures.scatter(apply(codes, examples), examples["labels"], classes)
    kernel = np.asarray(variables["params"]["layer0"]["encoder"]["kernel"])[:, :96]
    return {**drawn, "filters": figures.filters(kernel.reshape(*shape, -1))}

  return Task(
      init_fn, lambda *args: Loss(objective(*args).mean()), eval_fn,
      is_trained=(lambda name: name.startswith(f"{last}.")) if num_frozen else None,
      measure_fn=measure_fn, plot=plot, outputs_fn=codes,
      unit="squared error per image" if is_linear else "nats per image",
  )  # fmt: skip
