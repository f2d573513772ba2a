"""Functions of all examples of a split: in chunks of a fixed size, sharded over the devices."""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import functools
import itertools

import jax
import numpy as np

from dlx.errors import UserError
from dlx.experiment import OUTPUTS, Arrays, Data, Task, numeric
from dlx.runs import workdir as workdirs
from dlx.runs.run import Run
from dlx.training import sharding
from dlx.training.progress import Progress

_LINES = 512  # Lines that `predict` answers at a time.


def make_apply(
    variables: dict,
    mesh: jax.sharding.Mesh,
    *,
    chunk: int = 64,
    seed: int = 0,
    show_progress: bool = False,
) -> Callable:
  """`apply(function, arrays)`: `function(variables, batch, rng)` of all examples.

  Args:
    variables: the first argument of each call; `apply(..., variables=...)` replaces them.
    mesh: the devices that share a chunk.
    chunk: examples at a time, rounded up to a multiple of the devices. Every chunk has this
      size, the last one padded with copies of its first example: neither the random numbers
      nor the compiled shapes depend on the number of examples.
    seed: the i-th chunk gets the key fold_in(key(seed), i).
    show_progress: show the number of examples done.

  Returns:
    `apply`, whose result is a tree of numpy arrays with the examples as first dimension.
  """
  given, known = sharding.replicate(variables, mesh), {}

  def apply(function: Callable, arrays: Arrays, *, variables=None, chunk: int = chunk):
    if variables is not None:
      return compute(function, arrays, sharding.replicate(variables, mesh), chunk)
    # Metrics and figures of a split often need the same outputs; `known` keeps `arrays` alive.
    key = function, chunk, tuple(map(id, arrays.values()))
    if key not in known:
      known[key] = compute(function, arrays, given, chunk), arrays
    return known[key][0]

  def compute(function, arrays, variables, chunk):
    arrays = numeric(arrays)
    count, rows = len(next(iter(arrays.values()))), sharding.round_up(chunk, mesh)
    compiled, results = _compiled(function, mesh), []
    shown = Progress(count, 0, unit="example") if show_progress else contextlib.nullcontext()
    with shown:
      for i, start in enumerate(range(0, count, rows)):
        indices = np.arange(start, start + rows)
        indices[indices >= count] = start
        batch = {name: array[indices] for name, array in arrays.items()}
        batch = sharding.put_replicated(batch, mesh)
        results.append(compiled(variables, batch, jax.random.key(seed), np.int32(i)))
        if show_progress:
          jax.block_until_ready(results[-1])
          shown.update(min(start + rows, count), {})
    results = [jax.device_get(result) for result in results]
    return jax.tree.map(lambda *x: np.concatenate(x)[:count], *results)

  return apply


@functools.lru_cache(maxsize=32)  # One compilation for all evaluations of a run.
def _compiled(function: Callable, mesh: jax.sharding.Mesh) -> Callable:
  @functools.partial(jax.jit, out_shardings=sharding.replicated(mesh))
  def of_chunk(variables, batch, rng, i):
    return function(variables, sharding.shard_batch(batch, mesh), jax.random.fold_in(rng, i))

  return of_chunk


def mean(metric: np.ndarray | tuple[np.ndarray, np.ndarray]) -> float:
  """The mean of values, weighted when given as (values, weights); nan when all weights are 0.

  Values of weight 0 are ignored, even if they are not finite.
  """
  values, weights = metric if isinstance(metric, tuple) else (metric, np.ones_like(metric, float))
  values = np.where(weights > 0, values, 0).astype(np.float64)
  with np.errstate(invalid="ignore"):  # 0 / 0.
    return float((values * weights).sum() / weights.sum())


def evaluate(
    task: Task, variables: dict, data: Data, split: str, apply: Callable, *, everything: bool = True
) -> dict[str, float]:
  """The metrics of a split: the means of task.eval_fn, and task.measure_fn.

  Args:
    task: of the experiment.
    variables: of the model, without task.training_only.
    data: with the split's examples.
    split: its name; see `Data.split`.
    apply: of the same variables; see `make_apply`.
    everything: call measure_fn even when there is an eval_fn.
  """
  metrics = {}
  if task.eval_fn:
    rows = apply(task.eval_fn, data.split(split))
    metrics = {name: mean(metric) for name, metric in rows.items() if name != OUTPUTS}
  if task.measure_fn and (everything or not task.eval_fn):
    metrics |= task.measure_fn(variables, data, split, apply)
  return {name: float(value) for name, value in metrics.items()}


def evaluate_run(
    run: Run, split: str, data: Data | None = None
) -> tuple[dict[str, float], dict[str, object]]:
  """(metrics of a split, figures of it).

  Args:
    run: an opened run.
    split: "train", "validation", "test", or a sum such as "validation+test".
    data: loaded when None.

  Raises:
    UserError: the split does not exist, or the data are not those that the run started with.
  """
  if data is None:
    with run.blaming_assets():
      data = run.experiment.load(run.config, run.assets)
  try:
    examples = data.split(split)
    if missing := numeric(data.validation).keys() - examples.keys():
      raise ValueError(
          f"the {split} split cannot be evaluated: it has no {', '.join(sorted(missing))}"
      )
  except ValueError as e:
    raise UserError(str(e)) from None
  workdirs.check_data(run.workdir, data, split.split("+"))
  if run.task.eval_fn:
    with run.blaming_assets():
      some = {name: array[:2] for name, array in numeric(examples).items()}
      jax.eval_shape(run.task.eval_fn, run.eval_variables, some, jax.random.key(0))
  variables = jax.device_get(run.eval_variables)  # As after training, for equal rounding.
  chunk = run.config.training.eval_batch_size
  apply = make_apply(variables, sharding.make_mesh(), chunk=chunk, show_progress=True)
  metrics = {"examples": len(next(iter(examples.values())))}
  metrics |= evaluate(run.task, variables, data, split, apply)
  figures = run.task.plot(variables, data, split, apply) if run.task.plot else {}
  return metrics, figures


def predict(run: Run, lines: Iterable[str], **options) -> Iterator[str]:
  """Yields one line per input line, some hundreds at a time.

  Raises:
    UserError: the experiment does not predict.
  """
  if run.task.predict is None:
    raise UserError(f"{run.config.experiment} does not predict")
  chunk = run.config.training.eval_batch_size
  apply = make_apply(run.eval_variables, sharding.make_mesh(), chunk=chunk)
  lines = iter(lines)
  while block := list(itertools.islice(lines, _LINES)):
    yield from run.task.predict(run.eval_variables, block, apply, **options)
