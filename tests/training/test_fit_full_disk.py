"""A disk that is full in the middle of training."""

import os
import pathlib
import subprocess
import sys

FULL_DISK = """
import os, resource, signal, sys
import jax, jax.numpy as jnp, ml_collections, optax
from dlx.errors import UserError
from dlx.training import fit, state as states

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # A write beyond the limit is then an error.
config = ml_collections.ConfigDict({
    "total_steps": 40, "steps_per_call": 5, "eval_every": 40, "save_every": 10, "keep": 2,
    "fsdp": 1, "ema_decay": None, "profile": None,
})
optimizer = optax.sgd(0.1)

def init():
  return states.create({"w": jax.random.normal(jax.random.key(0), (500_000,))}, optimizer)

def loss(params, variables, batch, rng):
  return jnp.sum(params["w"] ** 2) / 2, ({}, variables)

def train():
  return fit.fit(
      sys.argv[1], config, seed=0, init=init, loss_fn=loss, validate=validate,
      batch_fn=lambda data, step, rng: data, data=jnp.zeros((1,)), optimizer=optimizer,
  )

def validate(state):
  return {"loss": float(jnp.sum(state.params["w"] ** 2))}

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


def test_a_full_disk_is_one_line_and_costs_no_checkpoint(tmp_path):
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
