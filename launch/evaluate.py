"""Evaluates a run on a split of its data; writes figures of that split to the run's folder.

  python -m launch.evaluate --workdir=DIR [--split=validation] [--checkpoint=best] [--json]
"""

from absl import flags

from dlx import malloc
from launch.cli import opened, output, program

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  opened.define_flags()
  flags.adopt_module_key_flags(opened)
  flags.DEFINE_string("split", "validation", "Split of its data, or a sum such as validation+test.")
  output.define_flag()


def main() -> None:
  """Prints one metric per line, or all as JSON."""
  from dlx.distributed import processes
  from dlx.runs import object_storage
  from dlx.training.evaluation import evaluate_run
  from dlx.training.train import write_reports

  run = opened.opened_run()
  workdir = object_storage.with_addresses(str(run.workdir))
  if not FLAGS.json:
    print(f"{workdir}: step {run.step} ({FLAGS.checkpoint}), split {FLAGS.split}", flush=True)
  metrics, figures = evaluate_run(run, FLAGS.split)
  if FLAGS.json:
    about = {"workdir": workdir, "step": int(run.step), "checkpoint": FLAGS.checkpoint}
    output.print_json({**about, "split": FLAGS.split, "metrics": metrics})
  for name, value in {} if FLAGS.json else metrics.items():
    print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value:,}")
  try:
    write_reports(run.workdir, figures)
    object_storage.upload(run.workdir)
  except OSError as e:  # A stranger's run, or a read-only copy.
    processes.notice(f"the figures cannot be written to {workdir}: {e.strerror}")


if __name__ == "__main__":
  malloc.restart()
  program.run(main, define_flags)
