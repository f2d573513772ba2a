"""Programs: python -m launch.train, launch.evaluate, launch.predict, ..."""

import sys


def _without_traceback(kind, error, trace) -> None:
  if issubclass(kind, KeyboardInterrupt):  # Python then ends itself with SIGINT, as shells expect.
    print("stopped", file=sys.stderr)
  else:
    sys.__excepthook__(kind, error, trace)


if sys.argv[0] == "-m":  # Python is looking for a program: until it runs, Ctrl-C has no handler.
  sys.excepthook = _without_traceback
