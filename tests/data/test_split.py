"""Held-out examples are drawn, the same at every call, and never trained on."""

import numpy as np
import pytest

from dlx.data import images, split
from dlx.errors import UserError


def test_a_validation_split_is_drawn_and_leaves_the_rest():
  data = images.shapes(60, size=8)
  kept, held = split.split_off(data, 20, seed=1)
  assert len(kept) == 40 and len(held) == 20
  both = np.concatenate([kept.images, held.images])
  assert len(np.unique(both.reshape(60, -1), axis=0)) == 60
  assert set(held.labels) == {0, 1, 2}, "drawn, not cut off"
  again = split.split_off(data, 20, seed=1)[1]
  np.testing.assert_array_equal(again.images, held.images)
  for count in (-1, 60):
    with pytest.raises(UserError, match=f"config.data.validation is {count}"):
      split.split_off(data, count)
