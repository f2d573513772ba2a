"""The contract of an experiment: splits of the data, and the defaults of a task."""

import numpy as np
import pytest

from dlx.experiment import Data, Loss, Task

DATA = Data(
    train={"x": np.arange(3), "name": np.array(["a", "b", "c"], object)},
    validation={"x": np.arange(3, 5), "name": np.array(["d", "e"], object)},
)


def test_a_split_is_the_data_of_its_name():
  assert DATA.split("train") is DATA.train
  assert DATA.split("validation") is DATA.validation


def test_a_sum_of_splits_is_their_concatenation_in_order():
  joined = DATA.split("validation+train")
  np.testing.assert_array_equal(joined["x"], [3, 4, 0, 1, 2])
  assert joined["name"].tolist() == ["d", "e", "a", "b", "c"]


@pytest.mark.parametrize("name", ["tests", "", "train+", "train,validation", "assets"])
def test_an_unknown_split_is_refused_with_the_known_ones(name):
  with pytest.raises(ValueError, match="split: expected train, validation, test or a sum"):
    DATA.split(name)


@pytest.mark.parametrize("name", ["test", "validation+test"])
def test_a_split_without_examples_is_refused(name):
  with pytest.raises(ValueError, match="split: this experiment has no test examples"):
    DATA.split(name)


def test_all_fields_but_the_first_may_be_omitted():
  assert Data() == ({}, {}, {}, {}, None, None)
  assert Loss(1.0) == (1.0, {}, {})
  task = Task(init_fn=dict)
  assert (task.best, task.unit, task.training_only) == ("loss", "nats", ())
  assert {value for value in task[1:] if callable(value)} == set()
