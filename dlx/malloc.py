"""glibc malloc settings for training on a CPU: huge pages, and no memory returned early.

A training step allocates and frees gigabytes. By default the C library returns them to the
kernel, which then supplies them again in pages of 4 KiB, each zeroed first. On a virtual
machine whose host reclaims free memory, this can add half of a step's time. With these
settings a process keeps its memory until it exits, in pages of 2 MiB.
`GLIBC_TUNABLES= python -m benchmarks.resnet` measures the times without them.
"""

import contextlib
import os
import sys

VARIABLE = "GLIBC_TUNABLES"
SETTINGS = {
    "glibc.malloc.hugetlb": 1,  # Ask for huge pages.
    "glibc.malloc.mmap_max": 0,  # Allocate large blocks on the heap, too, ...
    "glibc.malloc.trim_threshold": 2**40,  # ... never shrink it, however much of it is free,
    "glibc.malloc.arena_max": 1,  # and share one heap among all threads: others are small.
}


def restart() -> None:
  """Restarts the running `python -m PROGRAM` with these settings of malloc, on Linux.

  glibc reads its settings only when a process starts, so the process replaces itself with
  the same command (and keeps its id). A program calls this first in its main function.

  Nothing happens if GLIBC_TUNABLES is set, even to the empty string (so a program restarts
  once at most); on other systems; under a debugger, which would lose its breakpoints, or
  coverage; and unless `python -m` started a module of the caller's
  package: a test, a notebook or a script that calls a main function is not restarted.

  Source: the GNU C Library manual, "Memory Allocation Tunables"; the Linux kernel's
    documentation of transparent huge pages.
  """
  if VARIABLE in os.environ or sys.platform != "linux" or sys.gettrace() is not None:
    return
  started = getattr(sys.modules["__main__"], "__spec__", None)  # None without -m.
  caller = sys._getframe(1).f_globals.get("__package__")
  if started is None or not caller or started.name.split(".")[0] != caller.split(".")[0]:
    return
  os.environ[VARIABLE] = ":".join(f"{name}={value}" for name, value in SETTINGS.items())
  with contextlib.suppress(OSError):  # A wrapped or moved interpreter: continue without them.
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
