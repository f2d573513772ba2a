"""Image classification by a residual network: CIFAR-10, or a folder of images."""

from collections.abc import Iterable, Iterator
import pathlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

import dlx
from dlx.data import augmentation, batches
from dlx.data import images as image_data
from dlx.data.split import check_parts
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.layers import losses
from dlx.metrics import classification
from dlx.models import fast_resnet, resnet
from dlx.reports import figures
from dlx.runs import run as runs
from dlx.runs import workdir as workdirs
from dlx.training import classes as known_classes
from dlx.training import finetuning, optimizers, sharding
from dlx.training import state as states
from dlx.training.fit import fit
from experiments.resnet_cifar10 import evaluation
from experiments.resnet_cifar10.splits import load_data

FAST = {"fast": fast_resnet.FastResNet, "wide_fast": fast_resnet.wide_fast_resnet}
MODELS = {
    **FAST,
    **{
        name: getattr(resnet, name)
        for name in (
            "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet18", "resnet34",
            "resnet50", "preact_resnet18", "wrn28_10",
        )
    },
}  # fmt: skip
OPTIMIZERS = {"sgd": optimizers.sgd, "adamw": optimizers.adamw, "muon": optimizers.muon}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}
FLIPS = ("alternating", "random", "none")
TRAINABLE = ("all", "head", "last_stage")
_SOME = 5000  # Training images whose statistics stand for those of all.


def check_config(config: ml_collections.ConfigDict) -> None:
  """Raises UserError for a choice that is none, or a number out of its range."""
  choices = {
      "model.name": MODELS, "model.dtype": DTYPES, "model.stem": ("cifar", "imagenet"),
      "optimizer.name": OPTIMIZERS, "augmentation.flip": FLIPS, "test_time": evaluation.VIEWS,
      "trainable": TRAINABLE,
  }  # fmt: skip
  values = workdirs.flatten(config.to_dict())
  for key, known in choices.items():
    if values[key] not in known:
      raise UserError(f"config.{key} is {values[key]!r}; use {', '.join(known)}")
  if config.model.dtype == "float64" and not jax.config.jax_enable_x64:
    raise UserError("config.model.dtype is float64, which jax has only with JAX_ENABLE_X64=1 set")
  size = config.data.size
  if size < 16:
    raise UserError(f"config.data.size is {size}; images must have at least 16 x 16 pixels")
  bounds = {
      "augmentation.crop": size - 1, "augmentation.cutout": size, "augmentation.colour": 1,
      "augmentation.mixup": float("inf"), "label_smoothing": 1, "model.width": float("inf"),
  }  # fmt: skip
  for key, most in bounds.items():
    if not 0 <= values[key] <= most:
      raise UserError(f"config.{key} is {values[key]}; use 0 to {most}")


def make_model(config: ml_collections.ConfigDict, num_classes: int):
  """The network that `config.model` names."""
  options = {"width": config.model.width}
  if config.model.name not in FAST:
    options["stem"] = config.model.stem
  return MODELS[config.model.name](num_classes, **options)


def init_variables(model, rng: jax.Array, data: image_data.Images) -> tuple[dict, dict]:
  """(params, variables): batch norm's statistics, and what the training images tell.

  Channels are brought to mean 0 and variance 1 by "normalization"; "whitening" is the
  fast network's first layer.
  """
  some = data.images[:: max(1, len(data) // _SOME)] / 255
  mean, std = some.mean((0, 1, 2)), np.maximum(some.std((0, 1, 2)), 1e-3)
  variables = dict(model.init(rng, jnp.zeros((1, *data.images.shape[1:]))))
  params = variables.pop("params")
  if "whitening" in variables:
    variables["whitening"] = {"kernel": jnp.asarray(fast_resnet.whitening((some - mean) / std))}
  return params, {
      **variables, "normalization": {"mean": jnp.float32(mean), "std": jnp.float32(std)},
  }  # fmt: skip


def make_batch(config: ml_collections.ConfigDict, num_examples: int):
  """`batch(data, step, rng) -> (images uint8, labels)`: cut, flipped and cropped."""
  options = config.augmentation
  sizes = {"num_examples": num_examples, "batch_size": config.data.batch_size}
  order_rng, flip_rng = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 2**31))

  def batch(data, step, rng):
    indices, epoch = batches.shuffled(order_rng, step, **sizes)
    images, labels = data["images"][indices], data["labels"][indices]
    each_flip_rng, crop_rng, cutout_rng = jax.random.split(rng, 3)
    if options.flip == "alternating":
      flips = augmentation.alternating_flips(flip_rng, indices, epoch)
      images = augmentation.flip(images, flips)
    elif options.flip == "random":
      flips = augmentation.random_flips(each_flip_rng, len(indices))
      images = augmentation.flip(images, flips)
    images = augmentation.crop(crop_rng, images, options.crop)
    return augmentation.cutout(cutout_rng, images, options.cutout), labels

  return batch


