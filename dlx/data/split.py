"""Examples held back from training."""

import numpy as np

from dlx.errors import UserError


def split_off(data, count: int, seed: int = 0) -> tuple:
  """(all but `count`, `count` of them), drawn at random: a validation split.

  Args:
    data: Images, LabelledTexts, or what else has a length and `take(places)`.
    count: how many are held back.
    seed: of the draw.

  Raises:
    UserError: count is negative, or nothing would be left.
  """
  if not 0 <= count < len(data):
    raise UserError(
        f"config.data.validation is {count}; use 0 or more, and less than the {len(data)} examples"
    )
  order = np.random.default_rng(seed).permutation(len(data))
  return data.take(np.sort(order[count:])), data.take(np.sort(order[:count]))


def check_parts(train, validation, batch_size: int, what: str) -> None:
  """Raises UserError unless a batch can be drawn and a checkpoint be chosen.

  Args:
    train, validation: with a length each.
    batch_size: of a training step.
    what: the examples are, "images" say.
  """
  if not len(validation):
    raise UserError(
        f"config.data.validation is 0; some of the training {what} must choose the checkpoint"
    )
  if batch_size > len(train):
    raise UserError(
        f"config.data.batch_size is {batch_size}, but there are only {len(train)} training {what}; "
        f"lower it"
    )
