"""The transformer language model: causality, the cache, the context, units of perplexity."""

import itertools
import math

import drawn
import jax
import numpy as np
import pytest

from dlx.data import vocabulary as vocabularies
from dlx.errors import UserError
from dlx.metrics import language_model
from dlx.models import generation
from dlx.models.transformer import POSITIONS, Transformer
from experiments.transformer_lm import config as configs
from experiments.transformer_lm import experiment

CHARACTERS = "abcdefgh"
SMALL = {"data.seq_len": 8, "data.eval_seq_len": 8, "model.num_layers": 2}


def task_of(**changes):
  config = configs.get_config("debug", {**SMALL, **changes})
  return experiment.make(config, {"characters": CHARACTERS})


def variables_of(task):
  """Every entry drawn, biases too, for logits that differ."""
  return drawn.variables(lambda rng: task.init_fn(rng, None), jax.random.key(0), scale=0.5)


IDS = np.array([0, 3, 1, 7, 7, 2, 5, 4])


@pytest.mark.full
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("conv_width", [1, 3])
def test_tokens_read_in_pieces_have_the_states_of_one_pass(positions, conv_width, x64):
  model = Transformer(
      8, 12, 2, 2, 16, positions=positions, max_length=8, is_causal=True, gated=True,
      conv_width=conv_width,
  )  # fmt: skip
  params = drawn.variables(model.init, jax.random.key(0), IDS, dtype=float)
  expected = jax.jit(model.apply)(params, IDS)
  read = jax.jit(lambda params, ids, cache: model.apply(params, ids, cache=cache))
  for pieces in ((8,), (1,) * 8, (5, 1, 2)):
    cache, position = jax.tree.map(lambda x: x, model.init_cache()), 0
    cache = jax.tree.map(lambda x: x.astype(float) if x.ndim else x, cache)
    for size in pieces:
      states, cache = read(params, IDS[position : position + size], cache)
      wanted = expected[position : position + size]
      np.testing.assert_allclose(states, wanted, rtol=1e-10, atol=1e-10)
      position += size
    assert int(cache["position"]) == 8


def test_a_cache_needs_a_causal_model():
  with pytest.raises(ValueError, match="is_causal: expected True"):
    Transformer(8, 12, 2, 2, 16).init_cache()
  with pytest.raises(ValueError, match="width: expected None, since conv_width is above 1"):
    Transformer(8, 12, 2, 2, 16, is_causal=True, conv_width=2).init_cache((), 4)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("positions", POSITIONS)
def test_no_token_depends_on_later_ones(positions):
  model = Transformer(
      8, 12, 2, 2, 16, positions=positions, max_length=8, is_causal=True, conv_width=3
  )
  params = drawn.variables(model.init, jax.random.key(0), IDS)
  apply = jax.jit(model.apply)
  states = lambda ids: np.asarray(apply(params, ids))  # noqa: E731
  for t in range(8):
    changed = IDS.copy()
    changed[t] = (changed[t] + 1) % 8
    differs = (states(changed) != states(IDS)).any(-1)
    assert not differs[:t].any() and differs[t:].all()


def uncached(task, variables, prompt, length, context):
  """Greedy text, by a pass over all tokens for each, of at most `context` tokens.

  A pass has `context` of them: those after the text change nothing, as another test shows.
  """
  model = experiment.Transformer(
      len(CHARACTERS), is_causal=True, max_length=context,
      **configs.get_config("debug", SMALL).model,
  )  # fmt: skip
  params, text = variables["params"], prompt
  read = jax.jit(lambda ids: model.apply({"params": params["transformer"]}, ids))
  for _ in range(length):
    ids = np.array([CHARACTERS.index(c) for c in text.ljust(context, CHARACTERS[0])])
    logits = read(ids)[len(text) - 1] @ params["output"]["kernel"] + params["output"]["bias"]
    text += CHARACTERS[int(logits.argmax())]
  return text[len(prompt) :]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("prompt", ["a", "hgf", "abcdefgh"])
