"""The cache folder that programs share, outside of runs; it may be deleted at any time."""

import functools
import os
import pathlib
import sys
import tempfile

COMPILED_BYTES = 2 * 2**30  # The least recently used entries are removed above this.


def folder() -> pathlib.Path:
  """$XDG_CACHE_HOME/dlx, by default ~/.cache/dlx; of this process only where there is no home."""
  return (_of_user() or pathlib.Path(_temporary().name)) / "dlx"


def _of_user() -> pathlib.Path | None:
  try:
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
  except RuntimeError:  # No HOME, and the user is not in the system's list.
    return None


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory:
  return tempfile.TemporaryDirectory(prefix="dlx-cache-")


def keep_compiled() -> None:
  """Enables jax's compilation cache, in `folder() / "compiled"`.

  jax caches programs that take more than a second to compile. Call this before jax is
  imported. Variables that the user has set take precedence: JAX_COMPILATION_CACHE_DIR,
  JAX_COMPILATION_CACHE_MAX_SIZE (bytes), and JAX_ENABLE_COMPILATION_CACHE=false, which
  disables the cache. A folder that cannot be written gives one line on stderr and no cache.
  """
  if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compiled = folder() / "compiled"
    if not _of_user() or not _can_write(compiled):
      os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
      reason = f"{compiled} cannot be written" if _of_user() else "there is no home folder"
      print(f"{reason}: compiled programs are not kept", file=sys.stderr)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(compiled)
    # Not for a folder of the user: jax cannot bound a cache that unbounded processes write to.
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(COMPILED_BYTES))
  # XLA logs an error for each program that it loads on a CPU, even on the one that compiled
  # it: the features listed include tuning choices that no processor reports.
  level = "TF_CPP_MIN_LOG_LEVEL"
  if os.environ.get(level, "1") == "1":  # 1 is jax's own choice, inherited from a parent process.
    os.environ[level] = "3"


def _can_write(path: pathlib.Path) -> bool:
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError:
    return False
  return os.access(path, os.W_OK)
