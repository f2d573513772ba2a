"""Mixes language models: weights fitted on validation, and perplexities with and without them.

  python -m launch.mixture [--split=test] [--json] DIR DIR ...

The runs have one vocabulary and predict the same tokens: the same data and data.eval_seq_len.
"""

from absl import flags

from dlx import malloc
from dlx.errors import UserError
from launch.cli import output, program

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  flags.DEFINE_string("split", "test", "Split of their data, or a sum such as validation+test.")
  output.define_flag()


def main(*workdirs: str) -> None:
  """Prints a line for each run, and one for the mixture; or all as JSON."""
  import dlx
  from dlx import doctor
  from dlx.training import mixture

  if len(workdirs) < 2:
    raise UserError("name two runs or more: launch.mixture DIR DIR ...")
  runs = [dlx.load_run(workdir) for workdir in workdirs]
  doctor.check()
  for row in mixture.evaluate(runs, FLAGS.split):
    if FLAGS.json:
      output.print_json({"split": FLAGS.split, **row})
      continue
    numbers = {name: value for name, value in row.items() if name not in ("name", "tokens")}
    shown = [f"{name} {value:.4f}" for name, value in numbers.items()]
    print(f"{row['name']}: {', '.join(shown)}")


if __name__ == "__main__":
  malloc.restart()
  program.run(main, define_flags, positional=True)
