"""Comparison of runs: names, differing keys, the table, the curves."""

import json

from matplotlib import image
import pytest
from rich.console import Console

from dlx.errors import UserError
from dlx.reports import comparison


@pytest.fixture
def runs(tmp_path):
  """Two runs, the second without a validation so far."""
  for name, rate, lines in (
      ("a/one", 0.1, [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0},
                      {"step": 2, "validation/loss": 2.5, "validation/accuracy": 0.25}]),
      ("b/two", 0.2, [{"step": 1, "loss": 4.0}]),
  ):  # fmt: skip
    folder = tmp_path / name
    folder.mkdir(parents=True)
    config = {"seed": 0, "optimizer": {"learning_rate": rate}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  return comparison.read([tmp_path / "a/one", tmp_path / "b/two"])


def test_runs_are_named_relative_to_their_common_folder(runs):
  assert [run.name for run in runs] == ["a/one", "b/two"]
  assert runs[0].points("loss") == [(1, 3.0), (2, 2.0)]


def test_a_folder_that_is_not_a_run_is_refused(tmp_path):
  with pytest.raises(UserError, match="is not a run"):
    comparison.read([tmp_path])


def test_the_table_has_differing_keys_and_the_last_validation(runs):
  assert comparison.differing(runs) == ["optimizer.learning_rate"]
  console = Console(width=200)
  with console.capture() as captured:
    console.print(comparison.table(runs, "accuracy"))
  rows = [line.split() for line in captured.get().splitlines()]
  assert ["a/one", "0.1", "2", "0.2500", "2.5000"] in rows  # The metric that was named first.
  assert ["b/two", "0.2", "1", "-", "-"] in rows


def test_curves_of_all_runs_are_drawn(runs, tmp_path):
  comparison.draw(tmp_path / "loss.png", runs, "loss")
  comparison.draw(tmp_path / "one.png", runs[:1], "loss")
  both, one = (image.imread(tmp_path / f"{name}.png") for name in ("loss", "one"))
  assert (both != one).any()


def test_an_unknown_metric_is_refused_with_the_known_ones(runs, tmp_path):
  known = "loss, validation/accuracy, validation/loss"
  with pytest.raises(UserError, match=f"metric: expected one of {known}, got 'los'"):
    comparison.draw(tmp_path / "los.png", runs, "los")
