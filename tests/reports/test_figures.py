"""The picture of a run."""

import json

from matplotlib import image
import numpy as np
import pytest

from dlx.reports import figures


def draw(workdir, lines, **options):
  workdir.mkdir(exist_ok=True)
  (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  path = figures.curves(workdir, **options)
  assert path == workdir / "curves.png"
  return image.imread(path)


TRAINING = [{"step": step, "loss": 4.0 / step} for step in range(1, 20)]
VALIDATION = [{"step": step, "validation/loss": 5.0 / step + 0.2} for step in (5, 10, 15)]


@pytest.mark.parametrize(
    "lines",
    [TRAINING + VALIDATION, TRAINING, VALIDATION, TRAINING[:1], TRAINING[:1] + VALIDATION[:1]],
    ids=["both", "training", "validation", "one", "one_of_each"],
)
def test_a_picture_comes_of_any_lines(tmp_path, lines):
  pixels = draw(tmp_path, lines, unit="nats")
  assert pixels.shape[0] > 300 and pixels.shape[1] > 500
  assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 10


@pytest.mark.filterwarnings("ignore:No artists with labels")
def test_a_picture_comes_of_no_lines(tmp_path):
  draw(tmp_path, [])


def test_the_picture_is_a_function_of_the_lines(tmp_path):
  first = draw(tmp_path / "first", TRAINING + VALIDATION)
  again = draw(tmp_path / "again", TRAINING + VALIDATION)
  np.testing.assert_array_equal(first, again)
  changed = [dict(line) for line in TRAINING + VALIDATION]
  changed[-1]["validation/loss"] += 0.3
  assert (draw(tmp_path / "changed", changed) != first).any()
  assert (draw(tmp_path / "without", TRAINING) != first).any()


def test_another_metric_is_another_picture(tmp_path):
  lines = [{**line, "error": line["step"] % 3} for line in TRAINING]
  assert (draw(tmp_path, lines, metric="error") != draw(tmp_path, lines)).any()


def test_the_best_accuracy_is_the_largest(tmp_path):
  lines = [{"step": i, "validation/accuracy": a} for i, a in enumerate((0.2, 0.9, 0.8))]
  assert (draw(tmp_path, lines, metric="accuracy") != draw(
      tmp_path, lines, metric="accuracy", best=max
  )).any()  # fmt: skip


def test_filters_are_tiles_of_their_own_scale_with_zero_as_grey(tmp_path):
  kernel = np.zeros((2, 2, 3, 3))
  kernel[..., 0] = 1e-3  # As bright as can be, whatever its size.
  kernel[..., 1] = -5
  figures.filters(tmp_path / "filters.png", kernel)
  pixels = image.imread(tmp_path / "filters.png")[..., :3]
  middle = pixels[pixels.shape[0] // 2]
  found = [middle[round((i + 0.5) * len(middle) / 3)] for i in range(3)]
  np.testing.assert_allclose(found, np.full((3, 3), [[1], [0], [0.5]]), atol=0.01)
