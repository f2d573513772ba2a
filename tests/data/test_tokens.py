"""Tokens: training, serialization, padding and truncation."""

import json

import numpy as np
import pytest
import tokenizers

from dlx.data import tokens
from dlx.errors import UserError

TEXTS = ["The newer film was newer than the newest film."] * 20 + ["A low, lower, lowest end!"] * 20


def test_frequent_words_are_single_tokens_and_unknown_letters_are_unknown():
  tokenizer = tokens.train_bpe(TEXTS, 60)
  assert tokenizer.get_vocab_size() <= 60
  assert [tokenizer.token_to_id(t) for t in tokens.SPECIAL] == [0, 1, 2, 3, 4]
  found = tokenizer.encode("Newer FILM").tokens
  assert found == [tokens.FIRST, "newer", "film", tokens.LAST]
  assert tokens.UNKNOWN in tokenizer.encode("日本").tokens


def test_training_is_deterministic_and_serialization_lossless(tmp_path):
  one, two = (tokens.train_bpe(TEXTS, 60) for _ in range(2))
  assert tokens.to_json(one) == tokens.to_json(two)
  one.save(str(tmp_path / "tokenizer.json"))
  for restored in (
      tokens.load(tmp_path / "tokenizer.json"), tokens.from_json(tokens.to_json(one))
  ):  # fmt: skip
    assert tokens.to_json(restored) == tokens.to_json(one)
    assert restored.encode(TEXTS[0]).ids == one.encode(TEXTS[0]).ids


def test_stored_truncation_and_padding_are_turned_off(tmp_path):
  tokenizer = tokens.train_bpe(TEXTS, 60)
  plain = tokens.to_json(tokenizer)
  tokenizer.enable_truncation(3)
  tokenizer.enable_padding(length=50)
  path = tmp_path / "tokenizer.json"
  path.write_text(tokens.to_json(tokenizer))
  assert tokens.to_json(tokens.load(path)) == tokens.to_json(tokens.from_json(path.read_text()))
  assert tokens.to_json(tokens.load(path)) == plain


def test_rows_are_padded_beyond_their_lengths():
  tokenizer = tokens.train_bpe(TEXTS, 60)
  ids, lengths = tokens.encode(tokenizer, ["film", "", "the newest film"], 16)
  assert lengths.tolist()[1] == 2 and ids.shape == (3, lengths.max())
  for row, n in zip(ids, lengths):
    assert row[0] == 2 and row[n - 1] == 3 and row[:n].all() and not row[n:].any()


def test_a_long_document_is_truncated_to_a_quarter_from_its_start_and_its_end():
  tokenizer = tokens.train_bpe(TEXTS, 60)
  document = "film " * 50 + "low " * 50
  full = tokenizer.encode(document).ids
  ids, lengths = tokens.encode(tokenizer, [document], 16)
  assert lengths.tolist() == [16]
  np.testing.assert_array_equal(ids[0], full[:4] + full[-12:])


def test_a_vocabulary_of_special_tokens_only_is_refused():
  message = "vocab_size: expected more than the 5 special tokens .*, got 5"
  with pytest.raises(UserError, match=message):
    tokens.train_bpe(TEXTS, 5)


def test_a_missing_or_corrupted_file_is_refused(tmp_path):
  path = tmp_path / "tokenizer.json"
  with pytest.raises(UserError, match="tokenizer.json does not exist"):
    tokens.load(path)
  with pytest.raises(UserError, match="cannot be read"):
    tokens.load(tmp_path)
  for content in ("", "{", "[]"):
    path.write_text(content)
    with pytest.raises(UserError, match="tokenizer.json is not a tokenizer"):
      tokens.load(path)
    with pytest.raises(UserError, match="the JSON text is not a tokenizer"):
      tokens.from_json(content)


def test_a_tokenizer_whose_padding_is_not_0_is_refused(tmp_path):
  text = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "[PAD]": 1}, [])).to_str()
  (tmp_path / "tokenizer.json").write_text(text)
  with pytest.raises(UserError, match=r"tokenizer.json: expected id 0 for \[PAD\], got 1"):
    tokens.load(tmp_path / "tokenizer.json")
  with pytest.raises(UserError, match=r"the JSON text: expected id 0 for \[PAD\], got 1"):
    tokens.from_json(text)


@pytest.mark.parametrize("changes", [
    {"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}},  # Panics when parsed,
    {"post_processor": {"type": "TemplateProcessing", "pair": [], "special_tokens": {},  # when
                        "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}]}},  # it encodes.
    {"model": {"type": "WordPiece", "unk_token": "[X]", "continuing_subword_prefix": "##",
               "max_input_chars_per_word": 100, "vocab": {"[PAD]": 0}}},  # An error then.
])  # fmt: skip
def test_a_tokenizer_that_does_not_work_is_refused(changes):
  text = json.dumps({**json.loads(tokens.to_json(tokens.train_bpe(TEXTS, 60))), **changes})
  with pytest.raises(UserError, match="the JSON text is not a tokenizer that works: "):
    tokens.from_json(text)


def test_a_tokenizer_without_a_special_token_is_refused():
  text = tokenizers.Tokenizer(tokenizers.models.BPE({"[PAD]": 0, "[UNK]": 1}, [])).to_str()
  with pytest.raises(UserError, match=r"the JSON text has no token \[CLS\], \[SEP\], \[MASK\]"):
    tokens.from_json(text)


def test_a_document_that_is_not_unicode_is_refused():
  tokenizer = tokens.train_bpe(TEXTS, 60)
  with pytest.raises(UserError, match=r"^'caf.udce9' is not valid UTF-8; convert it$"):
    tokens.encode(tokenizer, ["fine", "caf\udce9"], 10)
  with pytest.raises(TypeError):
    tokens.encode(tokenizer, [None], 10)


def test_words_are_tokens_the_most_frequent_first_and_others_are_unknown():
  one, two = (tokens.train_words(TEXTS, 60) for _ in range(2))
  assert tokens.to_json(one) == tokens.to_json(two)
  words = sorted(one.get_vocab(), key=one.token_to_id)
  assert words[:9] == [*tokens.SPECIAL, ",", "film", "newer", "the"]  # 40 times each.
  assert one.encode("Newer-FILM, unseen.").tokens == [
      tokens.FIRST, "newer", tokens.UNKNOWN, "film", ",", tokens.UNKNOWN, ".", tokens.LAST
  ]  # fmt: skip
  assert tokens.train_words(TEXTS, 9).encode("the end").tokens[1:3] == ["the", tokens.UNKNOWN]
  with pytest.raises(UserError, match="expected more than the 5 special tokens"):
    tokens.train_words(TEXTS, 5)
