"""The vectors of an ambiguous word: where they are taken from, and that the senses part."""

import re

import jax
import numpy as np
import pytest

from demonstrations import contextual_vectors
from dlx.data import tokens
from dlx.errors import UserError
from dlx.models.transformer import Transformer

TEXTS = ("the Bank, a bank", "at the old bank of it")


def test_the_drawn_sentences_share_no_word_and_are_not_trained_on():
  train, drawn = contextual_vectors.generated()
  words = [set(text.split()) - {"the", "bank"} for text, _ in drawn]
  assert len(drawn) == 12 and sum(map(len, words)) == len(set.union(*words)) == 36
  assert not {text for text, _ in drawn} & set(train) and len(train) == 2 * (6 * 4 * 36 - 6)
  assert set.union(*words) <= set(" ".join(train).split())


@pytest.mark.parametrize("text", [text for text, _ in contextual_vectors.SENTENCES])
def test_the_sentences_have_the_word_once(text):
  assert len(re.findall(r"\bbank\b", text, re.IGNORECASE)) == 1


@pytest.mark.full
def test_the_vectors_are_those_of_the_word_in_each_block():
  """A network of k blocks, the norm after each, returns the output of block k."""
  tokenizer = tokens.train_bpe(["at the old", "of it"], 300)  # "bank" is several tokens.
  options = {"d_model": 8, "num_heads": 2, "d_ff": 12, "norm_first": False, "positions": "learned"}
  size = tokenizer.get_vocab_size()
  tokenizer.add_tokens(["ba", "nk"])
  model = Transformer(size + 2, num_layers=2, max_length=12, **options)
  params = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 4), int))["params"]
  encoder = contextual_vectors.Encoder(model, params, tokenizer)
  layers = contextual_vectors.layer_vectors(encoder, TEXTS, "bank")
  for row, text in enumerate(TEXTS):
    encoding = tokenizer.encode(text)
    begin = text.lower().index("bank")
    at = [i for i, (a, b) in enumerate(encoding.offsets) if begin <= a < b <= begin + 4]
    assert len(at) >= 2, encoding.tokens
    ids = np.array(encoding.ids)
    expected = np.asarray(params["embedding"]["embedding"])[ids[at]].mean(0)
    np.testing.assert_allclose(layers[0][row], expected, atol=1e-6)
    for k in (1, 2):
      first = Transformer(size + 2, num_layers=k, max_length=12, **options)
      states = np.asarray(first.apply({"params": params}, ids))
      np.testing.assert_allclose(layers[k][row], states[at].mean(0), atol=1e-5)
  with pytest.raises(UserError, match="sentence 2, 'the banker', does not have the word 'bank'"):
    contextual_vectors.layer_vectors(encoder, [TEXTS[0], "the banker"], "bank")
  with pytest.raises(UserError, match="sentence 1 has .* tokens; the encoder reads 12"):
    contextual_vectors.layer_vectors(encoder, ["the bank " * 9], "bank")


def test_the_cosines_by_hand():
  x = np.array([[1.0, 0.0], [3.0, 3.0], [0.0, -2.0]])
  within, between = contextual_vectors.cosines(x, ["a", "a", "b"])
  assert within == pytest.approx(0.5**0.5)
  assert between == pytest.approx((0 - 0.5**0.5) / 2)


@pytest.mark.full
def test_a_trained_encoder_parts_the_senses_and_the_embedding_cannot():
  texts, drawn = contextual_vectors.generated()
  sentences, senses = zip(*drawn)
  found = contextual_vectors.layer_vectors(contextual_vectors.train(texts), sentences, "bank")
  assert len(found) == 3 and (found[0] == found[0][0]).all()
  within, between = contextual_vectors.cosines(found[-1], senses)
  assert within > between + 0.3
  unit = found[-1] / np.linalg.norm(found[-1], axis=-1, keepdims=True)
  pairs = unit @ unit.T - 2 * np.eye(len(unit))
  nearest = pairs.argmax(-1)  # Each vector's nearest one has its sense.
  assert [senses[i] for i in nearest] == list(senses)


def test_a_table_of_sentences_has_two_senses(tmp_path):
  path = tmp_path / "mine.csv"
  path.write_text("text,sense\na bank,x\nthe bank,x\nbank,y\n")
  assert contextual_vectors.read(path) == [("a bank", "x"), ("the bank", "x"), ("bank", "y")]
  for rows in ("a bank,x\nthe bank,x\n", "a bank,x\nthe bank,y\n"):
    path.write_text("text,sense\n" + rows)
    with pytest.raises(UserError, match="expected two senses or more"):
      contextual_vectors.read(path)
  with pytest.raises(UserError, match="give --encoder"):
    contextual_vectors.draw(sentences=str(path))
