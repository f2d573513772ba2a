"""Comparison of runs: names, differing keys, the table, the curves."""

import io
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


def write(folder, config, *lines):
  folder.mkdir()
  (folder / "config.json").write_text(json.dumps(config))
  (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  return folder


def rows(runs):
  file = io.StringIO()
  Console(file=file).print(comparison.table(runs, "loss"))
  return [line.split() for line in file.getvalue().splitlines()]


def test_brackets_in_values_are_shown_and_nothing_is_cut(tmp_path):
  values = ("/data/[old]/" + "long" * 20 + ".txt", "/data/[/new]/b.txt")
  line = {"step": 1, "validation/loss": 1.0}
  folders = [write(tmp_path / n, {"data": {"text": v}}, line) for n, v in zip("ab", values)]
  found = rows(comparison.read(folders))
  for name, value in zip("ab", values):
    assert [name, value, "1", "1.0000"] in found


@pytest.mark.filterwarnings("error")
def test_a_validation_that_is_null_is_shown_as_nan_and_is_no_point(tmp_path):
  lines = ({"step": 1, "validation/loss": 1.5}, {"step": 2, "validation/loss": None})
  one = write(tmp_path / "one", {"seed": 0}, {"step": 1, "loss": 2.0}, *lines)
  all_nan = write(tmp_path / "two", {"seed": 1}, {"step": 1, "loss": 3.0}, lines[1])
  runs = comparison.read([one, all_nan])
  assert [run.points("validation/loss") for run in runs] == [[(1, 1.5)], []]
  found = rows(runs)
  assert ["one", "0", "2", "nan"] in found and ["two", "1", "2", "nan"] in found
  comparison.draw(tmp_path / "loss.png", runs, "loss")
  nans = ({"step": step, "loss": None} for step in range(2, 9))
  late = write(tmp_path / "late", {"seed": 2}, {"step": 1, "loss": 2.0}, *nans)
  comparison.draw(tmp_path / "loss.png", comparison.read([all_nan, late]), "loss")
  comparison.draw(tmp_path / "loss.png", comparison.read([late]), "loss")


def test_a_metric_without_a_finite_value_is_refused(tmp_path):
  line = {"step": 1, "validation/loss": None}
  runs = comparison.read([write(tmp_path / n, {"seed": 0}, line) for n in "ab"])
  with pytest.raises(UserError, match="^metric: loss is not finite in any line of these runs$"):
    comparison.draw(tmp_path / "loss.png", runs, "loss")


@pytest.mark.filterwarnings("error")
def test_names_of_runs_are_drawn_as_they_are(tmp_path, monkeypatch):
  """The legend has them all, `_old` and the invalid formula among them."""
  drawn = []
  monkeypatch.setattr(comparison.figures, "save", lambda figure, path: drawn.append(figure))
  names = ("_old", "$\\frac$", "a_b")
  line = {"step": 1, "loss": 1.0}
  runs = comparison.read([write(tmp_path / name, {"seed": 0}, line) for name in names])
  comparison.draw(tmp_path / "loss.png", runs, "loss")
  drawn[0].savefig(tmp_path / "loss.png")
  legend = drawn[0].axes[0].get_legend().get_texts()
  assert [text.get_text() for text in legend] == list(names)
