"""Trains one config with many values: a grid, random draws, or both.

  python -m launch.sweep --config=FILE:PRESET [--config.KEY=VALUE ...] --workdir=DIR
      --grid=optimizer.learning_rate=1e-3,3e-3 --grid=seed=0,1,2
      [--log_uniform=optimizer.weight_decay=1e-3,1 --count=8] [--jobs=1]
      [--metric=loss] [--best=min] [--dry_run]

Each run is a folder below --workdir, and launch.train with the values in its name; the
same command goes on where it stopped. At the end there are sweep.csv, sorted by the best
validation value of each run, and sweep.png.

  --through="launch.clusters.slurm --gpus_per_node=1 --submit"

gives each run to a launcher of jobs (launch.clusters.slurm, launch.clusters.kubernetes, launch.clusters.tpu run)
instead, once; the same command later shows those that have finished.
"""

import csv
import pathlib
import shlex
import signal
import subprocess
import sys
import time

from absl import flags

from launch.cli import program

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Folder of the runs.")
flags.DEFINE_multi_string("grid", [], "KEY=VALUE,VALUE,...; all combinations are run.")
flags.DEFINE_multi_string("uniform", [], "KEY=LOW,HIGH; numbers drawn between the two.")
flags.DEFINE_multi_string("log_uniform", [], "KEY=LOW,HIGH; their logarithms are drawn.")
flags.DEFINE_integer("count", 1, "How many draws, for each combination of the grid.")
flags.DEFINE_integer("draw_seed", 0, "Of the draws.")
flags.DEFINE_integer("jobs", 1, "How many runs at a time.", lower_bound=1)
flags.DEFINE_string("through", None, "A launcher of jobs with its flags, which gets the runs.")
flags.DEFINE_string("metric", "loss", "The validation metric that sorts the runs.")
flags.DEFINE_enum("best", "min", ["min", "max"], "What is good.")
flags.DEFINE_bool("dry_run", False, "Print the commands, and run nothing.")


def commands(root: pathlib.Path, points: list[dict[str, str]], own: list[str]):
  """[(folder, command)] of every point.

  Raises:
    UserError: a key is unknown, a value is of the wrong type, or two points have one name.
  """
  from dlx.errors import UserError
  from launch.cli import configs
  from launch.cli import search_space as points_lib

  found = []
  for point in points:
    values = [f"--config.{key}={value}" for key, value in point.items()]
    configs.check_flags(["sweep", *own, *values])
    folder = root / points_lib.name(point)
    if any(folder == other for other, _ in found):
      raise UserError(f"{folder.name} comes twice; the values of a key must differ")
    train = [*own, *values, f"--workdir={folder}"]
    program = [*shlex.split(FLAGS.through), "--"] if FLAGS.through else ["launch.train"]
    found.append((folder, [sys.executable, "-m", *program, *train]))
  return found


def is_done(folder: pathlib.Path, total_steps: int) -> bool:
  """Whether a run has reached its last step and validated it."""
  from dlx.runs import metric_log

  lines = metric_log.read(folder / metric_log.METRICS)
  return bool(lines) and lines[-1]["step"] >= total_steps and "loss" not in lines[-1]


def run_all(jobs: list[tuple[pathlib.Path, list[str]]], at_once: int) -> dict[str, str]:
  """Runs the commands, some at a time; {name of a run that failed: its last line}.

  A signal is passed on, so that every run saves.
  """
  from dlx.training.signals import Interrupted, Interrupts

  waiting, running, failed = list(jobs), {}, {}
  with Interrupts() as interrupts:
    while waiting or running:
      if interrupts.received:
        waiting.clear()
        for process in running:
          process.send_signal(signal.SIGTERM)
      while waiting and len(running) < at_once:
        folder, train = waiting.pop(0)
        with _log(folder).open("a") as log:
          # In a group of its own: a Ctrl-C in the terminal comes from here alone, once.
          process = subprocess.Popen(train, stdout=log, stderr=log, start_new_session=True)
        running[process] = folder
        print(f"{folder.name}: started", flush=True)
      time.sleep(0.2)
      for process in [p for p in running if p.poll() is not None]:
        folder, state = running.pop(process), "done"
        if interrupts.received:
          state = "stopped"
        elif process.returncode:
          state = failed[folder.name] = _last_line(_log(folder))
        print(f"{folder.name}: {state}", flush=True)
    if interrupts.received:
      raise Interrupted("every run has saved; the same command resumes", interrupts.received)
  return failed


