"""Validation sentences are whole, and their phrases are not in the training documents."""

import numpy as np
import pytest

from dlx.data.documents import SENTIMENTS, Documents
from dlx.data.phrases import train_validation_split
from dlx.errors import UserError

SENTENCES = ["a warm and clever film", "the plot is dull", "her acting is not bad at all"]
PHRASES = ["a warm", "clever film", "dull", "the plot", "is", "not bad", "bad at all", "film"]


def make_documents(texts):
  return Documents(tuple(texts), np.arange(len(texts), dtype=np.int32) % 2, SENTIMENTS)


@pytest.mark.parametrize("seed", range(6))
def test_phrases_of_validation_sentences_are_not_trained_on(seed):
  documents = make_documents([*PHRASES, *SENTENCES])
  training, held_out = train_validation_split(documents, 1, seed)
  (sentence,) = held_out.texts
  assert sentence in SENTENCES
  padded = f" {sentence} "
  assert not [text for text in training.texts if f" {text} " in padded]
  # All others are kept with their labels, in the same order.
  expected = [i for i, text in enumerate(documents.texts) if f" {text} " not in padded]
  assert training.texts == tuple(documents.texts[i] for i in expected)
  np.testing.assert_array_equal(training.labels, documents.labels[expected])


def test_a_phrase_consists_of_whole_consecutive_words():
  # "he plot" is a substring of "the plot is dull", and "plot dull" a subset of its words.
  documents = make_documents(["the plot is dull", "he plot", "plot dull", "a", "b"])
  training, held_out = train_validation_split(documents, 4, seed=0)
  assert set(training.texts) | set(held_out.texts) == set(documents.texts)
  assert len(training) == 1


def test_any_sentence_can_be_drawn():
  documents = make_documents([*SENTENCES, *PHRASES])
  drawn = {train_validation_split(documents, 1, seed)[1].texts for seed in range(30)}
  assert drawn == {(sentence,) for sentence in SENTENCES}


@pytest.mark.parametrize("count", [-1, 3, 11])
def test_too_many_validation_sentences_are_refused(count):
  with pytest.raises(UserError, match=f"< 3, the number of whole sentences, got {count}$"):
    train_validation_split(make_documents([*SENTENCES, *PHRASES]), count)
