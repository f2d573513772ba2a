"""Evaluates a run on a split of its data; writes figures of that split to the run's folder.

  python -m launch.evaluate --workdir=DIR [--split=validation] [--checkpoint=best]
"""

from absl import flags

from dlx import malloc
from launch.cli import opened, program

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  opened.define_flags()
  flags.adopt_module_key_flags(opened)
  flags.DEFINE_string("split", "validation", "Split of its data, or a sum such as validation+test.")


def main() -> None:
  """Prints one metric per line."""
  from dlx.runs import object_storage
  from dlx.training.evaluation import evaluate_run
  from dlx.training.train import write_reports

  run = opened.opened_run()
  print(f"{run.workdir}: step {run.step} ({FLAGS.checkpoint}), split {FLAGS.split}", flush=True)
  metrics, figures = evaluate_run(run, FLAGS.split)
  for name, value in metrics.items():
    print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value:,}")
  write_reports(run.workdir, figures)
  object_storage.upload(run.workdir)


if __name__ == "__main__":
  malloc.restart()
  program.run(main, define_flags)
