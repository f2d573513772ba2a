"""Vectors of tables, images and generated points: splits, statistics, lines, bad input."""

import json

import numpy as np
import pytest

from dlx import presets
from dlx.data import points, schema, vectors
from dlx.errors import UserError
from experiments.linear_models import config as configs


def options_of(**changes):
  changes = {"num_validation": 6, **changes}
  return configs.get_config("points", {f"data.{k}": v for k, v in changes.items()}).data


ROWS = [(i, 10 - i * i, ("low", "high")[i % 2], 0.5 * i) for i in range(40)]


def write(tmp_path, rows=ROWS, header="a,b,kind,y", name="x.csv"):
  path = tmp_path / name
  path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
  return str(path)


def test_a_table_is_split_and_standardized_by_its_training_split(tmp_path):
  options = options_of(file=write(tmp_path), target="kind", features="b, a")
  data = vectors.load(options, "classification")
  assert [len(split["labels"]) for split in data[:3]] == [30, 6, 4]
  assert data.assets["features"] == ["b", "a"] and data.assets["classes"] == ["high", "low"]
  every = np.concatenate([split["inputs"] for split in data[:3]])
  values = schema.of(data.assets).values(every)
  order = np.argsort(values[:, 1])
  np.testing.assert_allclose(values[order], [[b, a] for a, b, *_ in ROWS], atol=1e-4)
  labels = np.concatenate([split["labels"] for split in data[:3]])[order]
  assert [data.assets["classes"][k] for k in labels] == [kind for _, _, kind, _ in ROWS]
  np.testing.assert_allclose(data.train["inputs"].mean(0), 0, atol=1e-6)
  np.testing.assert_allclose(data.train["inputs"].std(0), 1, atol=1e-6)
  assert data.train["inputs"].dtype == np.float32 and labels.dtype == np.int32
  changed = [(100 * a, b, kind, y) for a, b, kind, y in ROWS]
  again = vectors.load(
      options_of(file=write(tmp_path, changed), target="kind", features="b, a"),
      "classification", data.assets,
  )  # fmt: skip
  assert again.assets is data.assets  # Of an opened run nothing is computed again.
  rows = schema.of(data.assets).values(again.train["inputs"])
  np.testing.assert_allclose(rows[:, 1], 100 * schema.of(data.assets).values(
      data.train["inputs"])[:, 1], atol=1e-2)  # fmt: skip


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_numbers_to_predict_and_all_other_columns(tmp_path, name):
  rows = [(a, b, y) for a, b, _, y in ROWS]
  file = write(tmp_path, rows, "a,b,y")
  if name == "x.jsonl":
    lines = [json.dumps(dict(zip("aby", row))) for row in rows]
    file = str(tmp_path / name)
    (tmp_path / name).write_text("\n".join(lines))
  data = vectors.load(options_of(file=file, target="y"), "regression")
  known = schema.of(data.assets)
  assert known.features == ["a", "b"] and known.classes is None
  np.testing.assert_allclose(data.train["targets"].std(), 1, rtol=1e-6)
  for split in data[:3]:
    a = known.values(split["inputs"])[:, 0]
    np.testing.assert_allclose(known.numbers(split["targets"]), 0.5 * a, atol=1e-4)
  found = [known.read([line])["inputs"] for line in
           ("a=3,b=1", ' b = 1, a=3.0', '{"b": 1, "a": "3"}', "3, 1")]  # fmt: skip
  assert all((x == found[0]).all() for x in found)
  np.testing.assert_allclose(known.values(found[0]), [[3, 1]], atol=1e-3)


def test_other_separators_and_an_index_without_a_name(tmp_path):
  rows = [(i, a, kind) for i, (a, _, kind, _) in enumerate(ROWS)]
  path = tmp_path / "x.csv"
  path.write_text("\n".join([";a;kind", *(";".join(map(str, row)) for row in rows)]))
  data = vectors.load(options_of(file=str(path), target="kind"), "classification")
  assert data.assets["features"] == ["a"]


CLASSES = {"target": "kind", "features": "a"}


def changed(row, column, value):
  rows = [list(r) for r in ROWS]
  rows[row][column] = value
  return rows


