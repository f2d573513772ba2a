"""Text files and vocabularies: what is refused, and what comes back as it went in."""

import os

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dlx.data import text
from dlx.data.text import Vocabulary
from dlx.errors import UserError


def test_a_file_is_read_as_it_is(tmp_path):
  content = "naïve\r\nπ ≈ 3.14159\n\n\t𝄞 🎵"
  (tmp_path / "song.txt").write_bytes(content.encode())
  assert text.read(tmp_path / "song.txt") == content
  assert text.read(str(tmp_path / "song.txt")) == content


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
  (tmp_path / "notepad.txt").write_bytes(b"\xef\xbb\xbfabc")
  assert text.read(tmp_path / "notepad.txt") == "abc"


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "is empty"),
        (b"PNG\0\0\0", "is binary"),
        (b"\xff\xfea\0b\0", "is binary"),  # UTF-16.
        ("Käse".encode("latin1"), r"is not UTF-8 \(byte 1 is 0xe4\).* iconv -f latin1 -t utf8"),
        (b"ab\xf0\x9f\x8e", r"is not UTF-8 \(byte 2 is 0xf0\)"),  # Half a character at the end.
        (b"\xc0\xaf", r"is not UTF-8 \(byte 0 is 0xc0\)"),  # A character coded too long.
    ],
)
def test_a_file_that_is_no_text_is_refused_with_the_reason(tmp_path, content, reason):
  path = tmp_path / "file.txt"
  path.write_bytes(content)
  with pytest.raises(UserError, match=f"^{path} {reason}"):
    text.read(path)


def test_what_is_no_file_is_refused_with_the_reason(tmp_path):
  with pytest.raises(UserError, match="none.txt does not exist"):
    text.read(tmp_path / "none.txt")
  with pytest.raises(UserError, match="is a directory"):
    text.read(tmp_path)
  (tmp_path / "file").write_text("x")
  with pytest.raises(UserError, match="file/below cannot be read: Not a directory"):
    text.read(tmp_path / "file" / "below")


def test_a_file_without_permission_is_refused_with_the_reason(tmp_path, monkeypatch):
  path = tmp_path / "secret.txt"
  path.write_text("x")
  path.chmod(0)
  if os.access(path, os.R_OK):  # The superuser may read everything.

    def refuse(self):
      raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "read_bytes", refuse)
  with pytest.raises(UserError, match="secret.txt cannot be read: Permission denied"):
    text.read(path)


def test_ids_are_places_in_the_order_of_code_points():
  vocabulary = Vocabulary("cab𝄞é")
  assert vocabulary.characters == "abcé𝄞"
  assert len(vocabulary) == 5
  ids = vocabulary.encode("é𝄞abba")
  assert ids.dtype == np.int32
  np.testing.assert_array_equal(ids, [3, 4, 0, 1, 1, 0])


# All characters but halves of UTF-16 pairs, which no text file can hold.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@settings(deadline=None)
@given(texts)
def test_decoding_undoes_encoding(content):
  vocabulary = Vocabulary(content)
  ids = vocabulary.encode(content)
  assert len(ids) == len(content)
  assert vocabulary.decode(ids) == content
  assert all(vocabulary.characters[i] == c for i, c in zip(ids, content))


@pytest.mark.parametrize("content", ["", "\U0010ffff\0", "\u2028\x85\n\r\n"])
def test_decoding_undoes_encoding_at_the_edges(content):
  vocabulary = Vocabulary(content + "a")
  assert vocabulary.decode(vocabulary.encode(content)) == content


@pytest.mark.parametrize(
    "content, name",
    [
        ("abx", r"'x' \(U\+0078\)"),  # After the last one seen.
        ("ab\nb", r"'\\n' \(U\+000A\)"),  # Before the first.
        ("ab🎵x", r"'🎵' \(U\+1F3B5\)"),  # The first of two.
    ],
)
def test_a_character_never_seen_is_named(content, name):
  with pytest.raises(UserError, match=f"the character {name} is not among the 2 "):
    Vocabulary("ab").encode(content)


def test_a_saved_vocabulary_is_the_same(tmp_path):
  vocabulary = Vocabulary("the \"quick\" \\ brown\n\tfox, ünïcode 𝄞🎵\x7f\u2028")
  vocabulary.save(tmp_path / "vocabulary.json")
  loaded = Vocabulary.load(tmp_path / "vocabulary.json")
  assert loaded.characters == vocabulary.characters
  np.testing.assert_array_equal(loaded.encode("fox𝄞"), vocabulary.encode("fox𝄞"))
