"""Classifies files with a run's model.

  python -m launch.predict --workdir=DIR [--top=3] [--checkpoint=best] image.png ...
"""

from absl import flags

from launch import command

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Folder of the run.")
flags.DEFINE_integer("top", 3, "How many classes to print, the likeliest first.")
flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "Which checkpoint.")


def main(*paths: str) -> None:
  """Prints each file with its likeliest classes."""
  import dlx
  from dlx import doctor
  from dlx.errors import UserError

  if not paths:
    raise UserError("no file is named; for example: launch.predict --workdir=DIR image.png")
  if FLAGS.top < 1:
    raise UserError(f"--top={FLAGS.top}: expected at least 1")
  run = dlx.load_run(command.required("workdir"), checkpoint=FLAGS.checkpoint)
  doctor.check()
  if not hasattr(run.experiment, "predict"):
    raise UserError(f"{run.config.experiment} does not predict")
  for path, classes in run.experiment.predict(run, paths, FLAGS.top):
    print(f"{path}: " + ", ".join(f"{name} {share:.1%}" for name, share in classes))


if __name__ == "__main__":
  command.run(main, positional=True)
