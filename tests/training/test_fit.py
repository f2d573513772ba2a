"""The loop on a small regression: interruptions, resumption, divergence and the best."""

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
from dlx.runs import metric_log as metrics_lib
from dlx.runs.checkpoints import Checkpoints
from dlx.training import fit as fits
from dlx.training import state as states
from dlx.training.signals import Interrupted, Interrupts

OPTIMIZER = optax.adamw(0.05)


def make_config(**changes):
  config = {
      "total_steps": 20, "steps_per_call": 3, "eval_every": 4, "save_every": 5, "keep": 2,
      "ema_decay": 0.9, "profile": None, "fsdp": 1,
  }  # fmt: skip
  return ml_collections.ConfigDict({**config, **changes})


def make_data():
  rng = np.random.default_rng(0)
  xs = rng.normal(size=(64, 3)).astype(np.float32)
  return {"x": jnp.asarray(xs), "y": jnp.asarray(xs @ np.float32([1, -2, 3]))}


def loss_fn(params, variables, batch, rng):
  """Least squares with noise on the inputs, and a count of calls as a variable."""
  x = batch["x"] + 0.1 * jax.random.normal(rng, batch["x"].shape)
  error = x @ params["w"] - batch["y"]
  return jnp.mean(error**2), ({"error": jnp.abs(error).max()}, {"count": variables["count"] + 1})


def batch_fn(data, step, rng):
  rows = jax.random.randint(rng, (8,), 0, 64)
  return {"x": data["x"][rows], "y": data["y"][rows]}


def init():
  params = {"w": jnp.zeros(3)}
  variables = {"count": jnp.zeros((), jnp.int32)}
  return states.create(params, OPTIMIZER, variables=variables, averaged=True)


def validate(state):
  error = state.eval_params["w"] - jnp.array([1.0, -2.0, 3.0])
  return {"loss": float(jnp.sum(error**2))}


def run(workdir, *, config=None, **changes):
  pathlib.Path(workdir).mkdir(exist_ok=True)
  parts = {
      "init": init, "loss_fn": loss_fn, "batch_fn": batch_fn, "data": make_data(),
      "optimizer": OPTIMIZER, "validate": validate,
  }  # fmt: skip
  return fits.fit(workdir, config or make_config(), seed=3, **{**parts, **changes})


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
  """All runs here compile the same few programs: they are kept for the next."""
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
def alone(tmp_path_factory):
  """(workdir, last state) of a run that nothing stops."""
  workdir = tmp_path_factory.mktemp("alone")
  return workdir, run(workdir)


def assert_ends_as(alone, workdir, state):
  assert_same_bits(state, alone[1])
  assert lines_of(workdir) == lines_of(alone[0])
  steps, best, tree = checkpoints_of(workdir)
  alone_steps, alone_best, alone_tree = checkpoints_of(alone[0])
  assert (steps[-1], best) == (alone_steps[-1], alone_best)
  assert_same_bits(tree, alone_tree)


def test_the_run_learns_and_its_lines_are_those_of_the_steps(alone):
  workdir, state = alone
  assert int(state.step) == 20 and int(state.variables["count"]) == 20
  lines = metrics_lib.read(workdir / "metrics.jsonl")
  training = [line["step"] for line in lines if "loss" in line]
  validation = [line["step"] for line in lines if "validation/loss" in line]
  # Multiples of 3, 4 and 5: a call ends at each, whatever came before.
  assert training == [s for s in range(1, 21) if s % 3 == 0 or s % 4 == 0 or s % 5 == 0]
  assert validation == [4, 8, 12, 16, 20]
  losses = [line["loss"] for line in lines if "loss" in line]
  assert losses[-1] < losses[0]
  assert checkpoints_of(workdir)[:2] == ([16, 20], 20)


class Crash(Exception):
  """Stands for a process that dies."""


@pytest.mark.parametrize("crash_at", [(4,), (20,), (8, 8, 12)])
def test_a_crash_in_validation_changes_nothing(alone, tmp_path, crash_at):
  crashes = list(crash_at)

  def crashing(state):
    if crashes and int(state.step) == crashes[0]:
      crashes.pop(0)
      raise Crash
    return validate(state)

  for _ in crash_at:
    with pytest.raises(Crash):
      run(tmp_path, validate=crashing)
  assert_ends_as(alone, tmp_path, run(tmp_path, validate=crashing))
  assert not crashes


