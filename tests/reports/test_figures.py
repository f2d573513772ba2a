"""Figures, compared as pixels where their content is simple."""

import time
import warnings

from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
import numpy as np
import pytest

from dlx.reports import figures


def pixels_of(figure, tmp_path):
  return image.imread(figures.save(figure, tmp_path / "figure.png"))[..., :3]


def centers(pixels, columns):
  """The colors in the middle of each of the tiles of one row."""
  middle = pixels[pixels.shape[0] // 2]
  return [middle[round((i + 0.5) * len(middle) / columns)] for i in range(columns)]


def test_filters_are_scaled_one_by_one_and_zero_is_gray(tmp_path):
  kernel = np.zeros((2, 2, 3, 3))
  kernel[..., 0] = 1e-3  # White, since it is the largest element of its filter.
  kernel[..., 1] = -5
  found = centers(pixels_of(figures.filters(kernel), tmp_path), 3)
  np.testing.assert_allclose(found, np.full((3, 3), [[1], [0], [0.5]]), atol=0.01)


@pytest.mark.parametrize("images, options", [
    ([np.full((4, 4), v, np.uint8) for v in (0, 51, 255)], {}),
    ([np.full((4, 4, 1), v, np.float32) for v in (0, 0.2, 1)], {}),
    ([np.full((4, 4, 3), v) for v in (-1, -0.6, 1)], {"value_range": (-1, 1)}),
    ([np.full((4, 4, 3), v) for v in (-7.0, 0.2, 7.0)], {}),  # Values outside are clipped.
], ids=["uint8", "gray", "range", "clipped"])  # fmt: skip
def test_images_are_shown_on_one_scale(tmp_path, images, options):
  found = centers(pixels_of(figures.image_grid(images, **options), tmp_path), 3)
  np.testing.assert_allclose(found, np.full((3, 3), [[0], [0.2], [1]]), atol=0.01)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_grid_shows_every_image_once_below_its_title(tmp_path, count):
  images = [np.full((16, 16, 3), (0, 100, i), np.uint8) for i in range(count)]
  grid = figures.image_grid(images, columns=4, titles=[f"title {i}\ntwo" for i in range(count)])
  (axes,) = grid.axes
  pixels = (255 * pixels_of(grid, tmp_path)).round().astype(int)
  seen = {tuple(color) for color in pixels.reshape(-1, 3) if color[1] == 100 and color[0] == 0}
  assert seen == {(0, 100, i) for i in range(count)}
  renderer = FigureCanvasAgg(grid).get_renderer()
  box = lambda text: text.get_window_extent(renderer)  # noqa: E731
  for i, title in enumerate(axes.texts):
    assert title.get_text() == f"title {i}\ntwo"
    ys, xs = np.nonzero((pixels == images[i][0, 0]).all(-1))
    ys = len(pixels) - ys  # Text is measured from the bottom.
    assert xs.min() < (box(title).x0 + box(title).x1) / 2 < xs.max()
    assert ys.max() <= box(title).y0 and box(title).y1 <= len(pixels) + 1
  bottom = [box(title).y0 for title in axes.texts]
  assert len({round(y) for y in bottom}) == -(-count // 4)


def test_a_confusion_matrix_shows_every_count_and_the_accuracy():
  matrix = np.array([[5, 1, 0], [0, 3, 0], [2, 0, 9]])
  (axes,) = figures.confusion_matrix(matrix, ("a", "b", "c")).axes
  shown = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text()
           for t in axes.texts}  # fmt: skip
  assert shown == {ij: str(n) for ij, n in np.ndenumerate(matrix) if n}
  assert axes.get_title() == "accuracy 85.00%\n20 examples"
  assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]


def test_the_title_of_a_confusion_matrix_of_two_classes_is_not_cut_off():
  figure = figures.confusion_matrix(np.diag([11_594, 11_356]), ("negative", "positive"))
  figure.draw_without_rendering()
  title = figure.axes[0].title.get_window_extent()
  assert figure.bbox.x0 <= title.x0 and title.x1 <= figure.bbox.x1


