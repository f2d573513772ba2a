"""Programs: python -m launch.train, launch.evaluate, launch.predict, ..."""

import sys

from dlx import exits

if sys.argv[0] == "-m":  # Python is looking for a program, and will import what it needs.
  exits.handle_interrupts(lambda *_: exits.end_immediately())
