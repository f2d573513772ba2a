"""Trains a config with many values: a grid, random draws, or both.

  python -m launch.sweep --config=FILE:PRESET [--config.KEY=VALUE ...] --workdir=DIR
      --grid=optimizer.learning_rate=1e-3,3e-3 --grid=seed=0,1,2
      [--log_uniform=optimizer.weight_decay=1e-3,1 --count=8] [--jobs=1]
      [--metric=loss] [--best=min] [--dry_run]

Each run is a folder below --workdir, named by its values. The same command resumes the sweep. It
writes sweep.csv, sorted by the best validation value of each run, and sweep.png.

  --through="launch.clusters.slurm --gpus_per_node=1 --submit"

submits each run as a job (launch.clusters.slurm, launch.clusters.kubernetes, or
"launch.clusters.tpu run") instead, once; the same command later shows the finished ones.
"""

import csv
import pathlib
import shlex
import signal
import subprocess
import sys
import time

from absl import flags

from dlx import paths as dlx_paths
from dlx.errors import UserError
from launch.cli import configs, paths, program, search_space

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  paths.define("workdir", None, "Required: the folder of the runs.")
  flags.DEFINE_multi_string("grid", [], "KEY=VALUE,VALUE,...; all combinations are run.")
  flags.DEFINE_multi_string("uniform", [], "KEY=LOW,HIGH; uniform draws.")
  flags.DEFINE_multi_string("log_uniform", [], "KEY=LOW,HIGH; uniform draws of the logarithm.")
  flags.DEFINE_integer("count", 1, "Number of draws, for each combination of the grid.")
  flags.DEFINE_integer("draw_seed", 0, "Seed of the draws.")
  flags.DEFINE_integer("jobs", 1, "Number of runs at a time.", lower_bound=1)
  flags.DEFINE_string("through", None, "A cluster launcher with its flags, which submits the runs.")
  flags.DEFINE_string("metric", "loss", "The validation metric that sorts the runs.")
  flags.DEFINE_enum("best", "min", ["min", "max"], "Whether less or more is better.")
  flags.DEFINE_bool("dry_run", False, "Print the commands instead of running them.")


def commands(root: pathlib.Path, trials: list[dict[str, str]], own: list[str]):
  """[(folder, command)] of every trial.

  Raises:
    UserError: a key is unknown, a value has the wrong type, two trials have the same name,
      or the name of one is too long.
  """
  found = []
  for trial in trials:
    values = [f"--config.{key}={value}" for key, value in trial.items()]
    kept = [flag for flag in own if flag.partition("=")[0].removeprefix("--config.") not in trial]
    configs.check_flags(["sweep", *kept, *values])
    folder = root / search_space.name(trial)
    dlx_paths.expand(_log(folder))
    if any(folder == other for other, _ in found):
      raise UserError(f"{folder.name} occurs twice; the values of a key must differ")
    train = [*kept, *values, f"--workdir={folder}"]
    program = [*shlex.split(FLAGS.through), "--"] if FLAGS.through else ["launch.train"]
    found.append((folder, [sys.executable, "-m", *program, *train]))
  return found


def is_done(folder: pathlib.Path) -> bool:
  """Whether a run has ended and validated its last step."""
  from dlx import presets
  from dlx.runs import metric_log
  from dlx.runs import workdir as workdirs
  from dlx.runs.checkpoints import Checkpoints
  from dlx.training import early_stopping

  lines = metric_log.read_run(folder)
  if not lines or "loss" in lines[-1]:
    return False
  steps_per_epoch = workdirs.read_data(folder)["steps_per_epoch"]
  config = presets.in_steps(workdirs.read_config(folder), steps_per_epoch)
  with Checkpoints(folder / "checkpoints", read_only=True) as saved:
    return early_stopping.is_over(config.training, lines[-1]["step"], saved.best)


def run_all(jobs: list[tuple[pathlib.Path, list[str]]], at_once: int) -> dict[str, str]:
  """Runs the commands, `at_once` at a time; returns {name of a failed run: its last line}.

  Signals are passed on, so that every run saves.
  """
  from dlx.training.signals import Preempted, Preemption

  waiting, running, failed = list(jobs), {}, {}
  with Preemption() as preemption:
    while waiting or running:
      if preemption.received:
        waiting.clear()
        for process in running:
          process.send_signal(signal.SIGTERM)
      while waiting and len(running) < at_once:
        folder, train = waiting.pop(0)
        with _log(folder).open("a") as log:
          # In its own session: Ctrl-C reaches it through this program, once.
          process = subprocess.Popen(train, stdout=log, stderr=log, start_new_session=True)
        running[process] = folder
        print(f"{folder.name}: started", flush=True)
      time.sleep(0.2)
      for process in [p for p in running if p.poll() is not None]:
        folder, state = running.pop(process), "done"
        if preemption.received:
          state = "stopped"
        elif process.returncode:
          state = failed[folder.name] = _last_line(_log(folder))
        print(f"{folder.name}: {state}", flush=True)
    if preemption.received:
      raise Preempted("every run has saved; the same command resumes", preemption.received)
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


def main(config) -> None:
  """Runs the sweep, and shows its table."""
  del config  # Each trial parses the same flags with its own values.
  root = pathlib.Path(program.required("workdir"))
  own = [a for a in sys.argv[1:] if a.startswith(("--config=", "--config."))]
  trials = search_space.make(
      FLAGS.grid, FLAGS.uniform, FLAGS.log_uniform, count=FLAGS.count, seed=FLAGS.draw_seed
  )
  jobs = commands(root, trials, own)
  if FLAGS.dry_run:
    print("\n".join(shlex.join(["python", *train[1:]]) for _, train in jobs))
    return
  try:
    root.mkdir(parents=True, exist_ok=True)
  except OSError as e:
    raise UserError(f"--workdir={root} cannot be written: {e.strerror}") from None
  waiting = [job for job in jobs if not is_done(job[0])]
  if FLAGS.through:  # Submitted jobs have a log of the submission here.
    waiting = [job for job in waiting if not _log(job[0]).exists()]
  failed = run_all(waiting, FLAGS.jobs)
  if FLAGS.through:
    for name in failed:  # It was not submitted.
      _log(root / name).unlink()
    print(f"{len(waiting) - len(failed)} submitted; the same command shows the finished runs")
  _show(root, [folder for folder, _ in jobs if folder.name not in failed], list(trials[0]))
  if failed:
    raise UserError(
        f"{len(failed)} of {len(jobs)} runs failed: "
        + "; ".join(f"{name}: {line}" for name, line in failed.items())
    )


def _show(root: pathlib.Path, folders: list[pathlib.Path], keys: list[str]) -> None:
  from rich.console import Console

  from dlx.reports import comparison, tables

  folders = [folder for folder in folders if (folder / "config.json").exists()]
  if not folders:
    return
  runs = comparison.read(folders)
  best = {"min": min, "max": max}[FLAGS.best]
  rows = write_table(root / "sweep.csv", runs, keys, FLAGS.metric, best)
  comparison.draw(root / "sweep.png", runs, FLAGS.metric)
  shown = tables.Table(*(rows[0] if rows else []))
  for row in rows:
    shown.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
  Console(highlight=False).print(shown)
  print(f"{root / 'sweep.csv'} and {root / 'sweep.png'} are written")


if __name__ == "__main__":
  program.run(main, define_flags, with_config=True)