def make_loss(config: ml_collections.ConfigDict, model, num_classes: int):
  """`loss(params, variables, batch, rng) -> (loss, (metrics, variables))`, in nats an image."""
  options, smoothing = config.augmentation, config.label_smoothing
  dtype, is_trained = DTYPES[config.model.dtype], _is_trained(config, model)

  def loss_fn(params, variables, batch, rng):
    params = finetuning.frozen(params, is_trained)
    images, labels = batch
    colour_rng, mixup_rng = jax.random.split(rng)
    images = images.astype(jnp.promote_types(dtype, jnp.float32)) / 255
    images = augmentation.colour(colour_rng, images, options.colour)
    images = evaluation.normalize(variables["normalization"], images, dtype)
    targets = jax.nn.one_hot(labels, num_classes)
    images, mixed = augmentation.mixup(mixup_rng, images, targets, options.mixup)
    collections = {k: v for k, v in variables.items() if k != "normalization"}
    logits, new = model.apply(
        {"params": params, **collections}, images, train=True, mutable="batch_stats"
    )
    smoothed = (1 - smoothing) * mixed + smoothing / num_classes
    loss = -(smoothed * jax.nn.log_softmax(logits)).sum(-1).mean()
    right = (logits.argmax(-1) == labels).mean()
    return loss, ({"accuracy": right}, {**variables, **new})

  return loss_fn


def _is_trained(config: ml_collections.ConfigDict, model):
  """`is_trained(name)` of a parameter, by config.trainable."""
  if config.trainable == "all":
    return lambda name: True
  prefixes = ("head",) if config.trainable == "head" else model.last_stage
  return lambda name: name.startswith(prefixes)


def make_optimizer(config: ml_collections.ConfigDict, model):
  """The optimizer that the config names, for the parameters that it says."""
  optimizer = OPTIMIZERS[config.optimizer.name](config.optimizer, config.training.total_steps)
  if config.trainable == "all":
    return optimizer
  return finetuning.only(optimizer, _is_trained(config, model))


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Trains, or goes on training, in workdir."""
  check_config(config)
  data, held_out = load_data(config, "train"), load_data(config, "validation")
  check_parts(data, held_out, config.data.batch_size, "images")
  mesh = sharding.make_mesh(config.training.fsdp)
  sharding.check_batch_size(config.data.batch_size, mesh)
  model = make_model(config, len(data.classes))
  optimizer = make_optimizer(config, model)
  pretrained = dlx.load_run(config.init_from) if config.init_from else None

  def init():
    params, variables = init_variables(model, jax.random.key(config.seed), data)
    if pretrained is not None:
      params = finetuning.transfer(params, pretrained.params, config.init_from)
      variables = pretrained.variables
    averaged = config.training.ema_decay is not None
    return states.create(params, optimizer, variables=variables, averaged=averaged)

  jax.eval_shape(init)  # A run of another architecture is refused before anything is written.
  workdirs.open_(workdir, config)
  known_classes.record(workdir, data, "images")

  classify = evaluation.make_classify(model, DTYPES[config.model.dtype], config.test_time, mesh)

  def validate(state):
    logits = classify(state.eval_params, state.variables, held_out.images)
    return {
        "loss": float(losses.cross_entropy(logits, held_out.labels)),
        "accuracy": classification.accuracy(logits, held_out.labels),
    }

  fit(
      workdir,
      config.training,
      seed=config.seed,
      init=init,
      loss_fn=make_loss(config, model, len(data.classes)),
      batch_fn=make_batch(config, len(data)),
      data={"images": jnp.asarray(data.images), "labels": jnp.asarray(data.labels)},
      optimizer=optimizer,
      validate=validate,
  )
  run = runs.load(workdir)
  if processes.is_first():
    figures.curves(workdir, unit="nats per image")
    figures.curves(workdir, metric="accuracy", best=max, name="accuracy.png")
    first = run.variables["whitening"] if "whitening" in run.variables else run.params["stem"]
    figures.filters(workdir / "filters.png", np.asarray(first["kernel"]))


def _logits(run: runs.Run, images: np.ndarray, num_classes: int) -> np.ndarray:
  model = make_model(run.config, num_classes)
  dtype = DTYPES[run.config.model.dtype]
  classify = evaluation.make_classify(model, dtype, run.config.test_time, sharding.make_mesh())
  return np.float64(classify(run.params, run.variables, images))


def evaluate(run: runs.Run, split: str) -> dict[str, float]:
  """Accuracy, loss and calibration on a split; draws the confusion matrix and mistakes.

  Args:
    run: an opened run.
    split: "train", "validation" or "test".
  """
  data = load_data(run.config, split)
  known_classes.check(run.workdir, data, "images")
  logits = _logits(run, data.images, len(data.classes))
  probabilities = np.asarray(jax.nn.softmax(logits))
  matrix = classification.confusion_matrix(probabilities, data.labels)
  figures.confusion_matrix(run.workdir / f"confusion_{split}.png", matrix, data.classes)
  figures.mistakes(run.workdir / f"mistakes_{split}.png", data, probabilities)
  of_class = matrix.diagonal() / np.maximum(matrix.sum(1), 1)
  return {
      "images": len(data),
      "accuracy": classification.accuracy(probabilities, data.labels),
      "loss": float(losses.cross_entropy(logits, data.labels)),
      "calibration error": classification.calibration_error(probabilities, data.labels),
      **{f"accuracy of {name}": float(a) for name, a in zip(data.classes, of_class)},
  }


def predict(
    run: runs.Run, paths: Iterable[str], top: int
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
  """Yields each image file with its likeliest classes and their probabilities.

  Raises:
    UserError: a file is no image; none has been classified then.
  """
  classes = known_classes.load(run.workdir)
  paths = list(paths)
  images = np.stack([image_data.read(path, run.config.data.size) for path in paths])
  for path, logits in zip(paths, _logits(run, images, len(classes))):
    yield path, known_classes.likeliest(np.asarray(jax.nn.softmax(logits)), classes, top)
