"""A sweep trains every trial once, sorts them, and resumes; runs are compared."""

import csv
import json
import os

import pytest

CONFIG = ("--config=experiments/gru_lm/config.py:debug", "--config.training.total_steps=20")
GRID = ("--grid=optimizer.learning_rate=1e-5,1e-2",)


@pytest.fixture(scope="module")
def swept(programs, tmp_path_factory):
  """(the folder of a sweep, the finished program)."""
  root = tmp_path_factory.mktemp("sweep") / "runs"
  args = (*CONFIG, *GRID, f"--workdir={root}", "--jobs=2")
  return root, programs("launch.sweep", *args, timeout=400)


@pytest.mark.full
def test_every_trial_is_trained_and_the_best_comes_first(swept):
  root, finished = swept
  assert finished.code == 0, finished
  rows = list(csv.DictReader((root / "sweep.csv").open()))
  assert [row["run"] for row in rows] == ["learning_rate=1e-2", "learning_rate=1e-5"]
  losses = [float(row["validation/loss"]) for row in rows]
  assert losses[0] < losses[1]
  for row, loss in zip(rows, losses):
    folder = root / row["run"]
    assert json.loads((folder / "config.json").read_text())["optimizer"]["learning_rate"] == float(
        row["optimizer.learning_rate"]
    )
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    assert min(line.get("validation/loss", 99) for line in lines) == loss
  assert (root / "sweep.png").read_bytes().startswith(b"\x89PNG")
  assert finished.out.index("learning_rate=1e-2  ") < finished.out.rindex("learning_rate=1e-5")


@pytest.mark.full
def test_finished_runs_are_not_trained_again(programs, swept):
  root, _ = swept
  before = {path: path.stat().st_mtime_ns for path in root.glob("*/run.json")}
  more = "--grid=optimizer.learning_rate=1e-5,1e-2,-1"
  finished = programs("launch.sweep", *CONFIG, more, f"--workdir={root}", timeout=400)
  assert {path: path.stat().st_mtime_ns for path in before} == before
  # The new trial cannot be trained; the others are shown nevertheless.
  assert finished.code == 2 and "1 of 3 runs failed: learning_rate=-1" in finished.err, finished
  assert finished.err.count("\n") == 1 and "sweep.csv" in finished.out


def test_a_dry_run_prints_the_commands(programs, tmp_path):
  args = (*CONFIG, *GRID, "--grid=seed=3", f"--workdir={tmp_path / 'runs'}", "--dry_run")
  finished = programs("launch.sweep", *args)
  lines = finished.out.splitlines()
  assert len(lines) == 2 and not (tmp_path / "runs").exists()
  assert lines[0].startswith(f"python -m launch.train {' '.join(CONFIG)} ")
  assert "--config.optimizer.learning_rate=1e-5 --config.seed=3" in lines[0]
  assert lines[0].endswith("learning_rate=1e-5,seed=3")


@pytest.mark.full
def test_runs_are_submitted_by_a_launcher_once(programs, tmp_path):
  sbatch = tmp_path / "bin" / "sbatch"
  sbatch.parent.mkdir()
  sbatch.write_text(f'#!/bin/sh\necho "$2" >> {tmp_path}/submitted\necho 7\n')
  sbatch.chmod(0o700)
  through = "--through=launch.clusters.slurm --gpus_per_node=0 --submit"
  args = (*CONFIG, *GRID, f"--workdir={tmp_path / 'runs'}", through)
  place = {"PATH": f"{sbatch.parent}:{os.environ['PATH']}", "folder": tmp_path}
  for submitted in (2, 0):
    finished = programs("launch.sweep", *args, **place)
    assert finished.code == 0 and f"{submitted} submitted" in finished.out, finished
  files = [tmp_path / name for name in (tmp_path / "submitted").read_text().split()]
  assert [path.name for path in files] == [
      "dlx-learning-rate-1e-5.sbatch", "dlx-learning-rate-1e-2.sbatch",
  ]  # fmt: skip
  for path, rate in zip(files, ("1e-5", "1e-2")):
    command = f"launch.train {' '.join(CONFIG)} --config.optimizer.learning_rate={rate} --workdir="
    assert command in path.read_text()
  # A submission that failed is tried again.
  sbatch.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
  more = (*CONFIG, "--grid=seed=1", f"--workdir={tmp_path / 'runs'}", through)
  for _ in range(2):
    finished = programs("launch.sweep", *more, **place)
    assert finished.code == 2 and "seed=1: sbatch rejected" in finished.err, finished


@pytest.mark.parametrize("args, message", [
    ((), "nothing varies"),
    (("--grid=optimiser=1",), "optimiser is not a key"),
    (("--grid=seed=a",), "seed=a is not an int"),
    (("--grid=seed=1,1",), "seed=1 occurs twice"),
])  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(programs, tmp_path, args, message):
  root = tmp_path / "runs"
  finished = programs("launch.sweep", *CONFIG, *args, f"--workdir={root}")
  assert finished.code == 2 and message in finished.err and not root.exists(), finished
  assert finished.err.count("\n") == 1


def test_runs_are_compared_in_one_figure(programs, swept, tmp_path):
  root, _ = swept
  folders = [str(root / f"learning_rate={rate}") for rate in ("1e-5", "1e-2")]
  figure = tmp_path / "both.png"
  finished = programs("launch.compare", f"--output={figure}", *folders)
  assert finished.code == 0 and figure.read_bytes().startswith(b"\x89PNG"), finished
  head, *rows = [line.split() for line in finished.out.splitlines() if "learning_rate" in line]
  assert head[:2] == ["run", "optimizer.learning_rate"]
  assert [row[:3] for row in rows] == [
      ["learning_rate=1e-5", "1e-05", "20"], ["learning_rate=1e-2", "0.01", "20"],
  ]  # fmt: skip
  for args, message in {
      (folders[0],): "name two runs or more",
      (folders[0], str(tmp_path)): "is not a run",
      ("--metric=warmth", *folders): "metric: expected one of grad_norm, loss, ",
  }.items():
    refused = programs("launch.compare", *args)
    assert refused.code == 2 and message in refused.err, refused
