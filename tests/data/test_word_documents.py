"""Documents as rows of words."""

import numpy as np
import pytest

from dlx.data import word_documents
from dlx.data.documents import Documents
from dlx.errors import UserError


@pytest.mark.parametrize("text, expected", [
    ("It's (NOT) bad!", ["it's", "(", "not", ")", "bad", "!"]),
    ("a film.<br /><br />Très bien...", ["a", "film", ".", "très", "bien", ".", ".", "."]),
    ("don\u2019t rock'n'roll", ["don\u2019t", "rock'n'roll"]),
    ("'quoted' 7/10", ["'", "quoted", "'", "7", "/", "10"]),
    ("  \n", []),
])  # fmt: skip
def test_tokens_are_whole_words_and_marks(text, expected):
  assert word_documents.tokenize(text) == expected


def test_upper_case_is_kept_on_request():
  assert word_documents.tokenize("A b", lowercase=False) == ["A", "b"]


def test_rows_have_every_known_word_and_are_cut():
  words = word_documents.vocabulary(["b a", "c a"])
  assert words == ["a", "b", "c"]
  ids = {word: i for i, word in enumerate(words)}
  part = Documents(("a c x a", "b", ""), np.int32([1, 0, 1]), ("no", "yes"))
  found = word_documents.arrays(part, ids, max_length=3, lowercase=True)
  assert found["ids"].tolist() == [[0, 2, -1], [1, -1, -1], [-1, -1, -1]]
  assert found["lengths"].tolist() == [3, 1, 0] and found["labels"].tolist() == [1, 0, 1]


def test_no_words_at_all_are_refused():
  with pytest.raises(UserError, match="the training documents have no words"):
    word_documents.vocabulary(["", " \n"])
