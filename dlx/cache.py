"""What programs keep for one another outside of runs; all of it may be deleted."""

import os
import pathlib

COMPILED_BYTES = 2 * 2**30  # The least recently used programs make room.


def folder() -> pathlib.Path:
  """$XDG_CACHE_HOME/dlx, by default ~/.cache/dlx."""
  return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dlx"


def keep_compiled() -> None:
  """Lets jax keep what takes it more than a second to compile, in `folder() / "compiled"`.

  To be called before jax is imported, by a program. jax's own variables come first:
  JAX_COMPILATION_CACHE_DIR, JAX_COMPILATION_CACHE_MAX_SIZE (bytes), and
  JAX_ENABLE_COMPILATION_CACHE=false for none.
  """
  os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder() / "compiled"))
  os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(COMPILED_BYTES))
  # XLA logs an error for each program it loads on a CPU, though it was compiled there: the
  # features that it lists include tuning choices that no processor reports.
  level = "TF_CPP_MIN_LOG_LEVEL"
  if os.environ.get(level, "1") == "1":  # Which is jax's own choice, inherited from a parent.
    os.environ[level] = "3"
