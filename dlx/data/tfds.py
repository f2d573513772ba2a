"""Prepared TFDS data sets, read without TensorFlow and without network access."""

from collections.abc import Sequence

from dlx.errors import UserError


def load(name: str, split: str) -> Sequence[dict]:
  """The examples of a split, read from $TFDS_DATA_DIR (or TFDS's default folder).

  Args:
    name: a TFDS name, such as "cifar10" or "glue/sst2".
    split: a TFDS split.

  Returns:
    A sequence of examples, read lazily.

  Raises:
    UserError: the data set is not prepared on this machine; the message says how to do that.
  """
  import tensorflow_datasets as tfds  # Takes a second to import.

  try:
    # Without download=False TFDS retries the network for minutes if the set is unprepared.
    return tfds.data_source(name, split=split, download=False)
  except Exception as e:
    raise UserError(
        f"the TFDS data set {name} is not prepared in {tfds.core.constants.DATA_DIR} "
        f'({type(e).__name__}). Prepare it with: pip install -e ".[prepare]" && tfds build {name} '
        f"--file_format=array_record ; or set TFDS_DATA_DIR to the folder that contains it"
    ) from None
