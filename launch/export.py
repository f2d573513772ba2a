"""Writes a run's parameters to one safetensors file, with config and vocabulary as JSON.

  python -m launch.export --workdir=DIR --output=DIR [--checkpoint=best]

launch.evaluate and launch.sample take the exported folder as --workdir, too.
"""

from absl import flags

from launch.cli import program

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Folder of the run.")
flags.DEFINE_string("output", None, "Folder to write, new or empty.")
flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "Which checkpoint.")


def main() -> None:
  """Exports."""
  import dlx
  from dlx.runs import export

  output = program.required("output")
  run = dlx.load_run(program.required("workdir"), checkpoint=FLAGS.checkpoint)
  print(f"{export.export(run, output)}: step {run.step}")


if __name__ == "__main__":
  program.run(main)
