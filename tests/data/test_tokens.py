"""Subword tokens: what is learned is used, and rows keep both ends of a long text."""

import numpy as np
import pytest

from dlx.data import tokens
from dlx.errors import UserError

TEXTS = ["The newer film was newer than the newest film."] * 20 + ["A low, lower, lowest end!"] * 20


def test_frequent_words_are_one_token_and_unknown_letters_are_unknown():
  tokenizer = tokens.learn(TEXTS, 60)
  assert tokenizer.get_vocab_size() <= 60
  assert [tokenizer.token_to_id(t) for t in tokens.SPECIAL] == [0, 1, 2, 3, 4]
  found = tokenizer.encode("Newer FILM").tokens
  assert found == [tokens.FIRST, "newer", "film", tokens.LAST]
  assert tokens.UNKNOWN in tokenizer.encode("日本").tokens


def test_a_tokenizer_is_the_same_when_learned_again_and_when_read_back(tmp_path):
  one, two = (tokens.learn(TEXTS, 60) for _ in range(2))
  assert one.to_str() == two.to_str()
  one.save(str(tmp_path / "tokenizer.json"))
  back = tokens.load(tmp_path / "tokenizer.json")
  assert back.encode(TEXTS[0]).ids == one.encode(TEXTS[0]).ids


def test_rows_are_padded_and_lengths_tell_how_far_they_go():
  tokenizer = tokens.learn(TEXTS, 60)
  ids, lengths = tokens.encode(tokenizer, ["film", "", "the newest film"], 16)
  assert lengths.tolist()[1] == 2 and ids.shape == (3, lengths.max())
  for row, n in zip(ids, lengths):
    assert row[0] == 2 and row[n - 1] == 3 and row[:n].all() and not row[n:].any()


def test_a_long_text_keeps_its_first_quarter_and_its_end():
  tokenizer = tokens.learn(TEXTS, 60)
  text = "film " * 50 + "low " * 50
  whole = tokenizer.encode(text).ids
  ids, lengths = tokens.encode(tokenizer, [text], 16)
  assert lengths.tolist() == [16]
  np.testing.assert_array_equal(ids[0], whole[:4] + whole[-12:])


def test_a_vocabulary_without_room_is_refused():
  with pytest.raises(UserError, match="vocabulary of 5 tokens is too small"):
    tokens.learn(TEXTS, 5)


def test_a_missing_or_damaged_file_is_one_line(tmp_path):
  with pytest.raises(UserError, match="does not exist"):
    tokens.load(tmp_path / "tokenizer.json")
  (tmp_path / "tokenizer.json").write_text("{")
  with pytest.raises(UserError, match="is no tokenizer"):
    tokens.load(tmp_path / "tokenizer.json")
