"""The trials of a sweep."""

import math

import pytest

from dlx.errors import UserError
from launch.cli import search_space


def test_a_grid_has_every_combination_in_order():
  found = search_space.make(["a.rate=1e-3,3e-3", "seed=0,1"])
  assert found == [
      {"a.rate": rate, "seed": seed} for rate in ("1e-3", "3e-3") for seed in ("0", "1")
  ]
  assert [search_space.name(p) for p in found][:2] == ["rate=1e-3,seed=0", "rate=1e-3,seed=1"]


def test_names_keep_the_sections_of_keys_with_the_same_last_part():
  assert search_space.name({"a.x": "1", "b.x": "2", "y": "p/q"}) == "a.x=1,b.x=2,y=p_q"


def test_draws_depend_on_the_seed_and_stay_when_there_are_more():
  few, many, other = (
      search_space.make([], ["x=1,2"], ["y=1e-4,1e-1"], count=count, seed=seed)
      for count, seed in ((3, 0), (400, 0), (3, 1))
  )
  assert few == many[:3] and few != other
  xs, ys = ([float(point[key]) for point in many] for key in "xy")
  assert 1 <= min(xs) < 1.02 and 1.98 < max(xs) <= 2 and abs(sum(xs) / 400 - 1.5) < 0.05
  assert 1e-4 <= min(ys) and max(ys) <= 1e-1
  assert abs(sum(math.log10(y) for y in ys) / 400 + 2.5) < 0.15


def test_draws_are_made_for_each_combination_of_the_grid():
  found = search_space.make(["seed=0,1"], ["x=1,2"], count=2)
  assert [p["seed"] for p in found] == ["0", "0", "1", "1"]
  assert found[0]["x"] == found[2]["x"] != found[1]["x"]


@pytest.mark.parametrize("arguments, message", [
    (([],), "nothing varies"),
    ((["a"],), "--grid=a is not KEY=VALUE"),
    ((["a="],), "--grid=a= is not KEY=VALUE"),
    ((["a=1", "a=2"],), "a is given twice"),
    ((["a=1"], ["a=1,2"]), "a is given twice"),
    (([], ["a=1"]), "--uniform=a=1 is not KEY=LOW,HIGH"),
    (([], ["a=1,x"]), "is not KEY=LOW,HIGH"),
    (([], ["a=2,1"]), "LOW must be below HIGH"),
    (([], [], ["a=0,1"]), "LOW must be above 0"),
])  # fmt: skip
def test_arguments_that_make_no_sweep_are_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    search_space.make(*arguments)
  with pytest.raises(UserError, match="--count=0"):
    search_space.make(["a=1"], count=0)
