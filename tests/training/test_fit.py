"""The training loop on a small regression: interruption, resumption, divergence, the best."""

import json
import os
import pathlib
import signal

import jax
from jax.experimental.compilation_cache import compilation_cache
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from dlx.errors import UserError
from dlx.experiment import Data, Loss, Task
from dlx.runs import metric_log
from dlx.runs.checkpoints import Checkpoints
from dlx.training import fit as fits
from dlx.training import sharding
from dlx.training.signals import Preempted, Preemption


def make_config(**changes):
  config = {
      "total_steps": 20, "steps_per_execution": 3, "eval_every": 4, "save_every": 5,
      "max_to_keep": 2, "ema_decay": 0.9,
  }  # fmt: skip
  return ml_collections.ConfigDict({**config, **changes})


def make_data():
  xs = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
  return Data({"x": xs, "y": xs @ np.float32([1, -2, 3])})


def init_fn(rng, data):
  return {"params": {"w": jnp.zeros(3)}, "count": jnp.zeros((), jnp.int32)}


def loss_fn(variables, batch, rng):
  """Least squares with noise on the inputs, and a count of calls as a collection."""
  x = batch["x"] + 0.1 * jax.random.normal(rng, batch["x"].shape)
  error = x @ variables["params"]["w"] - batch["y"]
  metrics, updated = {"error": jnp.abs(error).max()}, {"count": variables["count"] + 1}
  return Loss(jnp.mean(error**2), metrics, updated)


def batch_fn(train, step, rngs):
  rows = jax.random.randint(rngs.step, (8,), 0, 64)
  return {name: array[rows] for name, array in train.items()}


TASK = Task(init_fn, loss_fn, batch_fn=batch_fn, optimizer=optax.adamw(0.05))


def validate(variables):
  error = variables["params"]["w"] - jnp.array([1.0, -2.0, 3.0])
  return {"loss": float(jnp.sum(error**2))}


def step_of(variables):
  """The step of the state that is validated."""
  return int(variables["count"])


def run(workdir, *, config=None, loss_fn=loss_fn, **changes):
  pathlib.Path(workdir).mkdir(exist_ok=True)
  config, mesh = config or make_config(), sharding.make_mesh()
  program = fits.make_program(TASK._replace(loss_fn=loss_fn), config, 3, mesh)
  options = {"validate": validate, **changes}
  return fits.fit(workdir, config, program, make_data(), mesh, **options)


def checkpoints_of(workdir):
  """(steps, best, the newest as nested dicts)."""
  with Checkpoints(pathlib.Path(workdir) / "checkpoints", read_only=True) as checkpoints:
    steps = checkpoints.steps
    return steps, checkpoints.best, checkpoints.restore(steps[-1]) if steps else None


def lines_of(workdir):
  return (pathlib.Path(workdir) / "metrics.jsonl").read_bytes()


