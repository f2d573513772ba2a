"""Checks this machine: package versions, devices, and the results of compiled code.

  python -m dlx.doctor

prints the environment and one line per check. The exit code is 0, or 2 after one line on
stderr that names the problem and the package to install.

A compiler can be silently wrong: jax 0.10.2 miscompiles some reductions on CPU (jax issue
39103). So every run starts with `check`, which compares a few compiled computations with
numpy in float64.
"""

from collections.abc import Callable
from importlib import metadata
import os
import platform
import sys

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from dlx import exits
from dlx.errors import UserError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
WORKING_JAX = '"jax>=0.10.1,!=0.10.2,!=0.11.0,!=0.11.1"'

# The largest error allowed, relative to the largest value. Float32 rounding in the checks
# stays below 2e-6; the miscompilation of jax 0.10.2 is at 1e-2.
TOLERANCE = 2e-5


def _sum_of_squares(x):
  """(32769, 3) -> (32769,): sum((I r)^2) of each row r, as in jax issue 39103."""
  return jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2))(x)


def _recurrence(x):
  """(T, D) -> (T, D): h_t = tanh(h_{t-1} / 2 + x_t), h_0 = 0."""

  def step(h, x_t):
    h = jnp.tanh(h / 2 + x_t)
    return h, h

  return lax.scan(step, jnp.zeros_like(x[0]), x)[1]


def _recurrence_in_numpy(x):
  h, hs = np.zeros_like(x[0]), []
  for x_t in x:
    h = np.tanh(h / 2 + x_t)
    hs.append(h)
  return np.stack(hs)


# name: (compiled function of x, reference in numpy, shape of x)
CHECKS: dict[str, tuple[Callable, Callable, tuple[int, ...]]] = {
    "sum of squares": (jax.jit(_sum_of_squares), lambda x: (x**2).sum(-1), (32769, 3)),
    "matrix product": (jax.jit(lambda x: x @ x.T), lambda x: x @ x.T, (129, 257)),
    "log-sum-exp": (
        jax.jit(lambda x: jax.nn.logsumexp(x, axis=-1)),
        lambda x: np.log(np.exp(x).sum(-1)),
        (257, 1025),
    ),
    "softmax": (
        jax.jit(lambda x: jax.nn.softmax(x, axis=-1)),
        lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
        (257, 65),
    ),
    "recurrence": (jax.jit(_recurrence), _recurrence_in_numpy, (33, 65)),
}


def check_one(name: str) -> float:
  """Runs one of CHECKS and returns max |compiled - numpy| / max |numpy|.

  Raises:
    UserError: the error is above TOLERANCE or NaN.
  """
  compiled, reference, shape = CHECKS[name]
  x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  # By default an accelerator rounds the factors of a product to fewer bits, by design.
  with jax.default_matmul_precision("highest"):
    y = np.asarray(compiled(x), np.float64)
  expected = reference(x.astype(np.float64))
  error = float(np.abs(y - expected).max() / np.abs(expected).max())
  if not error <= TOLERANCE:
    raise UserError(
        f"jax {jax.__version__} computes a wrong {name} on this machine "
        f"({jax.default_backend()}): the error is {error:.1g} relative to the largest value; "
        f"pip install {WORKING_JAX}"
    )
  return error


def check() -> None:
  """Raises UserError if this machine fails a check; otherwise quick and silent.

  It initializes jax's backend, so `jax.distributed.initialize` has to be called before it.
  """
  _versions()
  devices()
  for name in CHECKS:
    check_one(name)


def _versions() -> dict[str, str]:
  versions = {"python": platform.python_version()}
  for package in PACKAGES:
    try:
      versions[package] = metadata.version(package)
    except metadata.PackageNotFoundError:
      raise UserError(f"{package} is not installed; pip install {package}") from None
  return versions


def devices() -> dict:
  """The devices of jax: platform, kind, count and processes.

  Raises:
    UserError: there are none, as where JAX_PLATFORMS names a platform that is not here.
  """
  try:
    found = jax.devices()
  except (RuntimeError, AssertionError) as e:  # The latter for "cuda" without its plugin.
    reason = " ".join(str(e).split()) or "no plugin for it is installed"
    wanted = f" with JAX_PLATFORMS={jax.config.jax_platforms!r}" if jax.config.jax_platforms else ""
    raise UserError(
        f"jax {jax.__version__} finds no device{wanted}: {reason}; unset JAX_PLATFORMS, or install "
        f'this machine\'s extra, as in pip install -e ".[cuda]"'
    ) from None
  return {
      "platform": found[0].platform,
      "kind": found[0].device_kind,
      "count": len(found),
      "processes": jax.process_count(),
  }


def cores() -> int:
  """The number of CPU cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1  # macOS has no sched_getaffinity.


def _memory() -> int | None:
  """Bytes of main memory; None if the system does not report it."""
  try:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  except (AttributeError, OSError, ValueError):
    return None


def environment() -> dict:
  """The software and hardware of this machine, as values for JSON.

  Returns:
    versions (name: version), devices (platform, kind, count, processes), cores, and
    memory_bytes.

  Raises:
    UserError: a package is missing or jax finds no device.
  """
  return {
      "versions": _versions(),
      "devices": devices(),
      "cores": cores(),
      "memory_bytes": _memory(),
  }


def main() -> int:
  """Prints the environment and the checks; returns the exit code."""
  try:
    machine = environment()
    for package, version in machine["versions"].items():
      print(f"{package:16} {version}")
    found = machine["devices"]
    print(f"{'devices':16} {found['count']} x {found['kind']} ({found['platform']})")
    print(f"{'cores':16} {machine['cores']}")
    if machine["memory_bytes"] is not None:
      print(f"{'memory':16} {machine['memory_bytes'] / 2**30:.1f} GiB")
    for name in CHECKS:
      print(f"{name:16} passed (error {check_one(name):.0e})")
  except UserError as e:
    print(e, file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(exits.code_of(main))
