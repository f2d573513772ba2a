"""Text files as arrays of character ids."""

from collections.abc import Iterable
import pathlib

import numpy as np

from dlx.errors import UserError


def read(path: str | pathlib.Path) -> str:
  """Reads a UTF-8 text file.

  Raises:
    UserError: the file does not exist, or it is a directory, empty, binary or not UTF-8.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    raise UserError(f"{path} is a directory; name one text file")
  try:
    content = path.read_bytes()
  except FileNotFoundError:
    raise UserError(f"{path} does not exist; name a text file") from None
  except OSError as e:
    raise UserError(f"{path} cannot be read: {e.strerror}") from None
  if not content:
    raise UserError(f"{path} is empty; name a file with text")
  if b"\0" in content:
    raise UserError(f"{path} is binary (it contains a zero byte); name a text file")
  try:
    return content.decode("utf-8-sig")
  except UnicodeDecodeError as e:
    raise UserError(
        f"{path} is not UTF-8 (byte {e.start} is 0x{content[e.start]:02x}); convert it, "
        f"for example with: iconv -f latin1 -t utf8"
    ) from None


class Vocabulary:
  """The characters of a corpus in sorted order; an id is an index into them."""

  def __init__(self, characters: Iterable[str]):
    self.characters = "".join(sorted(set(characters)))
    self._code_points = np.array([ord(c) for c in self.characters], np.uint32)

  def __len__(self) -> int:
    return len(self.characters)

  @property
  def first(self) -> str:
    """A character to start a sample with: the newline if there is one, else the first."""
    return "\n" if "\n" in self.characters else self.characters[0]

  def encode(self, text: str) -> np.ndarray:
    """int32 ids of `text`.

    Raises:
      UserError: a character is not in the vocabulary.
    """
    code_points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    ids = np.searchsorted(self._code_points, code_points)
    ids = np.minimum(ids, len(self) - 1)
    unseen = self._code_points[ids] != code_points
    if unseen.any():
      character = text[int(unseen.argmax())]
      raise UserError(
          f"the character {character!r} (U+{ord(character):04X}) is not among the "
          f"{len(self)} characters of the training text; leave it out"
      )
    return ids.astype(np.int32)

  def decode(self, ids: Iterable[int]) -> str:
    """The text of ids."""
    return "".join(self.characters[i] for i in ids)
