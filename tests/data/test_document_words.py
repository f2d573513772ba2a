"""Documents as pieces of running text."""

import numpy as np

from dlx.data import document_words, tokens

TEXTS = ["The film was not GREAT, was it?", "", "dull dull film"]
WORDS = ["film", "dull", "was", ",", "great"]


def test_words_are_numbered_as_for_a_tagger_and_documents_are_cut_at_the_length():
  found = document_words.pieces(TEXTS, WORDS, max_length=4, lowercase=True)
  expected = [[0, 1, 3, 0], [5, 4, 3, 0], [0, 0, 0, 0], [2, 2, 1, 0]]
  assert found["ids"].tolist() == expected and found["ids"].dtype == np.int32
  assert found["lengths"].tolist() == [4, 4, 1, 3]


def test_the_end_of_a_long_set_of_documents_is_read(monkeypatch):
  whole = document_words.pieces(TEXTS, WORDS, max_length=4, lowercase=True)
  monkeypatch.setattr(document_words, "_AT_ONCE", 2)
  found = document_words.pieces(TEXTS, WORDS, max_length=4, lowercase=True)
  assert found["ids"].tolist() == whole["ids"].tolist()


def test_a_tokenizer_of_the_words_of_another_splits_as_that_one():
  trained = tokens.train_words(TEXTS * 3 + ["tr\u00e8s bien"], 12)
  again = tokens.of_words(tokens.words(trained))
  again = tokens.from_json(tokens.to_json(again))
  for text in (*TEXTS, "Tr\u00e8s dull, unseen", "[CLS] a [MASK]"):
    one, other = trained.encode(text), again.encode(text)
    assert one.ids == other.ids and one.tokens == other.tokens and one.offsets == other.offsets
