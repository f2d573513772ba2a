"""Files of word vectors: formats, malformed lines, and tables that start from them."""

import gzip

import numpy as np
import pytest

from dlx.data import word_vectors
from dlx.errors import UserError

GLOVE = "the 0.5 -1 2e-3\n, 1 2 3\nat name 4 5 6\nthe 7 8 9\n"


def write(path, text):
  path.write_text(text, encoding="utf-8")
  return path


@pytest.mark.parametrize("header", ["", "4 3\n"])
@pytest.mark.parametrize("end", ["\n", " \n", "\r\n"])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_formats_of_glove_and_word2vec(tmp_path, header, end, compressed):
  text = (header + GLOVE).replace("\n", end)
  path = tmp_path / ("v.txt.gz" if compressed else "v.txt")
  path.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
  found = word_vectors.read(path)
  assert found.words == ["the", ",", "at name"]
  np.testing.assert_array_equal(
      found.vectors, np.float32([[0.5, -1, 0.002], [1, 2, 3], [4, 5, 6]])
  )


@pytest.mark.parametrize(
    "text, message",
    [
        ("a 1 2\nb 1\n", r"line 2 has 1 numbers after the word; expected 2, as in line 1"),
        ("a 1 2\nb 1 2 3\n", r"line 2 has 3 numbers after the word; expected 2"),
        ("2 3\na 1 2 3\nb 1 2\n", r"line 3 has 2 .* expected 3, the dimensions that line 1 names"),
        ("3 2\na 1 2\nb 1 2\n", r"line 1 says 3 words, but 2 lines follow"),
        ("a 1 2\nb 1 x\n", r"line 2: 'x' is not a number"),
        ("a 1 2\n\nb 1 2\n", r"line 2 is empty"),
        ("a 1 nan\n", r"line 1: the vector of 'a' is not finite"),
        ("word\n", r"line 1 has 0 numbers"),
        ("", r"has no word vectors"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, text, message):
  path = write(tmp_path / "v.txt", text)
  with pytest.raises(UserError, match=message) as refused:
    word_vectors.read(path)
  assert "\n" not in str(refused.value) and str(path) in str(refused.value)


def test_files_that_are_no_text_are_refused(tmp_path):
  (tmp_path / "v.bin").write_bytes(b"1 2\na \xff\xfe\x00\n")
  with pytest.raises(UserError, match="line 2 is not UTF-8; .* not word2vec's binary format"):
    word_vectors.read(tmp_path / "v.bin")
  (tmp_path / "cut.gz").write_bytes(gzip.compress(GLOVE.encode())[:-9])
  (tmp_path / "plain.gz").write_bytes(GLOVE.encode())
  for name in ("none.txt", "cut.gz", "plain.gz", "."):
    with pytest.raises(UserError, match="cannot be read"):
      word_vectors.read(tmp_path / name)


def test_writing_and_reading_changes_no_number(tmp_path):
  vectors = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32) ** 9
  word_vectors.write(tmp_path / "v.txt", ["a", "b c", "é"], vectors)
  found = word_vectors.read(tmp_path / "v.txt")
  assert found.words == ["a", "b_c", "é"]
  assert found.vectors.tobytes() == vectors.tobytes()
  assert (tmp_path / "v.txt").read_text().startswith("3 5\na ")


def test_a_table_has_the_vectors_of_known_words_and_draws_the_others(tmp_path):
  path = write(tmp_path / "v.txt", "the 1 2\nfilm 3 4\n")
  words = ["film", "unseen", "The", *map(str, range(2000))]
  table, known = word_vectors.initial_table(path, words, 2, np.random.default_rng(0))
  assert known == 2 and table.dtype == np.float32 and table.shape == (2003, 2)
  assert table[[0, 2]].tolist() == [[3, 4], [1, 2]]
  assert table[3:].std() == pytest.approx(np.std([1, 2, 3, 4]), rel=0.05)
  again, _ = word_vectors.initial_table(path, words, 2, np.random.default_rng(0))
  assert again.tobytes() == table.tobytes()


def test_vectors_of_another_size_or_other_words_are_refused(tmp_path):
  path, rng = write(tmp_path / "v.txt", "the 1 2\nfilm 3 4\n"), np.random.default_rng(0)
  with pytest.raises(UserError, match="have 2 dimensions, those of the model 3; set"):
    word_vectors.initial_table(path, ["the"], 3, rng)
  with pytest.raises(UserError, match="has none of the 1 words of the model"):
    word_vectors.initial_table(path, ["unseen"], 2, rng)