@pytest.mark.parametrize("at", [1, 3, 8])
def test_stopping_between_any_two_calls_changes_nothing(alone, tmp_path, monkeypatch, at):
  looks = iter(range(1, 10_000))
  # The loop looks at `received` once after each call.
  stopping = property(lambda self: signal.SIGTERM if next(looks) == at else None, lambda *_: None)
  monkeypatch.setattr(Interrupts, "received", stopping, raising=False)
  with pytest.raises(Interrupted, match="saved at step"):
    run(tmp_path)
  assert checkpoints_of(tmp_path)[0][-1] == {1: 3, 3: 5, 8: 12}[at]
  assert_ends_as(alone, tmp_path, run(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_and_the_same_call_goes_on(alone, tmp_path, number, capfd):
  handler = signal.getsignal(number)
  sent = []

  def signalling(state):
    if not sent:
      sent.append(int(state.step))
      os.kill(os.getpid(), number)
    return validate(state)

  with pytest.raises(Interrupted, match="saved at step 4; the same command") as stopped:
    run(tmp_path, validate=signalling)
  assert stopped.value.signal_number == number
  assert signal.getsignal(number) == handler
  assert checkpoints_of(tmp_path)[:2] == ([4], 4)
  assert_ends_as(alone, tmp_path, run(tmp_path, validate=signalling))
  assert "resuming from step 4" in capfd.readouterr().err


def test_a_signal_in_the_last_call_does_not_lose_the_end(alone, tmp_path):
  def signalling(state):
    if int(state.step) == 20:
      os.kill(os.getpid(), signal.SIGTERM)
    return validate(state)

  assert_ends_as(alone, tmp_path, run(tmp_path, validate=signalling))


def test_at_total_steps_nothing_changes(alone, tmp_path, capfd):
  run(tmp_path)
  paths = [tmp_path / "metrics.jsonl", *(tmp_path / "checkpoints").rglob("*")]
  before = {path: path.read_bytes() for path in paths if path.is_file()}
  assert_same_bits(run(tmp_path), alone[1])
  paths = [tmp_path / "metrics.jsonl", *(tmp_path / "checkpoints").rglob("*")]
  assert {path: path.read_bytes() for path in paths if path.is_file()} == before
  assert "already trained to step 20" in capfd.readouterr().err


def test_more_steps_than_before_go_on_from_the_end(tmp_path):
  run(tmp_path, config=make_config(total_steps=12))
  longer = run(tmp_path)
  (tmp_path / "at_once").mkdir()
  assert_same_bits(longer, run(tmp_path / "at_once"))


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_divergence_keeps_the_last_good_checkpoint(tmp_path, bad):
  def diverging(params, variables, batch, rng):
    loss, aux = loss_fn(params, variables, batch, rng)
    late = variables["count"] == 10  # Step 11, the first of a call of two.
    if bad == "loss":
      return jnp.where(late, jnp.nan, loss), aux
    # sqrt's derivative at 0 is infinite while its value is not.
    return loss + jnp.sqrt(0 * params["w"] + jnp.where(late, 0.0, 1.0)).sum(), aux

  with pytest.raises(fits.Diverged, match="at step 11; the checkpoint of step 10 is kept"):
    run(tmp_path, loss_fn=diverging)
  steps, _, tree = checkpoints_of(tmp_path)
  assert steps[-1] == 10
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))
  text = lines_of(tmp_path).decode()
  assert "NaN" not in text and "Infinity" not in text
  assert max(json.loads(line)["step"] for line in text.splitlines()) == 10


def test_divergence_before_any_checkpoint_says_so(tmp_path):
  def diverging(params, variables, batch, rng):
    loss, aux = loss_fn(params, variables, batch, rng)
    return loss * jnp.nan, aux

  with pytest.raises(fits.Diverged, match="at step 1; there is no checkpoint yet"):
    run(tmp_path, loss_fn=diverging)
  assert checkpoints_of(tmp_path)[0] == []


def test_validation_picks_the_best(tmp_path):
  scores = {4: 3.0, 8: 1.0, 12: 2.0, 16: 5.0, 20: 4.0}
  run(tmp_path, validate=lambda state: {"loss": scores[int(state.step)], "other": 0.0})
  assert checkpoints_of(tmp_path)[:2] == ([8, 16, 20], 8)


def test_another_metric_can_be_the_best(tmp_path):
  scores = {4: 3.0, 8: 5.0, 12: 2.0, 16: 5.0, 20: 4.0}
  run(
      tmp_path,
      validate=lambda state: {"loss": 0.0, "error_rate": scores[int(state.step)]},
      best="error_rate",
  )
  with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
    assert checkpoints.best == 12


@pytest.mark.parametrize(
    "change, message",
    [
        ({"total_steps": 0}, "total_steps is 0"),
        ({"save_every": 0}, "save_every is 0"),
        ({"keep": -1}, "keep is -1"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"profile": "7"}, "--profile=7 is not START:STOP"),
        ({"profile": "7:7"}, "with START below STOP"),
    ],
)
def test_values_out_of_their_range_are_refused(change, message):
  with pytest.raises(UserError, match=message):
    fits.check_config(make_config(**change))
  fits.check_config(make_config(ema_decay=None))


def test_a_trace_is_written_and_changes_nothing(tmp_path):
  plain, traced = tmp_path / "plain", tmp_path / "traced"
  run(plain)
  run(traced, config=make_config(profile="5:9"))
  assert (plain / "metrics.jsonl").read_bytes() == (traced / "metrics.jsonl").read_bytes()
  assert not (plain / "profile").exists()
  (trace,) = traced.glob("profile/**/perfetto_trace.json.gz")
  assert trace.stat().st_size > 100
  # Resumed beyond the steps in question, a run traces nothing.
  run(traced, config=make_config(profile="5:9", total_steps=24))
  assert len(list(traced.glob("profile/**/perfetto_trace.json.gz"))) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_line(tmp_path):
  tmp_path.chmod(0o500)
  try:
    with pytest.raises(UserError, match="cannot be written"):
      run(tmp_path)
  finally:
    tmp_path.chmod(0o700)
