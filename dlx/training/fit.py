"""The one training loop."""

from collections.abc import Callable
import pathlib
import time

import jax
import ml_collections
import numpy as np
import optax

from dlx.distributed import processes
from dlx.errors import UserError
from dlx.runs import lock, object_storage
from dlx.runs.checkpoints import CRITERION, Checkpoints, target_of
from dlx.runs.metric_log import MetricsWriter
from dlx.training import sharding
from dlx.training import step as steps_lib
from dlx.training.profiling import Profiler, parse
from dlx.training.progress import Progress
from dlx.training.signals import Interrupted, Interrupts
from dlx.training.state import State


def check_config(config: ml_collections.ConfigDict) -> None:
  """Raises UserError unless every value of config.training is in its range."""
  for name in ("total_steps", "steps_per_call", "eval_every", "save_every", "keep", "fsdp"):
    if config[name] < 1:
      raise UserError(f"config.training.{name} is {config[name]}; it must be at least 1")
  decay = config.ema_decay
  if decay is not None and not 0 <= decay < 1:
    raise UserError(f"config.training.ema_decay is {decay}; use 0 <= ema_decay < 1, or None")
  parse(config.profile)


class Diverged(Exception):
  """Loss or gradient stopped being finite; the last good checkpoint is kept."""


def fit(
    workdir: str | pathlib.Path,
    config: ml_collections.ConfigDict,
    *,
    seed: int,
    init: Callable[[], State],
    loss_fn: Callable,
    batch_fn: Callable,
    data,
    optimizer: optax.GradientTransformation,
    validate: Callable[[State], dict[str, float]],
    best: str = "loss",
) -> State:
  """Trains from the newest checkpoint in workdir, or from `init`, to the last step.

  A run that was stopped at any moment and started again gives the same parameters and
  the same metrics.jsonl, bit for bit, as one that was left alone: a step is a function
  of the state, the data and (seed, step), and the number of steps in a compiled call
  depends on the step alone.

  Args:
    workdir: an existing folder.
    config: total_steps; steps_per_call (how many run between two looks at signals and
      files); eval_every and save_every, in steps; keep, the number of latest
      checkpoints that stay; fsdp, the devices that share one copy of the parameters;
      ema_decay of averaged params or None; profile, the steps
      "START:STOP" to trace or None.
    seed: of all that is random.
    init: the state before the first step; see dlx.training.state.create.
    loss_fn, batch_fn, optimizer: see dlx.training.step.make_step.
    data: arrays for batch_fn, copied to every device; each device gathers and computes its
      own rows of a batch.
    validate: metrics of the validation split; use state.eval_params. It is called on every
      process with a state that is whole on every device, without opt_state, and must give
      the same everywhere; `sharding.split_batch` shares its work out.
    best: the key of `validate` whose least value marks the best checkpoint.

  Returns:
    The last state.

  Raises:
    Interrupted: on SIGTERM or SIGINT, after saving.
    Diverged: when loss or gradient is not finite.
    UserError: files cannot be written or read.
  """
  workdir = pathlib.Path(workdir).absolute()
  mesh = sharding.make_mesh(config.fsdp)
  step_fn = steps_lib.make_step(
      loss_fn, batch_fn, optimizer, seed=seed, mesh=mesh, ema_decay=config.ema_decay
  )
  shapes = jax.eval_shape(init)
  placed = sharding.of_state(shapes, mesh)
  run_steps = steps_lib.make_steps(step_fn, mesh, placed)

  def validate_whole(state):  # Without the optimizer's state, which no validation reads.
    return validate(sharding.whole(state.replace(opt_state=()), mesh))

  try:
    with (
        lock.held(workdir),
        Checkpoints(object_storage.checkpoints(workdir), keep=config.keep) as checkpoints,
    ):
      state = checkpoints.restore_latest(target_of(shapes, placed))
      resumed = state is not None
      if not resumed:
        state = jax.jit(init, out_shardings=placed)()
      first = int(state.step)
      with (
          Interrupts() as interrupts,
          MetricsWriter(workdir, after_step=first) as writer,
          Progress(config.total_steps, first) as progress,
          Profiler(config.profile, workdir) as profiler,
      ):
        if resumed:
          done = first >= config.total_steps
          progress.say(f"{'already trained to' if done else 'resuming from'} step {first}")
        parts = (checkpoints, writer, progress, interrupts, profiler)
        loop = _Loop(config, run_steps, validate_whole, best, *parts)
        return loop.run(state, sharding.on_every_device(data, mesh))
  except OSError as e:
    raise UserError(
        f"{workdir} cannot be written ({e.strerror or e}); the checkpoints that are there "
        f"are intact. Mend that, and the same command resumes"
    ) from None


class _Loop:
  """What happens between two compiled calls; see `fit` for the parts."""

  def __init__(
      self, config, run_steps, validate, best, checkpoints, writer, progress, interrupts, profiler
  ):
    self._config, self._run_steps, self._validate, self._best = config, run_steps, validate, best
    self._checkpoints, self._writer, self._profiler = checkpoints, writer, profiler
    self._progress, self._interrupts = progress, interrupts

  def run(self, state: State, data) -> State:
    step, last = int(state.step), self._config.total_steps
    while step < last:
      count = self._next_stop(step) - step
      self._profiler.before(step, count)
      began = time.monotonic()
      state, metrics = self._run_steps(state, data, count)
      metrics = jax.device_get(metrics)
      seconds = time.monotonic() - began
      self._stop_if_not_finite(step, metrics)
      step += count
      values = {name: float(np.mean(value)) for name, value in metrics.items()}
      self._writer.write(step, values)
      self._writer.write_timing(step, {"seconds": seconds, "steps": count})
      self._progress.update(step, {"loss": values["loss"]})
      self._after_call(step, state)
    self._checkpoints.wait()
    return state

  def _next_stop(self, step: int) -> int:
    """The next step at which the host has something to do: a function of step alone."""
    config = self._config
    periods = (config.steps_per_call, config.eval_every, config.save_every)
    return min([(step // period + 1) * period for period in periods] + [config.total_steps])

  def _after_call(self, step: int, state: State) -> None:
    """Validates and saves when it is time, or when the run is asked to stop."""
    last = step == self._config.total_steps
    scores = None
    if last or step % self._config.eval_every == 0:
      scores = {name: float(value) for name, value in self._validate(state).items()}
      named = {f"validation/{name}": value for name, value in scores.items()}
      self._writer.write(step, named)
      self._progress.update(step, named, always=True)
    stop = processes.largest(self._interrupts.received or 0)
    if stop or scores or step % self._config.save_every == 0:
      self._writer.sync()
      metrics = {**scores, CRITERION: scores[self._best]} if scores else None
      self._checkpoints.save(step, state, metrics)
    if stop and not last:
      self._checkpoints.wait()
      raise Interrupted(f"saved at step {step}; the same command resumes", stop)

  def _stop_if_not_finite(self, step: int, metrics: dict) -> None:
    finite = np.asarray(steps_lib.finite(metrics))
    if finite.all():
      return
    self._checkpoints.wait()
    steps = self._checkpoints.steps
    kept = f"the checkpoint of step {steps[-1]} is kept" if steps else "there is no checkpoint yet"
    raise Diverged(
        f"loss or gradient is not finite at step {step + int(finite.argmin()) + 1}; {kept}. "
        f"A lower learning rate or clip_norm may help"
    )
