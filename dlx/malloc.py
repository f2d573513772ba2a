"""Memory that a program keeps and takes in pages of 2 MiB, for training on a CPU.

A training step takes gigabytes and returns them, and the C library passes both on to the
kernel, which hands them out anew a page of 4 KiB at a time, each cleared first. On a
virtual machine whose host takes back what is free that can take half as long as the step
again. With these settings memory is the process's until it ends, and comes in huge pages.
`GLIBC_TUNABLES= python -m benchmarks.resnet` shows the times without.
"""

import os
import sys

VARIABLE = "GLIBC_TUNABLES"
SETTINGS = {
    "glibc.malloc.hugetlb": 1,  # ask for huge pages
    "glibc.malloc.mmap_max": 0,  # large blocks come from the heap, too, ...
    "glibc.malloc.trim_threshold": 2**40,  # ... whose end stays however much of it is free,
    "glibc.malloc.arena_max": 1,  # and there is one heap for all threads: others are small.
}


def restart() -> None:
  """Starts `python -m PROGRAM` over with these settings of malloc, on Linux.

  glibc reads its settings once, as the process begins, so the process takes itself over
  (its id stays) while nothing but this is imported yet. Nothing happens where the user has
  set GLIBC_TUNABLES (to nothing, too), on other systems, and to any other process that
  imports this.

  Source: the GNU C Library manual, "Memory Allocation Tunables"; the Linux kernel's
    documentation of transparent huge pages.
  """
  if VARIABLE in os.environ or sys.argv[:1] != ["-m"]:  # Python is looking for the module.
    return
  if sys.platform != "linux":
    return
  os.environ[VARIABLE] = ":".join(f"{name}={value}" for name, value in SETTINGS.items())
  os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
