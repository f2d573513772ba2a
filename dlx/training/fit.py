"""The training loop."""

from collections.abc import Callable
import dataclasses
import math
import pathlib
import time
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from dlx import platform
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.experiment import Data, numeric
from dlx.runs import metric_log, object_storage
from dlx.runs.checkpoints import Checkpoints, target_of
from dlx.runs.metric_log import MetricLog
from dlx.runs.retention import CRITERION
from dlx.training import early_stopping, sharding
from dlx.training import state as states
from dlx.training import step as steps_lib
from dlx.training.profiling import Profiler
from dlx.training.progress import Progress
from dlx.training.signals import Preempted, Preemption
from dlx.training.state import State


class Diverged(Exception):
  """Loss, gradient or the metric of a fit is not finite; the last good checkpoint is kept."""


class Program(NamedTuple):
  """The functions of a run, ready to be compiled.

  Attributes:
    init: `init(given) -> State`, with given = (data.train, data.pretrained).
    step: `step(state, train) -> (state, metrics)`; None when total_steps is 0.
  """

  init: Callable
  step: Callable | None


def make_program(task, config: ml_collections.ConfigDict, seed: int, mesh) -> Program:
  """The program of a task whose batch_fn and optimizer are given.

  Args:
    task: dlx.experiment.Task.
    config: the section config.training, with lengths in steps.
    seed: of all random numbers.
    mesh: the devices.
  """

  @jax.jit  # Traced once, for the shapes and for the values.
  def init(given) -> State:
    train, pretrained = given
    data = Data(train, None, None, None, pretrained)
    variables = task.init_fn(jax.random.key(seed), data)
    averaged = config.ema_decay is not None
    return states.create(variables, task.optimizer, averaged=averaged)

  step = None
  if config.total_steps:
    step = steps_lib.make_step(
        task.loss_fn, task.batch_fn, task.optimizer,
        seed=seed, mesh=mesh, ema_decay=config.ema_decay, is_trained=task.is_trained,
    )  # fmt: skip
  return Program(init, step)


def fit(
    workdir: str | pathlib.Path,
    config: ml_collections.ConfigDict,
    program: Program,
    data: Data,
    mesh: jax.sharding.Mesh,
    *,
    validate: Callable[[dict], dict[str, float]],
    best: str | None = "loss",
    profile: range = range(0),
) -> State:
  """Trains from the newest checkpoint in workdir, or from `program.init`, to the last step.

  A run that is stopped at any moment and started again gives the same parameters and the same
  metrics.jsonl, bit for bit, as an uninterrupted run: a step is a function of the state, the
  data and (seed, step), and the number of steps in a compiled call depends on the step alone.

  Args:
    workdir: an existing folder, in which no other process trains (dlx.runs.workdir.locked).
    config: total_steps; steps_per_execution (steps in one compiled call, between which signals
      are noticed and files written); eval_every and save_every, in steps; max_to_keep, the
      number of latest checkpoints that are kept; ema_decay; patience, of early_stopping.is_over.
    program: see `make_program`.
    data: its `train` is replicated on every device; each device gathers and computes its own
      rows of a batch.
    mesh: the devices.
    validate: metrics of the validation split from the state's eval_variables. It is called in
      every process with variables that are replicated on every device, and must return the
      same everywhere.
    best: the key of `validate` whose minimum marks the best checkpoint; "-key" for the maximum,
      None for the last one.
    profile: steps to trace.

  Returns:
    The last state.

  Raises:
    Preempted: on SIGTERM, SIGINT or SIGUSR1, after saving.
    Diverged: when loss or gradient is not finite.
    UserError: files cannot be written or read.
  """
  workdir = pathlib.Path(workdir).absolute()
  given = sharding.put_replicated((numeric(data.train), data.pretrained), mesh)
  shapes = jax.eval_shape(program.init, given)
  shardings = sharding.state_sharding(shapes, mesh)
  run_steps = _make_steps(program.step, mesh, shardings, config) if program.step else None

  def validate_replicated(state: State) -> dict[str, float]:
    return validate(sharding.replicate(state.eval_variables, mesh))

  try:
    with Checkpoints(
        object_storage.checkpoints(workdir), max_to_keep=config.max_to_keep
    ) as saved:
      state = saved.restore_latest(target_of(shapes, shardings))
      resumed = state is not None
      if not resumed:
        state = jax.jit(program.init, out_shardings=shardings)(given)
      first = int(state.step)
      if resumed:
        grown = saved.grown(first)
        processes.raise_together(lambda: metric_log.check(workdir, grown))
      with (
          Preemption() as preemption,
          MetricLog(workdir, after_step=first if resumed else -1) as log,
          Progress(config.total_steps, first) as progress,
          Profiler(profile, workdir) as profiler,
      ):
        if resumed:
          done = early_stopping.is_over(config, first, saved.best)
          progress.print(f"{'already trained to' if done else 'resuming from'} step {first}")
        loop = _Loop(
            config, run_steps, validate_replicated, best,
            checkpoints=saved, log=log, progress=progress, preemption=preemption,
            profiler=profiler,
        )  # fmt: skip
        if not resumed and not config.total_steps:  # program.init was the whole training.
          loop.after_call(0, state)
        return loop.run(state, given[0])
  except OSError as e:
    raise UserError(
        f"{workdir} cannot be written ({e.strerror or e}); its checkpoints are intact. Correct "
        f"that, and the same command resumes"
    ) from None