def test_image_errors_are_the_most_confident_first():
  images = np.zeros((3, 4, 4, 3), np.uint8)
  probabilities = np.array([[0.4, 0.6], [0.9, 0.1], [0.2, 0.8]])
  labels = np.array([0, 0, 0])
  grid = figures.image_errors(images, labels, probabilities, ("cat", "dog"))
  titles = [text.get_text() for text in grid.axes[0].texts]
  assert titles == ["dog 80%\ntrue: cat", "dog 60%\ntrue: cat"]


@pytest.mark.full
def test_a_confusion_matrix_of_a_thousand_classes_is_bounded(tmp_path):
  matrix = np.eye(1000, dtype=int) * 3
  matrix[700, 200] = 3
  start = time.process_time()
  figure = figures.confusion_matrix(matrix, [f"class {i}" for i in range(1000)])
  pixels = pixels_of(figure, tmp_path)
  assert time.process_time() - start < 10
  assert max(pixels.shape) < 4000 and not figure.axes[0].texts
  names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
  assert len(names) == 40 and names[:2] == ["class 0", "class 25"]
  red = (pixels[..., 0] > 0.3) & (pixels[..., 1] < 0.2)  # The one kind of error.
  assert red.any() and red.sum() < 100


@pytest.mark.parametrize("count", [1, 2, 40, 41])
def test_counts_are_written_up_to_forty_classes(count):
  classes = [f"c{i}" for i in range(count)]
  (axes,) = figures.confusion_matrix(np.eye(count, dtype=int), classes).axes
  assert len(axes.texts) == (count if count <= 40 else 0)
  names = [label.get_text() for label in axes.get_xticklabels()]
  assert names == (classes if count <= 40 else classes[::2])


def figures_of_names(names):
  """Each figure that shows class names, with those names."""
  probabilities, labels = np.eye(2)[[1, 0]], np.array([0, 1])
  yield figures.confusion_matrix(np.eye(2, dtype=int), names)
  yield figures.image_errors(np.zeros((2, 4, 4, 3), np.uint8), labels, probabilities, names)
  yield figures.scatter(np.zeros((2, 2)), labels, names)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("names", [("_a", "$x^2$"), ("$\\frac$", "US$ b_c")])
def test_names_are_drawn_as_they_are(tmp_path, names):
  for i, figure in enumerate(figures_of_names(names)):
    figures.save(figure, tmp_path / f"{i}.png")  # An invalid formula would raise.
    texts = [t for t in figure.findobj(Text) if any(name in t.get_text() for name in names)]
    assert len(texts) >= 2 and not any(t.get_parse_math() for t in texts)
    for name in names:
      assert any(name in t.get_text() for t in texts)


def test_letters_that_fonts_lack_are_one_warning(tmp_path):
  for figure in figures_of_names(("\U00013080\U00013081", "\U00013082\U00013083")):
    with pytest.warns(UserWarning) as caught:
      path = figures.save(figure, tmp_path / "names.png")
    assert [str(w.message) for w in caught] == [
        "names.png: letters that matplotlib's fonts lack are drawn as boxes"
    ]
    assert path.stat().st_size > 1000
    assert caught[0].filename == __file__


def test_other_warnings_of_a_figure_are_kept(tmp_path):
  figure = figures.figure(2, 2)
  figure.subplots().set_xlabel("x")
  figure.savefig = lambda *_, **__: warnings.warn("another", RuntimeWarning, stacklevel=1)
  with pytest.warns(RuntimeWarning, match="another"):
    figures.save(figure, tmp_path / "figure.png")


def test_forecasts_that_diverge_leave_the_series_readable(tmp_path):
  values = np.array([1.0, 3, 2, 1])
  panels = {"$exact": values, "free": np.array([1, 1e30, np.inf, np.nan])}
  figure = figures.forecasts(values, panels)
  assert pixels_of(figure, tmp_path).std() > 0
  assert [axes.get_title() for axes in figure.axes] == list(panels)
  for axes, found in zip(figure.axes, panels.values(), strict=True):
    assert axes.get_ylim() == (0.5, 3.5)
    assert [line.get_ydata().tolist() for line in axes.lines[:1]] == [values.tolist()]
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), found)
