"""Image classification by a residual network: CIFAR-10, MNIST's format, or a folder of images."""

import jax
import jax.numpy as jnp
import numpy as np

import dlx
from dlx.data import augmentation, batches, expect, tta
from dlx.data import images as image_data
from dlx.experiment import OUTPUTS, Data, Loss, Task
from dlx.metrics import classification
from dlx.models import fast_resnet, resnet
from dlx.reports import figures
from dlx.training import finetuning

FAST = {"fast": fast_resnet.FastResNet, "wide_fast": fast_resnet.wide_fast_resnet}
_SAMPLE = 5000  # Training images from which the pixels' statistics are estimated.


def load(config, assets=None) -> Data:
  """uint8 images with labels; the class names, and statistics of the pixels."""
  splits, pretrained = image_data.from_options(config.data), None
  if config.init_from:
    run = dlx.load_run(config.init_from)
    assets = assets or {**run.assets, "classes": list(splits.train.classes)}
    pretrained = run.variables
  assets = assets or statistics(splits.train)
  return Data(*(split.arrays for split in splits), assets=assets, pretrained=pretrained)


def statistics(data: image_data.Images) -> dict:
  """Class names and image shape; mean and standard deviation per channel, whitening."""
  some = data.images[:: max(1, len(data) // _SAMPLE)] / 255
  mean, std = some.mean((0, 1, 2)), np.maximum(some.std((0, 1, 2)), 1e-3)
  return {
      "classes": list(data.classes), "shape": list(data.images.shape[1:]),
      "mean": np.float32(mean), "std": np.float32(std),
      "whitening": np.asarray(fast_resnet.whitening((some - mean) / std)),
  }  # fmt: skip


def make_model(config, num_classes: int):
  """The network that config.model names."""
  options = config.model
  if options.name in FAST:
    return FAST[options.name](num_classes, width=options.width)
  return getattr(resnet, options.name)(num_classes, width=options.width, stem=options.stem)


def augment(options, rngs, order_rngs, images, indices, epoch):
  """Random crops, flips and cutout of uint8 images; see dlx.data.augmentation."""
  each_flip_rng, crop_rng, cutout_rng = jax.random.split(rngs.step, 3)
  if options.flip == "alternating":
    images = augmentation.flip(
        images, augmentation.alternating_flips(order_rngs[1], indices, epoch)
    )
  elif options.flip == "random":
    images = augmentation.flip(images, augmentation.random_flips(each_flip_rng, len(indices)))
  images = augmentation.random_crop(crop_rng, images, options.crop_padding)
  return augmentation.cutout(cutout_rng, images, options.cutout)


def make(config, assets) -> Task:
  """The network that config.model describes, and its loss with label smoothing."""
  options, smoothing = config.augmentation, config.label_smoothing
  classes = expect.names("classes", assets["classes"])
  shape = expect.image_shape("shape", assets["shape"])
  mean, std = (expect.array(name, assets[name], shape[-1:]) for name in ("mean", "std"))
  model, dtype = make_model(config, len(classes)), jnp.dtype(config.model.dtype)

  def init_fn(rng, data):
    variables = dict(model.init(rng, jnp.zeros((1, *shape))))
    if "whitening" in variables:
      variables["whitening"] = {"kernel": jnp.asarray(assets["whitening"])}
    if data.pretrained is not None:
      pretrained = data.pretrained["params"]
      params = finetuning.load_pretrained(variables["params"], pretrained, config.init_from)
      variables = {**data.pretrained, "params": params}
    return variables

  def batch_fn(train, step, rngs):
    order_rngs = jax.random.split(rngs.run)
    count, size = len(train["labels"]), config.data.batch_size
    indices, epoch = batches.shuffled(order_rngs[0], step, num_examples=count, batch_size=size)
    images = augment(options, rngs, order_rngs, train["images"][indices], indices, epoch)
    return {"images": images, "labels": train["labels"][indices]}

  def normalize(images):
    return ((images - mean) / std).astype(dtype)

  def loss_fn(variables, batch, rng):
    color_rng, mixup_rng = jax.random.split(rng)
    images = batch["images"].astype(jnp.promote_types(dtype, jnp.float32)) / 255
    images = normalize(augmentation.color_jitter(color_rng, images, options.color_jitter))
    targets = jax.nn.one_hot(batch["labels"], len(classes))
    images, mixed = augmentation.mixup(mixup_rng, images, targets, options.mixup)
    logits, updated = model.apply(variables, images, train=True, mutable="batch_stats")
    smoothed = (1 - smoothing) * mixed + smoothing / len(classes)
    loss = -(smoothed * jax.nn.log_softmax(logits)).sum(-1).mean()
    accuracy = (logits.argmax(-1) == batch["labels"]).mean()
    return Loss(loss, {"accuracy": accuracy}, updated)

  def logits_fn(variables, batch):
    images = normalize(batch["images"].astype(jnp.float32) / 255)
    return tta.average(lambda x: model.apply(variables, x), images, config.tta)

  eval_fn = classification.make_eval(logits_fn)

  def read(paths):
    size, _, channels = shape
    return {"images": np.stack([image_data.read(p, size, channels=channels) for p in paths])}

  def plot(variables, data, split, apply):
    examples = data.split(split)
    probabilities = apply(eval_fn, examples)[OUTPUTS]
    matrix = classification.confusion_matrix(probabilities, examples["labels"])
    first = variables.get("whitening", variables["params"].get("stem"))["kernel"]
    return {
        f"confusion_{split}": figures.confusion_matrix(matrix, classes),
        f"errors_{split}": figures.image_errors(
            examples["images"], examples["labels"], probabilities, classes
        ),
        "filters": figures.filters(np.asarray(first)),
    }

  part = {"all": "", "head": "head", "last_stage": model.last_stage}[config.trainable]
  return Task(
      init_fn, loss_fn, eval_fn, batch_fn,
      is_trained=(lambda name: name.startswith(part)) if part else None,
      measure_fn=classification.make_measure(eval_fn, classes), plot=plot,
      predict=classification.make_predict(logits_fn, classes, read), outputs_fn=logits_fn,
      unit="nats per image",
  )  # fmt: skip
