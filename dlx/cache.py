"""The cache folder that programs share, outside of runs; it may be deleted at any time."""

import os
import pathlib

COMPILED_BYTES = 2 * 2**30  # The least recently used entries are removed above this.


def folder() -> pathlib.Path:
  """$XDG_CACHE_HOME/dlx, by default ~/.cache/dlx."""
  return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dlx"


def keep_compiled() -> None:
  """Enables jax's compilation cache, in `folder() / "compiled"`.

  jax caches programs that take more than a second to compile. Call this before jax is
  imported. Variables that the user has set take precedence: JAX_COMPILATION_CACHE_DIR,
  JAX_COMPILATION_CACHE_MAX_SIZE (bytes), and JAX_ENABLE_COMPILATION_CACHE=false, which
  disables the cache.
  """
  if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder() / "compiled")
    # Not for a folder of the user: jax cannot bound a cache that unbounded processes write to.
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(COMPILED_BYTES))
  # XLA logs an error for each program that it loads on a CPU, even on the one that compiled
  # it: the features listed include tuning choices that no processor reports.
  level = "TF_CPP_MIN_LOG_LEVEL"
  if os.environ.get(level, "1") == "1":  # 1 is jax's own choice, inherited from a parent process.
    os.environ[level] = "3"
