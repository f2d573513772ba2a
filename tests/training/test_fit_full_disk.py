"""A disk that becomes full during training."""

import os
import pathlib
import subprocess
import sys

FULL_DISK = """
import logging, os, resource, signal, sys
import jax, jax.numpy as jnp, ml_collections, optax
from dlx.errors import UserError
from dlx.experiment import Data, Loss, Task
from dlx.training import fit, sharding

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # A write beyond the limit is then an error.
logging.getLogger("absl").setLevel(logging.CRITICAL)  # As launch.cli.program does.
config = ml_collections.ConfigDict({
    "total_steps": 40, "steps_per_execution": 5, "eval_every": 40, "save_every": 10,
    "max_to_keep": 2, "ema_decay": None,
})
mesh = sharding.make_mesh()

def loss_fn(variables, batch, rng):
  return Loss(jnp.sum(variables["params"]["w"] ** 2) / 2)

def validate(variables):
  return {"loss": float(jnp.sum(variables["params"]["w"] ** 2))}

task = Task(
    lambda rng, data: {"params": {"w": jax.random.normal(rng, (500_000,))}}, loss_fn,
    batch_fn=lambda train, step, rngs: train, optimizer=optax.sgd(0.1),
)

def train():
  program = fit.make_program(task, config, 0, mesh)
  return fit.fit(sys.argv[1], config, program, Data(), mesh, validate=validate)

config.total_steps = 20
train()
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
for config.total_steps in (30, 40):  # The save of the last step fails, and one before it.
  try:
    train()
    print("no error")
  except UserError as e:
    print("UserError:", e)
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
print("kept:", sorted(name for name in os.listdir(sys.argv[1] + "/checkpoints") if name.isdigit()))
state = train()
print("then:", int(state.step), float(jnp.abs(state.params["w"]).max()) < 0.2)
"""


def test_a_full_disk_is_reported_in_one_line_and_loses_no_checkpoint(tmp_path):
  done = subprocess.run(
      [sys.executable, "-c", FULL_DISK, str(tmp_path)],
      capture_output=True, text=True, cwd=pathlib.Path(__file__).resolve().parents[2],
      env={**os.environ, "JAX_PLATFORMS": "cpu"}, timeout=120,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  *errors, kept, then = done.stdout.splitlines()
  assert len(errors) == 2
  for error in errors:
    assert error.startswith("UserError:") and "cannot be written" in error and "resumes" in error
  assert kept == "kept: ['10', '20']"
  assert then == "then: 40 True"
  assert "Traceback" not in done.stderr and "resuming from step 20" in done.stderr
