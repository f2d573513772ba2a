"""Training curves are a function of metrics.jsonl."""

import json
import math

from matplotlib import image
import numpy as np
import pytest

from dlx.reports import curves


def draw(workdir, lines, **options):
  workdir.mkdir(exist_ok=True)
  (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  path = curves.draw(workdir, **options)
  assert path.parent == workdir and path.suffix == ".png"
  return image.imread(path)


TRAINING = [{"step": step, "loss": 4.0 / step} for step in range(1, 20)]
VALIDATION = [{"step": step, "validation/loss": 5.0 / step + 0.2} for step in (5, 10, 15)]


@pytest.mark.full
@pytest.mark.parametrize(
    "lines",
    [TRAINING + VALIDATION, TRAINING, VALIDATION, TRAINING[:1], TRAINING[:1] + VALIDATION[:1]],
    ids=["both", "training", "validation", "one", "one_of_each"],
)
def test_any_lines_can_be_drawn(tmp_path, lines):
  pixels = draw(tmp_path, lines, unit="nats")
  assert pixels.shape[0] > 300 and pixels.shape[1] > 500
  assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 10


@pytest.mark.filterwarnings("error")
def test_a_run_without_lines_can_be_drawn(tmp_path):
  draw(tmp_path, [])


def test_the_figure_is_a_function_of_the_lines(tmp_path):
  first = draw(tmp_path / "first", TRAINING + VALIDATION)
  again = draw(tmp_path / "again", TRAINING + VALIDATION)
  np.testing.assert_array_equal(first, again)
  changed = [dict(line) for line in TRAINING + VALIDATION]
  changed[-1]["validation/loss"] += 0.3
  assert (draw(tmp_path / "changed", changed) != first).any()
  assert (draw(tmp_path / "without", TRAINING) != first).any()


def test_other_metrics_have_files_of_their_own(tmp_path):
  lines = [{**line, "error": line["step"] % 3} for line in TRAINING]
  assert (draw(tmp_path, lines, metric="error") != draw(tmp_path, lines)).any()
  assert sorted(path.name for path in tmp_path.glob("*.png")) == ["curves.png", "error.png"]


def test_the_marked_value_is_the_minimum_or_the_maximum(tmp_path):
  lines = [{"step": i, "validation/accuracy": a} for i, a in enumerate((0.2, 0.9, 0.8))]
  assert (draw(tmp_path, lines, metric="accuracy") != draw(
      tmp_path, lines, metric="accuracy", maximize=True
  )).any()  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value, maximize", [
    (math.nan, False), (math.nan, True), (math.inf, True), (-math.inf, False),
])  # fmt: skip
def test_a_value_that_is_not_finite_is_a_gap_and_never_the_best(tmp_path, value, maximize):
  key = "validation/loss"
  others = [{"step": step, key: 2.0 + step} for step in (2, 3)]
  lines = [*TRAINING, {"step": 1, key: value}, *others]
  metric_lines = [*lines, {"step": 20, "loss": value}]
  found = draw(tmp_path / "gap", metric_lines, maximize=maximize)
  expected = draw(tmp_path / "without", [*TRAINING, *others], maximize=maximize)
  np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("training", [TRAINING, [], [{"step": 1, "loss": math.nan}]])
def test_a_run_whose_validations_are_all_nan_can_be_drawn(tmp_path, training):
  draw(tmp_path, training + [{"step": step, "validation/loss": math.nan} for step in (5, 10)])
@pytest.mark.parametrize("steps, label", [
    ((1, 2, 3), "training"), ((7,), "training"), ((10, 20, 30), "training, means of 10 steps"),
    ((10, 15, 25), "training, means of 5 to 10 steps"),
])  # fmt: skip
def test_the_legend_says_that_points_are_means(tmp_path, monkeypatch, steps, label):
  drawn = []
  monkeypatch.setattr(curves.figures, "save", lambda figure, path: drawn.append(figure) or path)
  lines = [{"step": step, "loss": 1.0 / step} for step in steps]
  (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  curves.draw(tmp_path)
  (text,) = drawn[0].axes[0].get_legend().get_texts()
  assert text.get_text() == label
