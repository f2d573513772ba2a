"""Checks the hand-derived gradients on this machine and explains them.

  python -m dlx.gradcheck [--markdown] [NAME]

Without NAME, prints a table of all rules: formula, largest error against jax.vjp and
against central differences, time and memory relative to jax's own gradient. With the
NAME of a family (attention) or of a function (attention.weights), prints its derivation,
its source, a small numeric example, and whether the checks find mutants of the rule.
"""

import argparse
import sys

from dlx import exits
from dlx.errors import UserError


def main(argv: list[str] | None = None) -> int:
  """Prints the table or the explanation; returns the exit code."""
  parser = argparse.ArgumentParser(
      prog="python -m dlx.gradcheck",
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("name", nargs="?", help="a family or a function; default: all")
  parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
  arguments = parser.parse_args(argv)
  # Imported late, so that --help is fast.
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
  return 0


if __name__ == "__main__":
  sys.exit(exits.code_of(main))
