"""Early stopping: where a run ends, and that a run that was stopped ends there too."""

import signal

import jax.numpy as jnp
import ml_collections
import optax
import pytest

from dlx.experiment import Data, Loss, Task
from dlx.runs import metric_log
from dlx.runs.checkpoints import Checkpoints
from dlx.training import early_stopping, fit, sharding
from dlx.training.signals import Preempted

# Each step of gradient descent adds 1 to w, which is the step then.
TASK = Task(
    lambda rng, data: {"params": {"w": jnp.zeros(())}},
    lambda variables, batch, rng: Loss(-variables["params"]["w"]),
    batch_fn=lambda train, step, rngs: train,
    optimizer=optax.sgd(1.0),
)


def validate(variables):
  """Best at step 8."""
  return {"loss": abs(float(variables["params"]["w"]) - 8)}


def run(workdir, patience=2, validate=validate) -> int:
  """The step at which a run ends."""
  workdir.mkdir(exist_ok=True)
  config = ml_collections.ConfigDict({
      "total_steps": 20, "steps_per_execution": 3, "eval_every": 4, "save_every": 5,
      "max_to_keep": 2, "ema_decay": None, "patience": patience,
  })  # fmt: skip
  mesh = sharding.make_mesh()
  program = fit.make_program(TASK, config, 0, mesh)
  return int(fit.fit(workdir, config, program, Data(), mesh, validate=validate).step)


def results(workdir):
  with Checkpoints(workdir / "checkpoints", read_only=True) as saved:
    return saved.best, saved.steps[-1], (workdir / "metrics.jsonl").read_bytes()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("stopped")
  assert run(workdir) == 16  # The evaluations at 12 and 16 are worse than that at 8.
  return workdir


def test_a_run_ends_when_patience_evaluations_are_worse_than_the_best(stopped, capsys):
  before = results(stopped)
  assert before[:2] == (8, 16)
  lines = metric_log.read(stopped / "metrics.jsonl")
  assert [line["step"] for line in lines if "validation/loss" in line] == [4, 8, 12, 16]
  assert run(stopped) == 16 and results(stopped) == before
  assert "already trained to step 16" in capsys.readouterr().err


@pytest.mark.parametrize("step", [4, 12, 16])
def test_an_interrupted_run_ends_at_the_same_step(stopped, tmp_path, step):
  def interrupted(variables):
    if variables["params"]["w"] == step:
      signal.raise_signal(signal.SIGTERM)
    return validate(variables)

  if step == 16:  # It is over.
    assert run(tmp_path / "run", validate=interrupted) == 16
  else:
    with pytest.raises(Preempted, match=f"saved at step {step}"):
      run(tmp_path / "run", validate=interrupted)
  assert run(tmp_path / "run") == 16 and results(tmp_path / "run") == results(stopped)


def test_without_patience_or_while_it_improves_a_run_makes_all_steps(tmp_path):
  assert run(tmp_path / "endless", patience=None) == 20
  improving = lambda variables: {"loss": -float(variables["params"]["w"])}  # noqa: E731
  assert run(tmp_path / "improving", patience=1, validate=improving) == 20


def test_a_run_is_over_at_its_last_step_or_patience_evaluations_after_the_best():
  training = ml_collections.ConfigDict({"total_steps": 100, "eval_every": 10, "patience": 3})
  over = lambda step, best: early_stopping.is_over(training, step, best)  # noqa: E731
  assert not over(40, None) and not over(40, 20) and over(50, 20) and over(100, 100)
