"""Examples as vectors (N, D) with a class or a number each: tables, images, generated points."""

from collections.abc import Sequence
import dataclasses
import math
import pathlib

import numpy as np

from dlx import paths
from dlx.data import images, points, tables
from dlx.data.split import Splits, train_validation_split
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.experiment import Data

IMAGE_SETS = ("fashion_mnist", "mnist", "gray_shapes")
SOURCES = (*IMAGE_SETS, *points.SETS)
TASKS = ("classification", "regression")
_NUM_TEST = 1000  # Generated points of the test split.


@dataclasses.dataclass(frozen=True)
class Vectors:
  """Examples of a split.

  Attributes:
    inputs: floats (N, D).
    targets: int32 (N,), indices into `classes`, or float64 (N,).
    names: of the D entries.
    classes: the class names; () for regression.
  """

  inputs: np.ndarray
  targets: np.ndarray
  names: tuple[str, ...] = ()
  classes: tuple[str, ...] = ()

  def __len__(self) -> int:
    return len(self.targets)

  def take(self, indices: np.ndarray) -> "Vectors":
    """The examples at `indices`, in that order."""
    return dataclasses.replace(self, inputs=self.inputs[indices], targets=self.targets[indices])


def load(options, task: str, assets: dict | None = None) -> Data:
  """A data set in three splits; the validation split is drawn from the training examples.

  Entries of tables and points, and numbers to predict, are standardized by the mean and the
  standard deviation of the training split. Pixels are divided by 255, and the mean training image
  is subtracted.

  Args:
    options: config.data with the values of dlx.data.vector_settings.
    task: one of TASKS.
    assets: of a run; None to compute them from the training split.

  Returns:
    Data: "inputs" (N, D) float32, and "labels" (N,) int32 or "targets" (N,) float32. For the
      assets see dlx.data.schema.

  Raises:
    UserError: the data cannot be read, a value is missing or not a number, an entry or the target
      is constant, or there are no targets of this kind.
  """
  if options.file:
    data = from_table(options.file, options.target, options.features, task)
    train, test = train_validation_split(data, len(data) // 10, seed=1)
    splits = Splits(*train_validation_split(train, options.num_validation), test)
  elif options.images or options.dataset in IMAGE_SETS:
    return _of_images(options, task, assets)
  else:
    splits = _generated(options, task)
  for name, split in zip(Splits._fields, splits):
    if not len(split):
      raise UserError(f"the {name} split has no rows; the table has only {sum(map(len, splits))}")
  if assets is None:
    mean, scale = _statistics(splits.train.inputs, splits.train.names)
    assets = {"features": list(splits.train.names), "mean": mean, "scale": scale}
    if task == "classification":
      assets["classes"] = list(splits.train.classes)
    else:
      mean, scale = _statistics(splits.train.targets[:, None], ["the target"])
      assets |= {"target_mean": float(mean[0]), "target_scale": float(scale[0])}
  return Data(*(_arrays(split, assets) for split in splits), assets=assets)


def _arrays(split: Vectors, assets) -> dict[str, np.ndarray]:
  inputs = _scaled(split.inputs, assets["mean"], assets["scale"])
  if "classes" in assets:
    return {"inputs": inputs, "labels": split.targets}
  return {
      "inputs": inputs,
      "targets": _scaled(split.targets, assets["target_mean"], assets["target_scale"]),
  }


def _scaled(values, mean, scale) -> np.ndarray:
  with np.errstate(over="ignore"):
    scaled = np.float32((values - mean) / scale)
  if not np.isfinite(scaled).all():
    far = values[~np.isfinite(scaled)][0]
    raise UserError(f"{far:g} is too far from the training values")
  return scaled


def _statistics(values: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
  """(mean, standard deviation) of each column of the training split."""
  for name, column in zip(names, values.T):
    if np.ptp(column) == 0:
      raise UserError(
          f"{name!r} is constant: its {len(column)} training values are {column[0]:g}, and so it "
          f"tells nothing; leave it out"
      )
    with np.errstate(all="ignore"):
      std = column.std()
    if not 0 < std < math.inf:
      raise UserError(f"the variance of {name!r} overflows or underflows; give it in another unit")
  return values.mean(0), values.std(0)


def from_table(
    path: str | pathlib.Path, target: str, features: str | None, task: str
) -> Vectors:
  """The rows of a table of numbers.

  Args:
    path: a .csv, .tsv or .jsonl file; see `tables.read`.
    target: the column to predict: a number, or the name of a class.
    features: names of columns between commas; None for all others that have a name.
    task: one of TASKS.

  Raises:
    UserError: as for `load`; the message has the row of a wrong value.
  """
  path = paths.expand(path)
  others = [name for name in tables.column_names(path, target) if name and name != target]
  chosen = [name.strip() for name in features.split(",")] if features else others
  if features and (target in chosen or len(set(chosen)) < len(chosen)):
    raise UserError(f"the features {', '.join(chosen)} contain the target or one of them twice")
  if not chosen:
    raise UserError(f"{path} has no column besides {target!r}; a feature is needed")
  (found, *columns), notices = tables.read(path, [target, *chosen])
  tables.expect_filled(path, [target], [found])
  fill = "fill in the value, or remove the row or the column"
  inputs = np.array([
      [tables.number(text, f"{path}: row {row}", name, fill) for row, text in enumerate(column, 1)]
      for name, column in zip(chosen, columns)
  ]).T  # fmt: skip
  for notice in notices:
    processes.notice(notice)
  if task == "regression":
    where = enumerate(found, 1)
    numbers = [tables.number(text, f"{path}: row {row}", target, fill) for row, text in where]
    return Vectors(inputs, np.array(numbers), tuple(chosen))
  labels = [label.strip() for label in found]
  classes = sorted(set(labels))
  if len(classes) < 2:
    raise UserError(f"{path}: a classifier needs at least two classes, got {len(classes)}")
  ids = {name: i for i, name in enumerate(classes)}
  targets = np.array([ids[label] for label in labels], np.int32)
  return Vectors(inputs, targets, tuple(chosen), tuple(classes))


def _generated(options, task) -> Splits[Vectors]:
  name = options.dataset
  if (name == "curve") != (task == "regression"):
    kind = "numbers to predict" if name == "curve" else "classes"
    raise UserError(f"the data set {name} has {kind}, which do not fit {task}; name another one")

  def of(count, seed):
    inputs, targets = points.generate(name, count, seed)
    if task == "regression":
      return Vectors(inputs, targets, ("x",))
    return Vectors(inputs, targets, ("x", "y"), ("first", "second", "third")[: targets.max() + 1])

  train = of(options.num_points, seed=0)
  return Splits(*train_validation_split(train, options.num_validation), of(_NUM_TEST, seed=1))


def _of_images(options, task, assets) -> Data:
  if task == "regression":
    raise UserError("images have classes, and no number to predict; give a table or name curve")
  splits = images.from_options(options)
  rows = [np.float32(split.images.reshape(len(split), -1)) / 255 for split in splits]
  mean = assets["mean"] if assets else rows[0].mean(0, dtype=np.float64)
  for pixels in rows:
    pixels -= np.float32(mean)
  known = {
      "shape": list(splits.train.images.shape[1:]), "mean": mean, "scale": np.ones(len(mean)),
      "classes": list(splits.train.classes),
  }  # fmt: skip
  arrays = ({"inputs": x, "labels": split.labels} for x, split in zip(rows, splits))
  return Data(*arrays, assets=assets or known)