def test_the_text_drawn_with_a_cache_is_that_of_whole_passes(prompt):
  task = task_of()
  variables, room = variables_of(task), 8 - len(prompt) + 1
  text = "".join(
      task.sample(variables, jax.random.key(0), prompt=prompt, length=room, temperature=0)
  )
  assert text == uncached(task, variables, prompt, room, 8)


@pytest.mark.full
def test_a_full_context_continues_with_its_last_half():
  task = task_of()
  variables = variables_of(task)
  draw = lambda prompt, n: "".join(  # noqa: E731
      task.sample(variables, jax.random.key(0), prompt=prompt, length=n, temperature=0)
  )
  text = draw("abc", 21)
  assert len(text) == 21
  known = "abc" + text[:6]  # Six are drawn from three; then the last four are read again.
  for start in range(6, 21, 5):
    assert text[start : start + 5] == draw(known[-4:], 5)[: 21 - start]
    known += text[start : start + 5]


def test_a_prompt_longer_than_the_context_is_refused():
  task = task_of()
  with pytest.raises(UserError, match="the prompt has 9 tokens, but the context has 8"):
    task.sample(variables_of(task), jax.random.key(0), prompt="abcdefgha")
  with pytest.raises(UserError, match="the character 'z'"):
    task.sample(variables_of(task), jax.random.key(0), prompt="z")


@pytest.mark.full
def test_pieces_of_text_count_their_tokens():
  task = task_of()
  pieces = list(task.sample(variables_of(task), jax.random.key(0), prompt="ab", length=13))
  assert sum(p.num_tokens for p in pieces) == 13 == len("".join(pieces))


class Bytes:
  """A vocabulary of bytes, so that a character takes several."""

  def decode(self, ids):
    return bytes(ids).decode(errors="replace")


def test_a_character_is_shown_when_its_last_byte_is_drawn():
  content = "aé𝄞b".encode()
  pieces = [np.array([byte]) for byte in content]
  found = list(generation._decoded(Bytes(), pieces))
  assert "".join(found) == "aé𝄞b" and "\ufffd" not in "".join(found)
  cut = list(generation._decoded(Bytes(), pieces[:-2]))
  assert "".join(cut) == "aé\ufffd"


def test_the_loss_per_word_and_per_character_are_those_of_the_text():
  text = "the cat sat on the mat and the dog sat too " * 3
  for kind, size in (("characters", None), ("words", 8), ("byte_pairs", 270)):
    vocabulary = vocabularies.learn(kind, text, size)
    ids, characters = vocabulary.encode(text)
    examples = {"targets": ids[None]}
    if characters is not None:
      examples["characters"] = characters[None]
    found = language_model.per_unit(0.5, examples, vocabulary)
    assert found["tokens"] == len(ids)
    assert found["perplexity per word"] == pytest.approx(math.exp(0.5 * len(ids) / 33))
    if characters is not None:
      length = len(text) - (kind == "words")  # No word ends with the last space.
      assert found["nats per character"] == pytest.approx(0.5 * len(ids) / length)


def test_the_schedule_of_presets_is_valid_for_a_text_of_words(tmp_path):
  path = tmp_path / "text.txt"
  path.write_text(" ".join(itertools.islice(itertools.cycle("abcdefg"), 400)))
  config = configs.get_config("debug", {
      "data.text": str(path), "data.tokens": "words", "data.vocab_size": 6,
      "data.num_train_words": 300, "data.num_validation_words": 50,
  })  # fmt: skip
  data = experiment.load(config)
  assert data.train["ids"].shape == (300,) and data.train["ids"].max() == 5
  assert data.validation["targets"].size == 48 and data.test["targets"].size == 48
  config.data.num_validation_words = 100
  with pytest.raises(UserError, match="400 words; 300 for training and 100 for validation leave"):
    experiment.load(config)
