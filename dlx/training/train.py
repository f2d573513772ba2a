"""Trains an experiment in a run directory: everything that experiments have in common."""

from collections.abc import Mapping
import contextlib
import math
import pathlib
from typing import Any, NamedTuple

import jax
import ml_collections

from dlx import doctor, platform, presets
from dlx.data import batches
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.experiment import Data, Task, numeric
from dlx.reports import curves, figures
from dlx.runs import architecture, assets, files, object_storage
from dlx.runs import run as runs
from dlx.runs import workdir as workdirs
from dlx.training import finetuning, optimizers, profiling, sharding
from dlx.training.evaluation import evaluate, make_apply
from dlx.training.fit import Program, fit, make_program


def train(
    config: ml_collections.ConfigDict,
    workdir: str | pathlib.Path | None = None,
    *,
    override: bool = False,
    profile: str | None = None,
) -> pathlib.Path:
  """Trains a config in a run directory, or resumes from its latest checkpoint.

  Args:
    config: of an experiment, as its get_config returns.
    workdir: a folder or gs:// address; a new folder below runs/ when None.
    override: continue a run although its config differs.
    profile: steps to trace, "START:STOP".

  Returns:
    The folder on this machine.

  Raises:
    UserError: a value is out of its range, the data cannot be used, or the folder belongs to
      another run. Nothing has been written then.
  """
  presets.check(config)
  steps = profiling.parse(profile)
  experiment = runs.experiment(config)
  named = {**presets.flatten(config), "workdir": str(workdir) if workdir else None}
  processes.check_equal(named)
  workdir = workdirs.default(config) if workdir is None else workdir
  with _opened(workdir) as folder:
    if override:
      processes.on_primary(lambda: workdirs.accept(folder))
    processes.on_primary(lambda: workdirs.check(folder, config, override=override))
    doctor.check()
    with platform.lowering_for(jax.devices()[0].platform):
      if hasattr(experiment, "train"):  # An experiment may bring its own.
        experiment.train(config, folder)
      else:
        _train(config, folder, steps, override)
    if processes.is_primary():
      object_storage.upload(folder)
  return folder


def _opened(workdir: str | pathlib.Path) -> contextlib.AbstractContextManager[pathlib.Path]:
  if object_storage.is_address(workdir):
    return object_storage.opened_to_train(workdir)
  return contextlib.nullcontext(pathlib.Path(workdir))


class Prepared(NamedTuple):
  """What a run needs besides its folder.

  Attributes:
    config: with lengths in steps.
    data: the data, with pretrained variables.
    task: with an optimizer and a batch_fn.
    steps_per_epoch: None when the data have no epochs.
  """

  config: ml_collections.ConfigDict
  data: Data
  task: Task
  steps_per_epoch: int | None


def prepare(
    config: ml_collections.ConfigDict, assets: Mapping[str, Any] | None, *, started: bool = False
) -> Prepared:
  """Loads the data of a config, and makes its task.

  Args:
    config: of an experiment.
    assets: those of the run that is resumed; None for a new one.
    started: the run has a whole checkpoint, which replaces the variables of its `init_fn`. Then
      pretrained variables that cannot be read any more are None.

  Raises:
    UserError: the data cannot be used.
  """
  experiment = runs.experiment(config)
  data = experiment.load(config, assets)
  if callable(data.pretrained):
    try:
      data = data._replace(pretrained=data.pretrained())
    except UserError:
      if not started:
        raise
      data = data._replace(pretrained=None)
  epoch = steps_per_epoch(config, data)
  resolved = presets.in_steps(config, epoch)
  return Prepared(resolved, data, complete(experiment.make(resolved, data.assets), resolved), epoch)


def _train(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, profile: range, override: bool
) -> None:
  resumed = workdirs.is_run(workdir)
  known = assets.load(workdir) if resumed else None
  started = resumed and architecture.has_checkpoint(workdir)
  resolved, data, task, epoch = prepare(config, known, started=started)
  training, mesh = resolved.training, sharding.make_mesh(config.training.fsdp)
  if config.get("data", {}).get("batch_size") is not None:
    sharding.check_batch_size(config.data.batch_size, mesh)
  program = make_program(task, training, config.seed, mesh)
  check_shapes(task, program, data)  # Errors of an experiment come before anything is written.

  def validate(variables):
    variables = {k: v for k, v in variables.items() if k not in task.training_only}
    apply = make_apply(variables, mesh, chunk=training.eval_batch_size)
    return evaluate(task, variables, data, "validation", apply, everything=False)

  with workdirs.locked(workdir):
    # The folder as it is now that no other run can change it.
    processes.on_primary(lambda: workdirs.check(workdir, config, override=override, locked=True))
    if workdirs.is_run(workdir) != resumed:
      raise UserError(f"another run has started in workdir {workdir}; repeat the command")
    if resumed:
      given = (numeric(data.train), data.pretrained)
      architecture.check(workdir, jax.eval_shape(program.init, given))
    workdirs.create(workdir, config, data, epoch, {"implementations": platform.choices()})
    fit(workdir, training, program, data, mesh, validate=validate, best=task.best, profile=profile)
    try:
      report(workdir, task, data, mesh, training.eval_batch_size)
    except OSError as e:
      raise UserError(
          f"{e.filename2 or e.filename or workdir} cannot be written ({e.strerror}); the training "
          f"is complete. Correct that, and the same command writes the reports"
      ) from None


