"""Training, validation and test splits."""

from typing import Generic, NamedTuple, TypeVar

import numpy as np

from dlx.errors import UserError

T = TypeVar("T")


class Splits(NamedTuple, Generic[T]):
  """The three splits of a data set, of one type: Images or Documents, for example."""

  train: T
  validation: T
  test: T


def train_validation_split(data: T, count: int, seed: int = 0) -> tuple[T, T]:
  """Splits off a random validation set; both parts keep the order of `data`.

  Args:
    data: N examples, with `len` and `take(indices)`.
    count: the number of validation examples.
    seed: seed of the draw.

  Returns:
    (training examples, validation examples): N - count and count of them.

  Raises:
    UserError: count is negative, or no training example would be left.
  """
  if not 0 <= count < len(data):
    raise UserError(f"num_validation: expected 0 <= num_validation < {len(data)}, got {count}")
  order = np.random.default_rng(seed).permutation(len(data))
  return data.take(np.sort(order[count:])), data.take(np.sort(order[:count]))