def _make_steps(step: Callable, mesh, shardings: State, config) -> Callable:
  """`steps(state, train, count)`, with the metrics of `count` steps as numpy arrays."""
  # Periods that do not divide each other need calls of several lengths.
  longest = min(config.steps_per_execution, config.eval_every, config.save_every)
  one_program = platform.choices()["steps"] == "while"
  run = steps_lib.make_steps(step, mesh, shardings, max_count=longest if one_program else None)

  def steps(state, train, count):
    state, metrics = run(state, train, np.int32(count) if one_program else count)
    return state, {name: rows[:count] for name, rows in jax.device_get(metrics).items()}

  return steps


@dataclasses.dataclass(frozen=True)
class _Loop:
  """The work between two compiled calls; see `fit` for the attributes."""

  config: ml_collections.ConfigDict
  run_steps: Callable | None
  validate: Callable[[State], dict[str, float]]
  best: str | None
  checkpoints: Checkpoints
  log: MetricLog
  progress: Progress
  preemption: Preemption
  profiler: Profiler

  def run(self, state: State, train) -> State:
    step = int(state.step)
    over = early_stopping.is_over(self.config, step, self.checkpoints.best)
    while not over:
      count = self._next_stop(step) - step
      self.profiler.before(step, count)
      began = time.monotonic()
      state, metrics = self.run_steps(state, train, count)
      seconds = time.monotonic() - began
      self._stop_if_not_finite(step, metrics)
      step += count
      values = {name: float(np.mean(value)) for name, value in metrics.items()}
      self.log.write(step, values)
      self.log.write_timing(step, {"seconds": seconds, "steps": count})
      self.progress.update(step, {"loss": values["loss"]})
      over = self.after_call(step, state)
    self.checkpoints.wait()
    return state

  def _next_stop(self, step: int) -> int:
    """The next step at which the host has something to do: a function of step alone."""
    config = self.config
    periods = (config.steps_per_execution, config.eval_every, config.save_every)
    return min([(step // period + 1) * period for period in periods] + [config.total_steps])

  def after_call(self, step: int, state: State) -> bool:
    """Validates and saves when due, or when the run is asked to stop; whether it is over."""
    last = step == self.config.total_steps
    scores = None
    if last or step % self.config.eval_every == 0:
      scores = {name: float(value) for name, value in self.validate(state).items()}
      if not self.config.total_steps and math.isnan(self._criterion(step, scores)):
        raise Diverged(
            "the fit has failed: the validation metric that judges it is not a number. Other "
            "settings of the model, or data in another unit, may help"
        )
      named = {f"validation/{name}": value for name, value in scores.items()}
      self.log.write(step, named)
      self.progress.update(step, named, always=True)
    stop = processes.largest(self.preemption.received or 0)
    if stop or scores or step % self.config.save_every == 0:
      self.log.sync()
      metrics = {**scores, CRITERION: self._criterion(step, scores)} if scores else None
      self.checkpoints.save(step, state, metrics, grown=self.log.grown)
    over = last or bool(scores) and self._has_stopped(step)
    if stop and not over:
      self.checkpoints.wait()
      raise Preempted(f"saved at step {step}; the same command resumes", stop)
    return over

  def _has_stopped(self, step: int) -> bool:
    """Whether the run ends early."""
    if self.config.get("patience") is None:
      return False
    self.checkpoints.wait()  # The best one is known once it is saved.
    best = self.checkpoints.best
    over = early_stopping.is_over(self.config, step, best)
    if over:
      self.progress.print(f"stopped early: {self.best} was best at step {best}")
    return over

  def _criterion(self, step: int, scores: dict[str, float]) -> float:
    if self.best is None:
      return float(-step)
    name = self.best.removeprefix("-")
    if name not in scores:
      raise ValueError(f"best: expected a validation metric, {sorted(scores)}, got {self.best!r}")
    return -scores[name] if self.best.startswith("-") else scores[name]

  def _stop_if_not_finite(self, step: int, metrics: dict) -> None:
    finite = np.asarray(steps_lib.is_finite(metrics))
    if finite.all():
      return
    self.checkpoints.wait()
    steps = self.checkpoints.steps
    kept = f"the checkpoint of step {steps[-1]} is kept" if steps else "there is no checkpoint yet"
    raise Diverged(
        f"loss or gradient is not finite at step {step + int(finite.argmin()) + 1}; {kept}. "
        f"A lower learning rate or clip_norm may help"
    )