def complete(task: Task, config: ml_collections.ConfigDict) -> Task:
  """The task with config.optimizer and shuffled epochs where it has none of its own, and frozen
  parameters.

  Args:
    task: of an experiment.
    config: with lengths in steps.
  """
  total_steps = config.training.total_steps
  if total_steps and task.optimizer is None:
    task = task._replace(optimizer=optimizers.make(config.optimizer, total_steps))
  if total_steps and task.batch_fn is None:
    size = config.data.batch_size  # None: the full batch.
    batch_fn = batches.all_examples if size is None else batches.make_epochs(size)
    task = task._replace(batch_fn=batch_fn)
  if total_steps and task.is_trained is not None:
    task = finetuning.freeze_others(task)
  return task


def steps_per_epoch(config: ml_collections.ConfigDict, data: Data) -> int | None:
  """data.steps_per_epoch, or the number of training examples over config.data.batch_size.

  Raises:
    UserError: there are fewer training examples than a batch has.
  """
  if data.steps_per_epoch is not None or not data.train:
    return data.steps_per_epoch
  if "batch_size" not in config.get("data", {}):
    return None
  if config.data.batch_size is None:  # All examples in every step.
    return 1
  count = len(next(iter(data.train.values())))
  if count < config.data.batch_size:
    raise UserError(
        f"config.data.batch_size is {config.data.batch_size}, but there are only {count} training "
        f"examples; lower it"
    )
  return count // config.data.batch_size


def check_shapes(task: Task, program: Program, data: Data) -> None:
  """Traces everything that will be compiled.

  Raises:
    ValueError: a function is missing, a step changes the shape or dtype of the state, or eval_fn
      lacks the metric of `task.best`.
  """
  if program.step and task.loss_fn is None:
    raise ValueError("make: expected a loss_fn, unless total_steps is 0")
  if task.eval_fn is None and task.measure_fn is None:
    raise ValueError("make: expected an eval_fn or a measure_fn, which choose the best checkpoint")
  given = (numeric(data.train), data.pretrained)
  state = jax.eval_shape(program.init, given)
  if program.step:
    after, _ = jax.eval_shape(program.step, state, given[0])
    for (path, old), new in zip(jax.tree.leaves_with_path(state), jax.tree.leaves(after)):
      if (old.shape, old.dtype) != (new.shape, new.dtype):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        raise ValueError(
            f"loss_fn: a step changes {name} from {old.dtype}{old.shape} to {new.dtype}{new.shape}"
        )
  if task.eval_fn:
    if not data.validation:
      raise ValueError("load: expected validation examples, which choose the best checkpoint")
    batch = {name: x[:2] for name, x in numeric(data.validation).items()}
    variables = {k: v for k, v in state.eval_variables.items() if k not in task.training_only}
    metrics = jax.eval_shape(task.eval_fn, variables, batch, jax.random.key(0))
    if task.best and task.best.removeprefix("-") not in metrics:
      raise ValueError(f"best: expected a metric of eval_fn, {sorted(metrics)}, got {task.best!r}")


def report(workdir: pathlib.Path, task: Task, data: Data, mesh, chunk: int) -> None:
  """Evaluates the best checkpoint on the validation split, and writes figures and samples."""
  variables = jax.device_get(runs.load(workdir).variables)
  variables = {k: v for k, v in variables.items() if k not in task.training_only}
  apply = make_apply(variables, mesh, chunk=chunk)
  metrics = evaluate(task, variables, data, "validation", apply)
  plots = task.plot(variables, data, "validation", apply) if task.plot else {}
  if not processes.is_primary():
    return
  finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
  workdirs.write_json(workdir, workdirs.VALIDATION, finite)
  curves.draw(workdir, unit=task.unit)
  if task.best and (metric := task.best.removeprefix("-")) != "loss":
    curves.draw(workdir, metric=metric, maximize=task.best.startswith("-"))
  write_reports(workdir, plots)
  if task.sample:
    write_reports(workdir, {"samples": join_samples(task.sample(variables, jax.random.key(0)))})


def join_samples(samples) -> Any:
  """Strings as one text; arrays (images) as a figure."""
  samples = list(samples)
  if samples and isinstance(samples[0], str):
    return "".join(samples) + "\n"
  return figures.image_grid(samples)


def write_reports(folder: pathlib.Path, reports: dict[str, Any]) -> list[pathlib.Path]:
  """Writes figures as NAME.png and strings as NAME.txt; returns their paths."""
  paths = []
  for name, content in reports.items():
    if isinstance(content, str):
      path = folder / f"{name}.txt"
      files.write(path, content)
    else:
      path = figures.save(content, folder / f"{name}.png")
    paths.append(path)
  return paths
