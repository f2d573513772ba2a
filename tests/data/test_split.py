"""Validation examples are drawn reproducibly and not trained on."""

import numpy as np
import pytest

from dlx.data import images, split
from dlx.errors import UserError

DATA = images.shapes(60, size=8)


@pytest.mark.parametrize("count", [0, 1, 20, 59])
def test_a_validation_split_and_the_rest_partition_the_data(count):
  train, validation = split.train_validation_split(DATA, count, seed=1)
  assert len(train) == 60 - count and len(validation) == count
  both = np.concatenate([train.images, validation.images])
  assert len(np.unique(both.reshape(60, -1), axis=0)) == 60


def test_a_validation_split_is_random_and_reproducible():
  validation = split.train_validation_split(DATA, 20, seed=1)[1]
  assert set(validation.labels) == {0, 1, 2}
  again = split.train_validation_split(DATA, 20, seed=1)[1]
  np.testing.assert_array_equal(again.images, validation.images)
  other = split.train_validation_split(DATA, 20, seed=2)[1]
  assert (other.images != validation.images).any()


@pytest.mark.parametrize("count", [-1, 60, 61])
def test_a_count_without_training_examples_is_refused(count):
  message = f"num_validation: expected 0 <= num_validation < 60, got {count}$"
  with pytest.raises(UserError, match=message):
    split.train_validation_split(DATA, count)