def assert_same_bits(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
  """Keeps the compiled programs, which are the same few in all runs here."""
  names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
  before = [getattr(jax.config, name) for name in names]
  for name, value in zip(names, (str(tmp_path_factory.mktemp("compiled")), 0.0)):
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  yield
  for name, value in zip(names, before):
    jax.config.update(name, value)
  compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
  """(workdir, last state) of a run that is not interrupted."""
  workdir = tmp_path_factory.mktemp("uninterrupted")
  return workdir, run(workdir)


def assert_same_run(uninterrupted, workdir, state):
  assert_same_bits(state, uninterrupted[1])
  assert lines_of(workdir) == lines_of(uninterrupted[0])
  steps, best, tree = checkpoints_of(workdir)
  expected_steps, expected_best, expected = checkpoints_of(uninterrupted[0])
  assert (steps[-1], best) == (expected_steps[-1], expected_best)
  assert_same_bits(tree, expected)


def test_the_loss_decreases_and_every_stop_has_a_line(uninterrupted):
  workdir, state = uninterrupted
  assert int(state.step) == 20 and int(state.collections["count"]) == 20
  lines = metric_log.read(workdir / "metrics.jsonl")
  training = [line["step"] for line in lines if "loss" in line]
  validation = [line["step"] for line in lines if "validation/loss" in line]
  # A call ends at every multiple of 3, 4 and 5, wherever it starts.
  assert training == [s for s in range(1, 21) if s % 3 == 0 or s % 4 == 0 or s % 5 == 0]
  assert validation == [4, 8, 12, 16, 20]
  losses = [line["loss"] for line in lines if "loss" in line]
  assert losses[-1] < losses[0]
  assert checkpoints_of(workdir)[:2] == ([16, 20], 20)


class Crash(Exception):
  """Simulates a process that dies."""


@pytest.mark.sampled(1)
@pytest.mark.parametrize("crash_at", [(4,), (20,), (8, 8, 12)])
def test_a_crash_in_validation_changes_nothing(uninterrupted, tmp_path, crash_at):
  crashes = list(crash_at)

  def crashing(variables):
    if crashes and step_of(variables) == crashes[0]:
      crashes.pop(0)
      raise Crash
    return validate(variables)

  for _ in crash_at:
    with pytest.raises(Crash):
      run(tmp_path, validate=crashing)
  assert_same_run(uninterrupted, tmp_path, run(tmp_path, validate=crashing))
  assert not crashes


@pytest.mark.sampled(1)
@pytest.mark.parametrize("at", [1, 3, 8])
def test_stopping_between_any_two_calls_changes_nothing(uninterrupted, tmp_path, monkeypatch, at):
  polls = iter(range(1, 10_000))
  # The loop polls `received` once after each call.
  stopping = property(lambda self: signal.SIGTERM if next(polls) == at else None, lambda *_: None)
  monkeypatch.setattr(Preemption, "received", stopping, raising=False)
  with pytest.raises(Preempted, match="saved at step"):
    run(tmp_path)
  assert checkpoints_of(tmp_path)[0][-1] == {1: 3, 3: 5, 8: 12}[at]
  assert_same_run(uninterrupted, tmp_path, run(tmp_path))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_and_the_same_call_resumes(uninterrupted, tmp_path, number, capfd):
  handler = signal.getsignal(number)
  sent = []

  def signalling(variables):
    if not sent:
      sent.append(step_of(variables))
      os.kill(os.getpid(), number)
    return validate(variables)

  with pytest.raises(Preempted, match="saved at step 4; the same command") as stopped:
    run(tmp_path, validate=signalling)
  assert stopped.value.signal_number == number
  assert signal.getsignal(number) == handler
  assert checkpoints_of(tmp_path)[:2] == ([4], 4)
  assert_same_run(uninterrupted, tmp_path, run(tmp_path, validate=signalling))
  assert "resuming from step 4" in capfd.readouterr().err


def test_a_signal_in_the_last_call_does_not_interrupt_the_end(uninterrupted, tmp_path):
  def signalling(variables):
    if step_of(variables) == 20:
      os.kill(os.getpid(), signal.SIGTERM)
    return validate(variables)

  assert_same_run(uninterrupted, tmp_path, run(tmp_path, validate=signalling))


def test_a_finished_run_is_not_changed(uninterrupted, tmp_path, capfd):
  run(tmp_path)
  paths = [tmp_path / "metrics.jsonl", *(tmp_path / "checkpoints").rglob("*")]
  before = {path: path.read_bytes() for path in paths if path.is_file()}
  assert_same_bits(run(tmp_path), uninterrupted[1])
  paths = [tmp_path / "metrics.jsonl", *(tmp_path / "checkpoints").rglob("*")]
  assert {path: path.read_bytes() for path in paths if path.is_file()} == before
  assert "already trained to step 20" in capfd.readouterr().err


def test_a_larger_total_steps_continues_from_the_end(tmp_path):
  run(tmp_path, config=make_config(total_steps=12))
  longer = run(tmp_path)
  assert_same_bits(longer, run(tmp_path / "once"))


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_divergence_keeps_the_last_good_checkpoint(tmp_path, bad):
  def diverging(variables, batch, rng):
    loss = loss_fn(variables, batch, rng)
    late = variables["count"] == 10  # Step 11, the first of a call of two.
    if bad == "loss":
      return loss._replace(value=jnp.where(late, jnp.nan, loss.value))
    # The derivative of sqrt at 0 is infinite, its value is not.
    root = jnp.sqrt(0 * variables["params"]["w"] + jnp.where(late, 0.0, 1.0))
    return loss._replace(value=loss.value + root.sum())

  with pytest.raises(fits.Diverged, match="at step 11; the checkpoint of step 10 is kept"):
    run(tmp_path, loss_fn=diverging)
  steps, _, tree = checkpoints_of(tmp_path)
  assert steps[-1] == 10
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))
  text = lines_of(tmp_path).decode()
  assert "NaN" not in text and "Infinity" not in text
  assert max(json.loads(line)["step"] for line in text.splitlines()) == 10


