"""Text files."""

import codecs
from collections.abc import Iterator
import io
import pathlib

from dlx.data import files
from dlx.errors import UserError

# UTF-32's mark for little endian begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


def read(path: str | pathlib.Path) -> str:
  """Reads a text file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

  Line ends are kept as they are; a byte order mark is removed.

  Raises:
    UserError: the file does not exist, or it is a directory, a pipe, a device, empty, binary
      or in another encoding.
  """
  text = decode(files.read_bytes(path, "text file"), path)
  if not text:
    raise UserError(f"{path} is empty; name a file with text")
  return text


def decode(content: bytes, path: str | pathlib.Path) -> str:
  """The text of a file's content, in the encoding that its byte order mark names.

  Args:
    content: the bytes.
    path: the file, for the messages.

  Raises:
    UserError: the content is binary, or in another encoding.
  """
  encoding = _encoding(content)
  if encoding == "utf-8-sig" and b"\0" in content:
    raise UserError(
        f"{path} is binary (it contains a zero byte), or UTF-16 without a byte order mark; name "
        f"a text file"
    )
  try:
    return content.decode(encoding)
  except UnicodeDecodeError as e:
    if encoding == "utf-8-sig":
      raise UserError(
          f"{path} is not UTF-8 (byte {e.start} is 0x{content[e.start]:02x}); convert it, "
          f"for example with: iconv -f latin1 -t utf8"
      ) from None
    raise UserError(
        f"{path} has the byte order mark of {encoding.upper()}, but is not {encoding.upper()} "
        f"(byte {e.start}: {e.reason})"
    ) from None


def lines(path: str | pathlib.Path) -> Iterator[str]:
  """The lines of a text file without their ends (\\n, \\r\\n or \\r), read as they are used.

  The encoding is as in `read`; the file may be a pipe.

  Raises:
    UserError: the file cannot be read.
  """
  try:
    with open(path, "rb") as file:
      for line in io.TextIOWrapper(file, encoding=_encoding(file.peek(4))):
        yield line.rstrip("\n")
  except OSError as e:
    raise UserError(f"{path} cannot be read: {e.strerror}") from None
  except UnicodeError as e:
    raise UserError(f"{path} cannot be read: {e}") from None


def _encoding(content: bytes) -> str:
  return next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8-sig")
