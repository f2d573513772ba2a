"""The contract of an experiment: the data it reads, and the functions that train a model on them.

`experiments/NAME/experiment.py` defines two functions:

  load(config, assets=None) -> Data
  make(config, assets) -> Task

Everything that deals with folders, devices, processes, signals or files is in dlx.training.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

Arrays = Mapping[str, Any]  # Named arrays; the first dimension indexes the examples.
SPLITS = ("train", "validation", "test")
OUTPUTS = "outputs"  # In the result of eval_fn; see Task.


def numeric(arrays: Arrays) -> dict[str, np.ndarray]:
  """The arrays that a device can hold: all but those of dtype object."""
  found = {name: np.asarray(array) for name, array in arrays.items()}
  return {name: array for name, array in found.items() if array.dtype != object}


class Data(NamedTuple):
  """The result of `load(config, assets=None)`. Every field may be omitted.

  Arrays of dtype object (documents) are for reports and never reach a device.

  When a run is resumed or evaluated, `load` receives the assets that the run started with:
  statistics of the training split (a vocabulary, a mean) come from there and are not recomputed.

  Attributes:
    train: the arrays from which `batch_fn` draws batches; replicated on every device.
    validation, test: the examples of the splits, on the host. A metric without a data set has
      indices for examples: {"episode": np.arange(32)}.
    assets: what the model needs besides its variables: JSON values and numpy arrays (class
      names, a vocabulary, a mean). Saved with the run, and passed to `make` when it is opened.
    pretrained: variables of another run, for `init_fn`; or a function that returns them, which
      only training calls. `init_fn` gets None if that raises UserError (the source is gone) when
      a run with a checkpoint is resumed: only the shapes of its result are used then.
    steps_per_epoch: the unit of lengths in epochs. When None, the number of training examples
      divided by config.data.batch_size, rounded down.
  """

  train: Arrays = {}
  validation: Arrays = {}
  test: Arrays = {}
  assets: Mapping[str, Any] = {}
  pretrained: Any = None
  steps_per_epoch: int | None = None

  def split(self, name: str) -> Arrays:
    """A split, or the concatenation of several: "validation+test".

    Raises:
      ValueError: there is no such split, or it has no examples.
    """
    parts = name.split("+")
    for part in parts:
      if part not in SPLITS:
        raise ValueError(f"split: expected {', '.join(SPLITS)} or a sum of them, got {name!r}")
    splits = [getattr(self, part) for part in parts]
    for part, arrays in zip(parts, splits):
      if not arrays:
        raise ValueError(f"split: this experiment has no {part} examples")
    if len(splits) == 1:
      return splits[0]
    common = set.intersection(*(set(split) for split in splits))
    return {name: np.concatenate([split[name] for split in splits]) for name in sorted(common)}


class Rngs(NamedTuple):
  """The keys of `batch_fn`: `run` is the same in all steps of a run, `step` differs in each."""

  run: jax.Array
  step: jax.Array


class Loss(NamedTuple):
  """The result of `loss_fn`: the value to minimize, metrics of the step, changed collections."""

  value: jax.Array
  metrics: Mapping[str, jax.Array] = {}
  updated: Mapping[str, Any] = {}


class Task(NamedTuple):
  """The result of `make(config, assets)`: pure functions, independent of files and devices.

  The functions of the first group are traced by jit, the others run on the host. `apply`, an
  argument of some of them, maps a function over examples:

    apply(function, arrays, *, variables=variables, chunk=chunk)

  is function(variables, batch, rng) of all examples in `arrays`: compiled, in chunks of a fixed
  size, sharded over the devices. It returns numpy arrays in the order of the examples.

  Attributes:
    init_fn: `init_fn(rng, data) -> variables`, {"params": ..., other collections}. Only
      data.train and data.pretrained are available. With total_steps=0 it is the whole training.
    loss_fn: `loss_fn(variables, batch, rng) -> Loss`. The gradient is taken with respect to
      variables["params"]; `updated` holds the other collections that change.
    eval_fn: `eval_fn(variables, batch, rng) -> {metric: (B,)}`, or pairs (values, weights) of one
      shape (B, ...): their weighted means over a split are its metrics. What it has under the key
      OUTPUTS is no metric: measure_fn and plot take it from `apply(eval_fn, ...)`, whose second
      call computes nothing. Called every `eval_every` steps.
    batch_fn: `batch_fn(train, step, rngs) -> batch`; see `Rngs`. Arrays are sharded over the
      devices along the first dimension, scalars are replicated. Shuffled epochs when None.
    optimizer: an optax transformation; the one that config.optimizer describes when None.
    measure_fn: `measure_fn(variables, data, split, apply) -> {metric: number}`: metrics that are
      not means over examples, are expensive, or read another split (a temperature fitted on
      validation). Called after training and by launch.evaluate; every `eval_every` steps when
      there is no eval_fn.
    best: the validation metric whose minimum marks the best checkpoint; "-metric" for its
      maximum; None for the last checkpoint, if the model is trained on the validation examples.
    unit: of the loss, for plots.
    training_only: collections that only loss_fn reads (a carry, a replay buffer). Checkpoints
      contain them; evaluation and exports do not.
    is_trained: `is_trained(name) -> bool`, for names such as "head.kernel": the other params are
      frozen, without a gradient, moments or weight decay (dlx.training.finetuning). All are
      trained when None.
    sample: `sample(variables, rng, **options) -> Iterator` of strings or of arrays (images);
      launch.sample.
    predict: `predict(variables, lines, apply, **options) -> list[str]`, one line per input line
      (a document, a file name); launch.predict passes some hundreds at a time. With the option
      `json=True`, where it has one, a dict of values for JSON in place of each line.
    explain: `explain(variables, line) -> {name: figure or rich text}`; launch.explain.
    plot: `plot(variables, data, split, apply) -> {name: figure or text}`; saved in the run's
      folder after training (split "validation") and by launch.evaluate.
    outputs_fn: `outputs_fn(variables, batch) -> array`, the network without a loss, for other
      experiments (a teacher, an ensemble): the logits of a classifier.
    read: `read(lines) -> arrays`, examples of documents for outputs_fn, one per line.
    vectors: `vectors(variables) -> (names, array (V, D))`, vectors of words;
      launch.export --format=word2vec.
  """

  init_fn: Callable
  loss_fn: Callable | None = None
  eval_fn: Callable | None = None
  batch_fn: Callable | None = None
  optimizer: optax.GradientTransformation | None = None

  measure_fn: Callable | None = None
  best: str | None = "loss"
  unit: str = "nats"
  training_only: tuple[str, ...] = ()
  is_trained: Callable[[str], bool] | None = None
  sample: Callable | None = None
  predict: Callable | None = None
  explain: Callable | None = None
  plot: Callable | None = None
  outputs_fn: Callable | None = None
  read: Callable | None = None
  vectors: Callable | None = None
