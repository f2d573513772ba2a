"""Series: Mackey-Glass against another integration, tables, windows, statistics of training."""

import json

import numpy as np
import pytest
from scipy import integrate

from dlx.data import series
from dlx.errors import UserError
from experiments.forecasting import config as configs


def options_of(**changes):
  return configs.get_config("debug", {f"data.{k}": v for k, v in changes.items()}).data


def by_steps(tau, end):
  """x(t): an ordinary equation in each interval of length tau, given the one before."""
  parts = []
  while len(parts) * tau < end:
    before = parts[-1] if parts else lambda t: np.full(1, 1.2)
    start = len(parts) * tau

    def slope(t, x, before=before):
      delayed = before(t - tau)
      return 0.2 * delayed / (1 + delayed**10) - 0.1 * x

    first = before(start - tau) if not parts else before(start)
    solved = integrate.solve_ivp(
        slope, (start, start + tau), first, "DOP853", rtol=1e-11, atol=1e-12, dense_output=True
    )
    parts.append(solved.sol)
  return lambda t: float(parts[min(int(t // tau), len(parts) - 1)](t)[0])


@pytest.mark.parametrize("tau, interval, count", [(17, 1, 260), (17, 6, 40), (5, 3, 50)])
def test_mackey_glass_is_the_solution_by_the_method_of_steps(tau, interval, count):
  exact = by_steps(tau, interval * (count - 1) + 1)
  found = series.mackey_glass(count, tau=tau, interval=interval)
  expected = [exact(interval * i) for i in range(count)]
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
  assert found.shape == (count,) and found.dtype == np.float64


def test_mackey_glass_is_bounded_chaotic_and_any_beginning_of_itself():
  values = series.mackey_glass(1200, interval=6)
  assert (series.mackey_glass(7 * 6, interval=1)[::6] == values[:7]).all()
  settled = values[200:]
  assert 0.2 < settled.min() and settled.max() < 1.4
  # No period: the trajectory comes back near every point, and never exactly.
  pairs = np.stack([settled[:-1], settled[1:]], 1)
  distance = np.linalg.norm(pairs[100:] - pairs[0], axis=1)
  assert 0 < distance.min() < 0.05


def test_the_dataset_has_forgotten_its_start():
  values = series.from_options(options_of(num_values=50, interval=7))
  assert len(values) == 50
  assert (values == series.mackey_glass(250, interval=7)[143:193]).all()  # From 1001 on.


@pytest.mark.parametrize("name, content", [
    ("x.csv", "year,value\n1,0.5\n2,-1e3\n3, 7 \n"),
    ("x.tsv", "value\tyear\n0.5\t1\n-1000\t2\n7\t3\n"),
    ("x.csv", '"year";"value"\n1;"0.5"\n2;-1000\n3;7\n'),
    ("x.jsonl", '{"value": 0.5}\n{"value": -1000}\n{"value": "7"}\n'),
    ("x.csv", "value\n0.5\n-1000\n7\n\n \n"),  # Blank lines at the end.
    ("x.csv", "year,value\n1,0.5\n\n2,-1000\n3,7\n"),  # A blank line is no row.
])  # fmt: skip
def test_a_column_of_a_table_is_read_in_order(tmp_path, name, content):
  (tmp_path / name).write_text(content)
  assert series.read(tmp_path / name, "value").tolist() == [0.5, -1000, 7]
  assert series.parse(f"{tmp_path / name}", "value").tolist() == [0.5, -1000, 7]


@pytest.mark.parametrize("line", ["1 -2.5 3e2", "1,-2.5,300", " 1, -2.5 ,300\t"])
def test_values_of_a_line(line):
  assert series.parse(line, "value").tolist() == [1, -2.5, 300]


@pytest.mark.parametrize("name, content, message", [
    ("x.csv", "year,SUN\n1,2\n", "has no column 'value'; it has year, SUN"),
    ("x.csv", "value\n1\nsix\n3\n", "row 2: expected a number as value, .* got 'six'"),
    ("x.csv", "a;value\n1;2\n2;1,5\n", "row 2: expected a number as value, .* got '1,5'"),
    ("x.csv", "value\n1\n2\ninf\n", "row 3: expected a number as value, .* got 'inf'"),
    ("x.csv", "value\n1_000\n", "row 1: expected a number as value, .* got '1_000'"),
    ("x.csv", "a,value\n1,1\n2,\n3,1\n", "row 2 has no value; a series has no gaps"),
    ("x.csv", "a,value\n1,1\n2, \n3,\n", "row 2 has no value"),
    ("x.csv", "value\n1\nNaN\n", "row 2 has no value"),
    ("x.csv", "value\nNA\n", "row 1 has no value"),
    # As pandas writes a missing value of a table with one column, and as others do.
    ("x.csv", 'value\n1\n""\n3\n', "row 2 has no value; a series has no gaps"),
    ("x.csv", '"value"\r\n1\r\n2\r\n\r\n3\r\n', "row 3 has no value; a series has no gaps"),
    ("x.csv", "sep=;\nvalue\n1\n \n3\n", "row 2 has no value; a series has no gaps"),
    ("x.tsv", "\n\n\nvalue\n1\n\n3\n", "row 2 has no value; a series has no gaps"),
    ("x.jsonl", '{"value": 1}\n{"value": null}\n', "row 2 has no value"),
    ("x.jsonl", '{"value": 1}\n{"other": 1}\n', "row 2 has no value"),
    ("x.jsonl", '{"value": [1]}\n', "row 1: expected a string as value, got an array"),
    ("x.jsonl", '{"value": true}\n', "row 1: expected a number as value, .* got 'True'"),
    ("x.csv", "value\n", "has no rows"),
    ("x.csv", "", "Empty CSV file"),
    ("x.txt", "value\n1\n", "expected a .csv, .tsv or .jsonl file"),
])  # fmt: skip
def test_a_column_that_is_no_series_is_refused(tmp_path, name, content, message):
  (tmp_path / name).write_text(content)
  with pytest.raises(UserError, match=message) as refused:
    series.read(tmp_path / name, "value")
  assert "\n" not in str(refused.value) and str(tmp_path / name) in str(refused.value)


@pytest.mark.parametrize("line, message", [
    (" ", "no values"), (",", "no values"), ("1 two", "got 'two'"), ("1 nan", "no value"),
])  # fmt: skip
def test_a_line_without_numbers_is_refused(line, message):
  with pytest.raises(UserError, match=message):
    series.parse(line, "value")


@pytest.mark.parametrize("window, horizon", [(1, 1), (4, 1), (3, 5)])
def test_windows_end_before_their_target_and_every_target_is_in_one_split(window, horizon):
  count = 40
  parts = series.cut(count, 0.2, 0.15)
  assert [p.stop - p.start for p in parts] == [26, 8, 6]
  seen = []
  for part in parts:
    split = series.windows(np.arange(count), part, window, horizon)
    for inputs, target in zip(split["inputs"], split["targets"], strict=True):
      last = target - horizon
      assert inputs.tolist() == list(range(last - window + 1, last + 1))
      assert part.start <= target < part.stop
      seen.append(int(target))
  assert seen == list(range(window + horizon - 1, count))


def write(tmp_path, values):
  path = tmp_path / "x.csv"
  path.write_text("\n".join(["value", *map(repr, map(float, values))]) + "\n")
  return str(path)


def test_nothing_of_validation_and_test_is_in_the_training_split(tmp_path):
  rng = np.random.default_rng(0)
  values = 100 + 10 * rng.normal(size=200)
  changed = np.append(values[:140], 1e4 * rng.normal(size=60))
  one, two = (series.load(options_of(file=write(tmp_path, v))) for v in (values, changed))
  assert one.assets == two.assets
  for name, array in one.train.items():
    assert array.tobytes() == two.train[name].tobytes()
  assert not np.isin(two.test["targets"], one.test["targets"]).any()
  mean = sum(values[:140]) / 140
  std = (sum((v - mean) ** 2 for v in values[:140]) / 140) ** 0.5
  assert one.assets == pytest.approx({"mean": mean, "std": std}, rel=1e-12)
  np.testing.assert_allclose(one.test["targets"], (values[170:] - mean) / std, rtol=1e-5)
  assert one.test["targets"].dtype == one.test["inputs"].dtype == np.float32
  # Of an opened run, nothing is computed again; and JSON keeps the numbers.
  known = json.loads(json.dumps(one.assets))
  again = series.load(options_of(file=write(tmp_path, 3 * values)), known)
  assert again.assets == known
  np.testing.assert_allclose(again.test["targets"], (3 * values[170:] - mean) / std, rtol=1e-5)


@pytest.mark.parametrize("values, message", [
    (np.arange(13), r"13 values, 9 of them for training, but a window of 8 .* 2 later take 10"),
    (np.arange(3), "a window of 8"),
    (np.full(100, 0.1), "constant: its 70 training values are 0.1"),
    ([*np.full(70, 2.0), *np.arange(30)], "constant: its 70 training values are 2"),
    ([*np.arange(70), *np.full(15, 2), *range(15)], "validation split has 15 targets, all of one"),
    ([*np.arange(85), *np.full(15, 2)], "test split has 15 targets, all of one value"),
    (1e200 * np.arange(100), "overflows or underflows"),
    (1e-200 * np.arange(100), "overflows or underflows"),
    ([*np.arange(99), 1e60], "1e.60 is too far from the training values"),
])  # fmt: skip
def test_series_without_forecasts_to_measure_are_refused(tmp_path, values, message):
  with pytest.raises(UserError, match=message) as refused:
    series.load(options_of(file=write(tmp_path, values)))
  assert "\n" not in str(refused.value)


def test_the_shortest_series_has_one_training_window_more_than_none(tmp_path):
  data = series.load(options_of(file=write(tmp_path, np.arange(16.0) ** 2)))  # 12, 2 and 2.
  assert [len(split["targets"]) for split in data[:3]] == [3, 2, 2]