@pytest.mark.parametrize("rows, changes, task, message", [
    (ROWS, {"target": "price"}, "regression", "has no column 'price'; it has a, b, kind, y"),
    (ROWS, {"target": "kind"}, "regression", "row 1: expected a number as kind, .* got 'low'"),
    (ROWS, {"target": "y"}, "classification", "row 1: expected a number as kind, .* got 'low'"),
    (changed(2, 3, ""), {"target": "y", "features": "a"}, "regression", "row 3 has no y"),
    (changed(2, 3, "nan"), {"target": "y", "features": "a"}, "regression", "row 3 has no y"),
    (changed(2, 2, " "), CLASSES, "classification", "row 3 has no kind"),
    (changed(4, 0, ""), CLASSES, "classification",
     "row 5 has no a; fill in the value, or remove the row or the column"),
    (changed(4, 0, "inf"), CLASSES, "classification", "got 'inf'"),
    ([(1, b, k, y) for _, b, k, y in ROWS], {"target": "kind", "features": "a,b"},
     "classification", "'a' is constant: its 30 training values are 1"),
    ([(a, b, k, 7) for a, b, k, _ in ROWS], {"target": "y", "features": "a"}, "regression",
     "'the target' is constant"),
    ([(a, b, "one", y) for a, b, _, y in ROWS], CLASSES,
     "classification", "at least two classes, got 1"),
    (ROWS, {"target": "kind", "features": "a,c"}, "classification", "has no column 'c'"),
    (ROWS, {"target": "kind", "features": "a,kind"}, "classification", "contain the target"),
    (ROWS, {"target": "kind", "features": "a,a"}, "classification", "one of them twice"),
    (ROWS[:5], CLASSES, "classification", "expected 0 <= num_valid"),
    (ROWS[:8], CLASSES, "classification", "the test split has no rows"),
    (changed(4, 0, "1e300"), CLASSES, "classification", "overflows|far"),
])  # fmt: skip
def test_a_table_that_cannot_be_used_is_refused_in_one_line(tmp_path, rows, changes, task, message):
  with pytest.raises(UserError, match=message) as refused:
    vectors.load(options_of(file=write(tmp_path, rows), **changes), task)
  assert "\n" not in str(refused.value)


def test_columns_of_one_name_are_refused(tmp_path):
  file = write(tmp_path, [(i, -i, i % 2) for i in range(30)], "a,a,kind")
  with pytest.raises(UserError, match="has 2 columns named 'a'; rename all but one"):
    vectors.load(options_of(file=file, target="kind"), "classification")


def test_a_table_of_nothing_but_targets_is_refused(tmp_path):
  file = write(tmp_path, [(i % 2,) for i in range(30)], "kind")
  with pytest.raises(UserError, match="no column besides 'kind'"):
    vectors.load(options_of(file=file, target="kind"), "classification")


@pytest.mark.parametrize("line, message", [
    ("a=3", "has no b; expected a=1.5,b=1.5"), ("a=3,b=x", "expected a number as b"),
    ("a=3,b=1,c=2", "'c', which is no feature"), ("1,2,3", "2 numbers between commas, a,b"),
    ('{"a": 1', "is not valid JSON"), ('{"a": 1, "b": null}', "has no b"), ("", "2 numbers"),
])  # fmt: skip
def test_a_line_that_is_no_row_is_refused(line, message):
  known = schema.of({
      "features": ["a", "b"], "mean": np.zeros(2), "scale": np.ones(2), "classes": ["x", "y"],
  })  # fmt: skip
  with pytest.raises(UserError, match=message):
    known.read([line])


def test_images_are_pixels_less_the_mean_image():
  options = configs.get_config("debug").data
  data = vectors.load(options, "classification")
  known = schema.of(data.assets)
  assert data.train["inputs"].shape == (384, 64) and known.shape == [8, 8, 1]
  np.testing.assert_allclose(data.train["inputs"].mean(0), 0, atol=1e-5)
  images = known.images(data.train["inputs"])
  expected = (data.train["inputs"] + known.mean) * 255
  np.testing.assert_allclose(images.reshape(384, 64), expected, atol=1e-3)
  with pytest.raises(UserError, match="images have classes"):
    vectors.load(options, "regression")


def test_data_sets_of_the_other_task_are_refused():
  with pytest.raises(UserError, match="points has classes, which do not fit regression"):
    vectors.load(options_of(), "regression")
  with pytest.raises(UserError, match="curve has numbers to predict"):
    vectors.load(options_of(dataset="curve"), "classification")


@pytest.mark.parametrize("name", points.SETS)
def test_generated_sets_are_what_they_are_said_to_be(name):
  x, y = points.generate(name, 600)
  other = points.generate(name, 600, seed=1)[0]
  assert x.shape == (600, 1 if name == "curve" else 2) and (x != other).any()
  if name == "curve":
    noise = y - np.sin(2 * np.pi * x[:, 0])
    assert 0 <= x.min() < x.max() <= 1 and noise.std() == pytest.approx(0.3, rel=0.1)
    return
  assert len(set(np.bincount(y))) == 1 and len(set(y)) == (3 if name == "points" else 2)
  if name == "xor":
    assert ((x[:, 0] * x[:, 1] > 0) == (y == 1)).all() and np.abs(x).min() >= 0.1
  if name == "separable":
    distance = (x - 0.5) @ [0.6, 0.8]
    assert ((distance > 0) == (y == 1)).all() and np.abs(distance).min() >= 0.2
  if name == "rings":
    assert ((np.linalg.norm(x, axis=1) > 1.1) == (y == 1)).all()


def test_the_rule_of_two_sources():
  config = configs.get_config("debug", {"data.file": "a.csv", "data.images": "b"})
  with pytest.raises(UserError, match="both replace the dataset"):
    presets.check(config)
