"""Tagged sentences: files, what is refused in them, splits and generated sentences."""

import gzip

import pytest

from dlx.data import tagged
from dlx.errors import UserError

BROWN = "# file ca01\nThe\tat\nFulton\tnp-tl\n\n#\tsym\n\n# file ca02\nNew York\tnp\n"
BROWN_WORDS = (("The", "Fulton"), ("#",), ("New York",))
CONLL = "-DOCSTART- -X- O\n\n# 1\nEU NNP B-ORG\n# # O\nrejects VBZ O\n\n\nGo VB O"


def write(tmp_path, content, name="words.txt"):
  path = tmp_path / name
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tabs_separate_columns_and_comments_are_skipped(tmp_path, end):
  found = tagged.from_file(write(tmp_path, BROWN.replace("\n", end)))
  assert found.words == BROWN_WORDS
  assert found.tags == (("at", "np-tl"), ("sym",), ("np",))


def test_a_compressed_file_is_read(tmp_path):
  path = write(tmp_path, gzip.compress(BROWN.encode()), "brown.tsv.gz")
  assert tagged.from_file(path).words == BROWN_WORDS
  with pytest.raises(UserError, match="cannot be decompressed"):
    tagged.from_file(write(tmp_path, BROWN, "plain.tsv.gz"))


@pytest.mark.parametrize("column, tags", [(-1, "B-ORG O O"), (3, "B-ORG O O"), (2, "NNP # VBZ")])
def test_white_space_separates_columns_and_a_setting_says_which(tmp_path, column, tags):
  found = tagged.from_file(write(tmp_path, CONLL), tag_column=column)
  assert found.words == (("EU", "#", "rejects"), ("Go",))
  assert found.tags[0] == tuple(tags.split())


def test_a_line_separator_of_unicode_is_part_of_a_word(tmp_path):
  assert tagged.from_file(write(tmp_path, "a\u2028b\tX\n")).words == (("a\u2028b",),)


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "has no sentence"),
        ("# only a comment\n\n", "has no sentence"),
        ("a X\nb\n", r"columns is 1 in line 2, and 2 in the first line with a word"),
        ("\na X\n\nb Y Z\n", "columns is 3 in line 4"),
        ("a\tX\nb\t\n", "line 2 has no tag"),
        ("a\tX\n\tY\n", "line 2 has no word"),
        ("a X\n", "tag_column: expected 1 to 2 or, from the last, -1 to -2"),
        (b"\xff\xfe\xfa", "UTF-16"),
        (b"a\tcaf\xe9\n", "is not UTF-8"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(tmp_path, content, message):
  with pytest.raises(UserError, match=message) as refused:
    tagged.from_file(write(tmp_path, content), tag_column=3 if message[:3] == "tag" else -1)
  assert "\n" not in str(refused.value)


def test_a_tenth_is_for_testing_and_validation_is_from_the_rest(tmp_path):
  path = write(tmp_path, "".join(f"w{i} X\n\n" for i in range(50)))
  splits = tagged.load("grammar", file=path, num_validation=7)
  assert [len(part) for part in splits] == [38, 7, 5]
  assert len({words for part in splits for words in part.words}) == 50
  other = tagged.load("grammar", file=path, num_validation=12)
  assert other.test == splits.test


def test_files_of_their_own_are_the_other_splits(tmp_path):
  files = {
      name: write(tmp_path, f"{name} X\n\nb Y\n", name)
      for name in ("file", "validation_file", "test_file")
  }
  splits = tagged.load("grammar", **files, num_validation=1)
  assert [part.words[0][0] for part in splits] == ["file", "validation_file", "test_file"]
  with pytest.raises(UserError, match="give the file of the training sentences"):
    tagged.load("grammar", test_file=files["test_file"], num_validation=1)
  with pytest.raises(UserError, match="source: expected grammar"):
    tagged.load("brown", num_validation=1)


def test_pieces_keep_every_word():
  long = tagged.Tagged((tuple("abcde"), ("f",)), (tuple("12345"), ("6",)))
  cut = long.in_pieces(2)
  assert cut.words == (("a", "b"), ("c", "d"), ("e",), ("f",))
  assert sum(cut.tags, ()) == sum(long.tags, ())


def test_generated_sentences_have_ambiguous_and_unseen_words():
  train, test = tagged.generate(400, 400), tagged.generate(80, 80)
  assert train == tagged.generate(400, 400)
  pairs = {(w, t) for ws, ts in zip(train.words, train.tags) for w, t in zip(ws, ts)}
  assert {("saw", "noun"), ("saw", "verb"), ("light", "adjective"), ("light", "noun")} <= pairs
  assert {w for ws in test.words for w in ws} - {w for w, _ in pairs}
  assert {t for ts in test.tags for t in ts} <= {t for _, t in pairs}
