"""Which images a run trains on, and which it holds back."""

import ml_collections

from dlx.data import images
from dlx.data.split import split_off
from dlx.errors import UserError


def load_data(config: ml_collections.ConfigDict, split: str) -> images.Images:
  """The images of "train", "validation" or "test".

  A folder has no test split of its own: a tenth of it, drawn with seed 1, is kept for that.

  Raises:
    UserError: no such split or source, or the images cannot be read.
  """
  if split not in ("train", "validation", "test"):
    raise UserError(f"split {split!r} is not one of train, validation, test")
  if config.data.images:
    data = images.from_folder(config.data.images, config.data.size)
    rest, test = split_off(data, len(data) // 10, seed=1)
  elif config.data.source == "shapes":
    rest, test = (images.shapes(n, config.data.size, seed=n) for n in (480, 96))
  elif config.data.source != "cifar10":
    raise UserError(
        f"config.data.source is {config.data.source!r}; use cifar10 or shapes, or give a folder "
        f"by --config.data.images=DIR"
    )
  elif config.data.size != 32:
    raise UserError(f"config.data.size is {config.data.size}, but CIFAR-10's images have 32")
  elif split == "test":
    return images.cifar10("test")
  else:
    rest, test = images.cifar10("train"), None
  if split == "test":
    return test
  return split_off(rest, config.data.validation)[split == "validation"]
