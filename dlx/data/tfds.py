"""Prepared TFDS data sets, read without TensorFlow and without the network."""

from collections.abc import Sequence
import logging

from dlx.errors import UserError


def load(name: str, split: str) -> Sequence[dict]:
  """The examples of a split, from $TFDS_DATA_DIR (or TFDS's default folder).

  Args:
    name: a TFDS name, such as "cifar10" or "glue/sst2".
    split: a TFDS split.

  Returns:
    A sequence of examples, read lazily.

  Raises:
    UserError: the set is not prepared on this machine; the message says how to.
  """
  # TFDS takes a second to import and warns about TensorFlow, which is not needed here.
  for logger in ("tensorflow_datasets", "absl"):
    logging.getLogger(logger).setLevel(logging.ERROR)
  import tensorflow_datasets as tfds

  try:
    # Without download=False an unprepared set retries the network for minutes.
    return tfds.data_source(name, split=split, download=False)
  except Exception as e:
    raise UserError(
        f"the TFDS data set {name} is not prepared in {tfds.core.constants.DATA_DIR} "
        f'({type(e).__name__}). Prepare it with: pip install -e ".[prepare]" && tfds build {name} '
        f"--file_format=array_record ; or set TFDS_DATA_DIR to a folder that has it"
    ) from None
