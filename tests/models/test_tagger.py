"""The tagger: padding, characters, losses of tags that training has not."""

import drawn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import crf
from dlx.models import tagger

RNG = jax.random.key(0)


def model_of(**options):
  sizes = {"d_word": 4, "d_spelling": 4, "d_hidden": 3, "num_layers": 2}
  return tagger.Tagger(6, 9, 5, **{**sizes, **options})


def inputs(seed=0):
  rng = np.random.default_rng(seed)
  lengths = jnp.asarray([4, 2])
  characters = rng.integers(2, 9, (2, 4, 3)) * (np.arange(3) < rng.integers(1, 4, (2, 4, 1)))
  valid = np.arange(4) < lengths[:, None]
  return jnp.asarray(rng.integers(6, size=(2, 4)) * valid), characters * valid[..., None], lengths


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "characters, cell, output",
    [("conv", "lstm", "crf"), ("gru", "gru", "softmax"), ("none", "rnn", "softmax")],
)
def test_padding_of_words_and_of_characters_changes_nothing(characters, cell, output):
  model = model_of(characters=characters, cell=cell, output=output)
  apply, args = jax.jit(model.apply), inputs()
  ids, spelled, lengths = args
  variables = drawn.variables(model.init, RNG, *args)
  scores, chain = apply(variables, *args)
  assert (chain is None) == (output == "softmax") and scores.shape == (2, 4, 5)
  wide = jnp.pad(spelled, ((0, 0), (0, 0), (0, 3)))[1:, :2]
  short = apply(variables, ids[1:, :2], wide, lengths[1:])
  np.testing.assert_allclose(scores[1, :2], short[0][0], rtol=1e-5, atol=1e-6)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("characters", ["conv", "gru"])
def test_unknown_words_differ_by_their_characters(characters):
  model = model_of(characters=characters)
  ids, spelled, lengths = jnp.zeros((1, 1), int), jnp.asarray([[[3, 4, 5]]]), jnp.asarray([1])
  variables, apply = drawn.variables(model.init, RNG, ids, spelled, lengths), jax.jit(model.apply)
  scores = [apply(variables, ids, s, lengths)[0] for s in (spelled, spelled[..., ::-1])]
  assert np.abs(scores[0] - scores[1]).max() > 1e-4


@pytest.mark.full
def test_dropout_is_drawn_in_training_only():
  model = model_of(dropout_rate=0.5, recurrent_dropout_rate=0.5)
  args = inputs()
  variables = drawn.variables(model.init, RNG, *args)
  train = jax.jit(lambda rng: model.apply(variables, *args, train=True, rngs={"dropout": rng})[0])
  first, second = (train(jax.random.key(i)) for i in (1, 2))
  assert np.abs(first - second).max() > 1e-3
  plain = model_of().apply(variables, *args)[0]
  np.testing.assert_array_equal(model.apply(variables, *args)[0], plain)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("chained", [False, True])
def test_the_loss_leaves_out_what_has_no_likelihood(chained):
  scores = jax.random.normal(RNG, (3, 4, 5))
  chain = crf.init(RNG, 5) if chained else None
  labels = jnp.asarray([[1, 2, 3, 4], [1, -1, 3, 0], [2, 2, -1, -1]])
  lengths = jnp.asarray([4, 3, 2])
  nats, words = tagger.negative_log_likelihood(scores, chain, labels, lengths)
  assert words.tolist() == [4, 0 if chained else 2, 2]
  if chained:
    expected = crf.negative_log_likelihood(chain, scores[2, :2], jnp.asarray([2, 2]))
    assert nats[1] == 0
  else:
    log_p = jax.nn.log_softmax(scores)
    expected = -log_p[2, 0, 2] - log_p[2, 1, 2]
    np.testing.assert_allclose(nats[1], -log_p[1, 0, 1] - log_p[1, 2, 3], rtol=1e-6)
  np.testing.assert_allclose(nats[2], expected, rtol=1e-6)


def test_decoding_is_by_word_or_by_sentence():
  scores, lengths = jnp.asarray([[[2.0, 0], [1, 0], [0, 9]]]), jnp.asarray([2])
  assert tagger.decode(scores, None, lengths).tolist() == [[0, 0, 0]]
  chain = {
      "start": jnp.zeros(2), "transitions": jnp.asarray([[-5.0, 0], [0, 0]]), "end": jnp.zeros(2)
  }  # fmt: skip
  assert tagger.decode(scores, chain, lengths).tolist() == [[0, 1, 0]]
