"""Memory in pages of 2 MiB instead of 4 KiB, for programs that train on a CPU.

A training step takes and returns gigabytes, and the kernel hands them out a page at a
time, each cleared first. `GLIBC_TUNABLES=glibc.malloc.hugetlb=0 python -m benchmarks.resnet`
shows the times without.
"""

import os
import pathlib
import sys

VARIABLE, VALUE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
MODE = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart(mode: pathlib.Path = MODE) -> None:
  """Starts `python -m PROGRAM` over with huge pages, where they must be asked for.

  glibc reads its settings once, as the process begins, so the process takes itself over
  (its id stays) while nothing but this is imported yet. Nothing happens where the user has
  set GLIBC_TUNABLES, where the kernel gives huge pages to all or to none, on other
  systems, and to any other process that imports this.

  Args:
    mode: the file in which Linux says who gets huge pages.

  Source: the GNU C Library manual, "Memory Allocation Tunables"; the Linux kernel's
    documentation of transparent huge pages.
  """
  if VARIABLE in os.environ or sys.argv[:1] != ["-m"]:  # Python is looking for the module.
    return
  if not mode.is_file() or "[madvise]" not in mode.read_text():
    return
  os.environ[VARIABLE] = VALUE
  os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
