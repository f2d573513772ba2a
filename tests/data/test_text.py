"""Text files and vocabularies: reading, refusals, encoding and decoding."""

import codecs
import json
import os
import threading

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dlx.data import corpus, documents, text
from dlx.data.text import Vocabulary
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


def test_ids_follow_the_order_of_code_points():
  vocabulary = Vocabulary("cab𝄞é")
  assert vocabulary.characters == "abcé𝄞"
  assert len(vocabulary) == 5
  ids = vocabulary.encode("é𝄞abba")
  assert ids.dtype == np.int32
  np.testing.assert_array_equal(ids, [3, 4, 0, 1, 1, 0])


def test_a_byte_of_the_command_line_that_is_not_utf8_is_an_unknown_character():
  with pytest.raises(UserError, match=r"the character '\\udce9' \(U\+DCE9\) is not among the 4"):
    Vocabulary("cafe").encode("caf\udce9")


# All characters except UTF-16 surrogates, which UTF-8 cannot encode.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@settings(deadline=None)
@given(texts)
def test_decoding_inverts_encoding(content):
  vocabulary = Vocabulary(content)
  ids = vocabulary.encode(content)
  assert len(ids) == len(content)
  assert vocabulary.decode(ids) == content
  assert all(vocabulary.characters[i] == c for i, c in zip(ids, content))


@pytest.mark.parametrize("content", ["", "\U0010ffff\0", "\u2028\x85\n\r\n"])
def test_decoding_inverts_encoding_of_unusual_characters(content):
  vocabulary = Vocabulary(content + "a")
  assert vocabulary.decode(vocabulary.encode(content)) == content


@pytest.mark.parametrize(
    "content, name",
    [
        ("abx", r"'x' \(U\+0078\)"),  # After the last one known.
        ("ab\nb", r"'\\n' \(U\+000A\)"),  # Before the first.
        ("ab🎵x", r"'🎵' \(U\+1F3B5\)"),  # The first of two.
    ],
)
def test_an_unknown_character_is_named(content, name):
  with pytest.raises(UserError, match=f"the character {name} is not among the 2 "):
    Vocabulary("ab").encode(content)


def test_the_first_character_is_the_newline_where_there_is_one():
  assert Vocabulary("b\na").first == "\n" and Vocabulary("ab\t\n").first == "\n"
  assert Vocabulary("ba").first == "a"


def test_a_vocabulary_is_restored_from_its_characters():
  vocabulary = Vocabulary("the \"quick\" \\ brown\n\tfox, ünïcode 𝄞🎵\x7f\u2028")
  restored = Vocabulary(json.loads(json.dumps(vocabulary.characters)))
  assert restored.characters == vocabulary.characters
  np.testing.assert_array_equal(restored.encode("fox𝄞"), vocabulary.encode("fox𝄞"))
