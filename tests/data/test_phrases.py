"""Whole sentences are held out with all their parts."""

from dlx.data.labelled_text import SENTIMENTS, LabelledTexts
import numpy as np
import pytest

from dlx.data.phrases import split_off_sentences
from dlx.errors import UserError

SENTENCES = ["a warm and clever film", "the plot is dull", "her acting is not bad at all"]
PARTS = ["a warm", "clever film", "dull", "the plot", "is", "not bad", "bad at all", "film"]


def make_texts(texts):
  return LabelledTexts(tuple(texts), np.arange(len(texts), dtype=np.int32) % 2, SENTIMENTS)


@pytest.mark.parametrize("seed", range(6))
def test_held_out_texts_are_sentences_whose_parts_are_nowhere_in_training(seed):
  texts = make_texts([*PARTS, *SENTENCES])
  training, held_out = split_off_sentences(texts, 1, seed)
  (sentence,) = held_out.texts
  assert sentence in SENTENCES
  blanks = f" {sentence} "
  assert not [text for text in training.texts if f" {text} " in blanks]
  # All else is still there, with its label, in the order it had.
  expected = [i for i, text in enumerate(texts.texts) if f" {text} " not in blanks]
  assert training.texts == tuple(texts.texts[i] for i in expected)
  np.testing.assert_array_equal(training.labels, texts.labels[expected])


def test_a_part_is_made_of_whole_consecutive_words():
  # "he plot" is in the letters of "the plot is dull", "plot dull" in its words.
  texts = make_texts(["the plot is dull", "he plot", "plot dull", "a", "b"])
  training, held_out = split_off_sentences(texts, 4, seed=0)
  assert set(training.texts) | set(held_out.texts) == set(texts.texts)
  assert len(training) == 1


def test_all_sentences_are_drawn_sooner_or_later():
  texts = make_texts([*SENTENCES, *PARTS])
  drawn = {split_off_sentences(texts, 1, seed)[1].texts for seed in range(30)}
  assert drawn == {(sentence,) for sentence in SENTENCES}


@pytest.mark.parametrize("count", [-1, 3, 11])
def test_some_sentences_must_be_left(count):
  with pytest.raises(UserError, match=f"validation is {count}; .* less than the 3 sentences"):
    split_off_sentences(make_texts([*SENTENCES, *PARTS]), count)