def _log(folder: pathlib.Path) -> pathlib.Path:
  return folder.with_name(folder.name + ".log")


def _last_line(path: pathlib.Path) -> str:
  lines = path.read_text(errors="replace").replace("\r", "\n").split("\n")
  return next((line for line in reversed(lines) if line.strip()), "no output")


def write_table(path: pathlib.Path, runs: list, keys: list[str], metric: str, best) -> list[dict]:
  """Writes sweep.csv, the best run first, and returns its rows."""
  key, rows = f"validation/{metric}", []
  for run in runs:
    if points := run.points(key):
      step, value = best(points, key=lambda point: point[1])
      rows.append({"run": run.name, **{k: run.config[k] for k in keys}, "step": step, key: value})
  rows.sort(key=lambda row: row[key], reverse=best is max)
  with path.open("w", newline="") as file:
    writer = csv.DictWriter(file, ["run", *keys, "step", key])
    writer.writeheader()
    writer.writerows(rows)
  return rows


def main() -> None:
  """Runs the sweep, and shows its table."""
  from dlx.errors import UserError
  from launch.cli import search_space as points_lib

  root = pathlib.Path(program.required("workdir"))
  own = [a for a in sys.argv[1:] if a.startswith(("--config=", "--config."))]
  points = points_lib.make(
      FLAGS.grid, FLAGS.uniform, FLAGS.log_uniform, count=FLAGS.count, seed=FLAGS.draw_seed
  )
  jobs = commands(root, points, own)
  if FLAGS.dry_run:
    print("\n".join(shlex.join(["python", *train[1:]]) for _, train in jobs))
    return
  total_steps = FLAGS.config.training.total_steps
  try:
    root.mkdir(parents=True, exist_ok=True)
  except OSError as e:
    raise UserError(f"--workdir={root} cannot be written: {e.strerror}") from None
  waiting = [job for job in jobs if not is_done(job[0], total_steps)]
  if FLAGS.through:  # A job that was handed over has a log of that here.
    waiting = [job for job in waiting if not _log(job[0]).exists()]
  failed = run_all(waiting, FLAGS.jobs)
  if FLAGS.through:
    for name in failed:  # It was not handed over.
      _log(root / name).unlink()
    print(f"{len(waiting) - len(failed)} handed over; the same command shows what has finished")
  _show(root, [folder for folder, _ in jobs if folder.name not in failed], list(points[0]))
  if failed:
    raise UserError(
        f"{len(failed)} of {len(jobs)} runs failed: "
        + "; ".join(f"{name}: {line}" for name, line in failed.items())
    )


def _show(root: pathlib.Path, folders: list[pathlib.Path], keys: list[str]) -> None:
  from rich import box
  from rich.console import Console
  from rich.table import Table

  from dlx.reports import comparison

  folders = [folder for folder in folders if (folder / "config.json").exists()]
  if not folders:
    return
  runs = comparison.read(folders)
  best = {"min": min, "max": max}[FLAGS.best]
  rows = write_table(root / "sweep.csv", runs, keys, FLAGS.metric, best)
  comparison.draw(root / "sweep.png", runs, FLAGS.metric)
  shown = Table(*(rows[0] if rows else []), box=box.SIMPLE)
  for row in rows:
    shown.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
  Console(highlight=False).print(shown)
  print(f"{root / 'sweep.csv'} and {root / 'sweep.png'} are written")


if __name__ == "__main__":
  program.run(main, with_config=True)