def test_divergence_before_any_checkpoint_is_reported(tmp_path):
  def diverging(variables, batch, rng):
    return Loss(jnp.nan * variables["params"]["w"].sum())

  with pytest.raises(fits.Diverged, match="at step 1; there is no checkpoint yet"):
    run(tmp_path, loss_fn=diverging)
  assert checkpoints_of(tmp_path)[0] == []


def test_the_least_validation_loss_marks_the_best(tmp_path):
  scores = {4: 3.0, 8: 1.0, 12: 2.0, 16: 5.0, 20: 4.0}
  run(tmp_path, validate=lambda v: {"loss": scores[step_of(v)], "other": 0.0})
  assert checkpoints_of(tmp_path)[:2] == ([8, 16, 20], 8)


@pytest.mark.parametrize(
    "best, step", [("error_rate", 12), ("-error_rate", 16), ("loss", 20), (None, 20)]
)
def test_the_minimum_or_maximum_of_any_metric_or_none_can_mark_the_best(tmp_path, best, step):
  scores = {4: 3.0, 8: 5.0, 12: 2.0, 16: 5.0, 20: 4.0}
  run(
      tmp_path, validate=lambda v: {"loss": 0.0, "error_rate": scores[step_of(v)]}, best=best
  )  # fmt: skip
  with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
    assert checkpoints.best == step  # The latest of equal ones.


def test_validation_gets_the_averaged_params(tmp_path):
  seen = []

  def recording(variables):
    seen.append(np.asarray(variables["params"]["w"]))
    return validate(variables)

  state = run(tmp_path, validate=recording)
  np.testing.assert_array_equal(seen[-1], state.ema["w"])
  assert (seen[-1] != np.asarray(state.params["w"])).any()


@pytest.mark.full
def test_a_trace_is_written_and_changes_nothing(uninterrupted, tmp_path):
  run(tmp_path, profile=range(5, 9))
  assert lines_of(tmp_path) == lines_of(uninterrupted[0])
  assert not (uninterrupted[0] / "profile").exists()
  (trace,) = tmp_path.glob("profile/**/perfetto_trace.json.gz")
  assert trace.stat().st_size > 100
  # A run that is resumed after these steps traces nothing.
  run(tmp_path, config=make_config(total_steps=24), profile=range(5, 9))
  assert len(list(tmp_path.glob("profile/**/perfetto_trace.json.gz"))) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_reported_in_one_line(tmp_path):
  tmp_path.chmod(0o500)
  try:
    with pytest.raises(UserError, match="cannot be written") as error:
      run(tmp_path)
  finally:
    tmp_path.chmod(0o700)
  assert "\n" not in str(error.value)
