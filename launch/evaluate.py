"""Evaluates a run on a split of its data.

  python -m launch.evaluate --workdir=DIR [--split=validation] [--checkpoint=best]
"""

from absl import flags

from launch.cli import program

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Folder of the run.")
flags.DEFINE_string("split", "validation", "Split of its data, or a sum such as validation+test.")
flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "Which checkpoint.")


def main() -> None:
  """Prints one metric a line."""
  import dlx
  from dlx import doctor
  from dlx.runs import object_storage

  run = dlx.load_run(program.required("workdir"), checkpoint=FLAGS.checkpoint)
  doctor.check()
  print(f"{run.workdir}: step {run.step} ({FLAGS.checkpoint}), split {FLAGS.split}")
  for name, value in run.experiment.evaluate(run, FLAGS.split).items():
    print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value:,}")
  object_storage.put(run.workdir)


if __name__ == "__main__":
  program.run(main)
