"""Exports a run's variables as one safetensors file, with config and assets as JSON.

  python -m launch.export --workdir=DIR --output=DIR [--checkpoint=best]

The other programs take the exported folder as --workdir, too.
"""

from absl import flags

from launch.cli import opened, paths, program

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  opened.define_flags()
  flags.adopt_module_key_flags(opened)
  paths.define("output", None, "Required: the folder to write, new or empty.")


def main() -> None:
  """Exports."""
  from dlx.runs import export

  output = program.required("output")
  run = opened.opened_run()
  print(f"{export.export(run, output)}: step {run.step}")


if __name__ == "__main__":
  program.run(main, define_flags)
