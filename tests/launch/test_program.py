"""How every program starts: its output."""

import os
import subprocess
import sys

import programs as programs_lib
import pytest

PRINT = """
import sys
from launch.cli import program
sys.argv = ["program"]
program.run(lambda: print("tr\\xe8s bon, caf\\udce9"))
"""


@pytest.mark.parametrize("encoding, printed", [
    ("ascii", b"tr\\xe8s bon, caf\\udce9"), ("utf-8", b"tr\xc3\xa8s bon, caf\\udce9"),
])  # fmt: skip
def test_what_the_encoding_of_the_output_lacks_is_escaped(encoding, printed):
  done = subprocess.run(
      [sys.executable, "-c", PRINT], capture_output=True, cwd=programs_lib.ROOT,
      env={**os.environ, "PYTHONIOENCODING": encoding},
  )  # fmt: skip
  assert (done.returncode, done.stdout.strip()) == (0, printed), done
