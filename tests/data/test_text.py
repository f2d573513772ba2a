"""Text files and vocabularies: reading, refusals, encoding and decoding."""

import codecs
import os
import threading

import pytest

from dlx.data import corpus, documents, text
from dlx.errors import UserError


def test_a_file_is_read_unchanged(tmp_path):
  content = "naïve\r\nπ ≈ 3.14159\n\n\t𝄞 🎵"
  (tmp_path / "song.txt").write_bytes(content.encode())
  assert text.read(tmp_path / "song.txt") == content
  assert text.read(str(tmp_path / "song.txt")) == content


MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE, "utf-32-be": codecs.BOM_UTF32_BE,
}  # fmt: skip


@pytest.mark.parametrize("encoding", MARKS)
def test_a_byte_order_mark_names_the_encoding_and_is_removed(tmp_path, encoding):
  content = "naïve\r\nπ\u2028\x85 𝄞\n\nend"
  path = tmp_path / "notepad.txt"
  path.write_bytes(MARKS[encoding] + content.encode(encoding))
  assert text.read(path) == content
  assert list(text.lines(path)) == ["naïve", "π\u2028\x85 𝄞", "", "end"]


def test_lines_are_read_as_they_are_used_also_from_a_pipe(tmp_path):
  os.mkfifo(tmp_path / "pipe")

  def write():
    with open(tmp_path / "pipe", "wb") as file:
      file.write(b"\xef\xbb\xbfone\r\n")
      file.flush()
      assert first.wait(10), "the first line comes before the second is written"
      file.write(b"two")

  first = threading.Event()
  writer = threading.Thread(target=write)
  writer.start()
  lines = text.lines(tmp_path / "pipe")
  assert next(lines) == "one"
  first.set()
  assert list(lines) == ["two"]
  writer.join()


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "is empty"),
        (b"PNG\0\0\0", "is binary"),
        (b"a\0b\0", "is binary .*or UTF-16 without a byte order mark"),
        (b"\xff\xfea\0b", r"has the byte order mark of UTF-16, but is not UTF-16 \(byte 4: "),
        (b"\xff\xfe\0\xd8a\0", r"has the byte order mark of UTF-16, .*surrogate"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\xff\xfe", "is empty"),
        ("Käse".encode("latin1"), r"is not UTF-8 \(byte 1 is 0xe4\).* iconv -f latin1 -t utf8"),
        (b"ab\xf0\x9f\x8e", r"is not UTF-8 \(byte 2 is 0xf0\)"),  # A truncated character.
        (b"\xc0\xaf", r"is not UTF-8 \(byte 0 is 0xc0\)"),  # An overlong encoding.
    ],
)
def test_a_file_without_text_is_refused_with_the_reason(tmp_path, content, reason):
  path = tmp_path / "file.txt"
  path.write_bytes(content)
  with pytest.raises(UserError, match=f"^{path} {reason}"):
    text.read(path)


def test_a_missing_file_or_a_folder_is_refused(tmp_path):
  with pytest.raises(UserError, match="none.txt does not exist"):
    text.read(tmp_path / "none.txt")
  with pytest.raises(UserError, match="is a directory"):
    text.read(tmp_path)
  (tmp_path / "file").write_text("x")
  with pytest.raises(UserError, match="file/below cannot be read: Not a directory"):
    text.read(tmp_path / "file" / "below")


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "/dev/null"])
def test_a_pipe_or_a_device_is_refused(tmp_path, kind):
  path = kind
  if kind == "pipe":
    path = tmp_path / "pipe"
    os.mkfifo(path)
  for read in (text.read, corpus.from_file, documents.from_file):
    with pytest.raises(UserError, match=f"^{path} is a pipe or a device; name a regular file$"):
      read(path)


def test_an_unreadable_file_is_refused_with_the_reason(tmp_path, monkeypatch):
  path = tmp_path / "secret.txt"
  path.write_text("x")
  path.chmod(0)
  if os.access(path, os.R_OK):  # The superuser can read every file.

    def refuse(self):
      raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "read_bytes", refuse)
  with pytest.raises(UserError, match="secret.txt cannot be read: Permission denied"):
    text.read(path)
