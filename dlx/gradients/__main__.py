"""Shows the hand-derived rules, checked on this machine.

  python -m dlx.gradients [--markdown] [NAME]

Without NAME, a table of all rules: formula, worst error against jax.vjp and against
central differences, time and memory beside jax's own gradient. With the NAME of a
family (attention) or of a function (attention.weights), its derivation, its source, a
small numeric example, and which planted mistakes the checks find.
"""

import argparse
import sys

from dlx.errors import UserError


def main(argv: list[str] | None = None) -> int:
  """Prints the table or the explanation; returns the exit code."""
  parser = argparse.ArgumentParser(
      prog="python -m dlx.gradients",
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("name", nargs="?", help="a family or a function; all when left out")
  parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
  arguments = parser.parse_args(argv)
  # Imported after --help so that it answers quickly.
  from dlx.gradcheck import case, report

  cases = case.all_cases()
  try:
    if arguments.name is None or arguments.markdown:
      chosen = cases if arguments.name is None else report.find(cases, arguments.name)
      report.table(chosen, markdown=arguments.markdown)
    else:
      for one in report.find(cases, arguments.name):
        report.explain(one)
  except UserError as e:
    print(e, file=sys.stderr)
    return 2
  except BrokenPipeError:  # Output piped into `head`.
    sys.stdout = None
  return 0


if __name__ == "__main__":
  sys.exit(main())
