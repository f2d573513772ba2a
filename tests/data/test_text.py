"""Text files and vocabularies: reading, refusals, encoding and decoding."""

import json
import os

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dlx.data import text
from dlx.data.text import Vocabulary
from dlx.errors import UserError


def test_a_file_is_read_unchanged(tmp_path):
  content = "naïve\r\nπ ≈ 3.14159\n\n\t𝄞 🎵"
  (tmp_path / "song.txt").write_bytes(content.encode())
  assert text.read(tmp_path / "song.txt") == content
  assert text.read(str(tmp_path / "song.txt")) == content


def test_a_byte_order_mark_is_removed(tmp_path):
  (tmp_path / "notepad.txt").write_bytes(b"\xef\xbb\xbfabc")
  assert text.read(tmp_path / "notepad.txt") == "abc"


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "is empty"),
        (b"PNG\0\0\0", "is binary"),
        (b"\xff\xfea\0b\0", "is binary"),  # UTF-16.
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
