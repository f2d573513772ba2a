"""Answers by their log-probability after a prompt, against loops over single tokens."""

import importlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import prompts, vocabulary
from dlx.errors import UserError
from dlx.layers import linear
from dlx.metrics import language_model
from dlx.models.language_model import RecurrentLanguageModel
from dlx.models.transformer import Transformer
from dlx.training import prompting, train

RNG = np.random.default_rng(0)
KNOWN = vocabulary.Characters("abcdefgh :\n")
TEMPLATE = prompts.Template.parse("{text}: {label}\n")
TABLE = RNG.normal(size=(len(KNOWN), len(KNOWN))) * 2
TABLE[KNOWN.encode(" ")[0], KNOWN.encode("d")[0]] += 3  # After a blank, a word with d is frequent.
LOG_P = TABLE - np.log(np.exp(TABLE).sum(-1, keepdims=True))


def bigrams(context=None) -> types.SimpleNamespace:
  """A run of a language model whose next character depends on the last one alone."""

  def eval_fn(variables, batch, rng):
    return language_model.token_losses(variables["table"][batch["inputs"]], batch["targets"])

  return types.SimpleNamespace(
      assets=KNOWN.assets, eval_variables={"table": jnp.asarray(TABLE)},
      task=types.SimpleNamespace(eval_fn=eval_fn, sample=types.SimpleNamespace(context=context)),
      config=types.SimpleNamespace(
          experiment="bigrams", training=types.SimpleNamespace(eval_batch_size=2),
          data=types.SimpleNamespace(eval_seq_len=64),
      ),
  )  # fmt: skip


def log_p(context: str, answer: str) -> float:
  ids = KNOWN.encode(context[-1] + answer)[0]
  return sum(LOG_P[a, b] for a, b in zip(ids, ids[1:]))


def test_the_score_of_an_answer_is_a_sum_a_mean_or_a_ratio_of_log_probabilities(x64):
  texts, labels = ["bad", "a cab" * 12, "h"], ["dad", "gab", "e", "head"]
  shown = [[], [("age", "e"), ("fad", "dad")], [("a", "gab")]]
  scores = {}
  for score in prompting.SCORES:
    found = prompting.answer(bigrams(), TEMPLATE, texts, shown, labels, score=score)
    scores[score] = found.scores
    assert found.shortened == 0
    best = [max(range(4), key=lambda k: row[k]) for row in found.scores.tolist()]
    assert found.predictions.tolist() == best
  total = np.array([[log_p(":", " " + label) for label in labels]] * 3)
  np.testing.assert_allclose(scores["sum"], total, rtol=1e-6)
  np.testing.assert_allclose(scores["mean"], total / [4, 4, 2, 5], rtol=1e-6)
  np.testing.assert_allclose(scores["ratio"], 0, atol=1e-6)  # The cue ends as the prompt does.


def test_the_ratio_prefers_what_the_text_makes_more_probable(x64):
  template = prompts.Template.parse("{text}{label}\n")
  labels = ["b", "d"]
  found = prompting.answer(bigrams(), template, ["h", "c"], [[], []], labels, score="ratio")
  # Without words between text and label, the cue is a line end, as in sampling.
  expected = [[log_p(t, a) - log_p("\n", a) for a in labels] for t in "hc"]
  np.testing.assert_allclose(found.scores, expected, rtol=1e-6)


def test_a_context_that_is_full_loses_the_first_examples():
  texts, labels, shown = ["h", "gag"], ["a", "dad"], [[("bead", "a"), ("cafe", "dad")]] * 2
  whole = len("bead: a\ncafe: dad\nh: dad") - 1  # The last token is no input.
  assert prompting.answer(bigrams(whole), TEMPLATE, texts[:1], shown[:1], labels).shortened == 0
  found = prompting.answer(bigrams(whole), TEMPLATE, texts, shown, labels)
  assert found.shortened == 1 and found.scores.shape == (2, 2)
  with pytest.raises(UserError, match="row 2: 4 tokens without an example"):
    prompting.answer(bigrams(6), TEMPLATE, texts, shown, labels)


def test_unknown_characters_name_their_row_and_other_runs_are_refused():
  with pytest.raises(UserError, match="row 2: the character 'x'"):
    prompting.answer(bigrams(), TEMPLATE, ["a", "x"], [[], []], ["a", "b"])
  with pytest.raises(UserError, match="the character 'z'"):
    prompting.answer(bigrams(), TEMPLATE, ["a"], [[]], ["a", "z"])
  run = bigrams()
  run.task.sample = None
  with pytest.raises(UserError, match="bigrams is not a language model"):
    prompting.answer(run, TEMPLATE, ["a"], [[]], ["a", "b"])


@pytest.mark.full
@pytest.mark.parametrize("name", ["gru_lm", "transformer_lm"])
def test_the_log_probability_of_an_answer_is_a_loop_over_its_tokens(name):
  """Each token from a pass of its own over those before it, without padding or other rows."""
  config = importlib.import_module(f"experiments.{name}.config").get_config("debug", {})
  run = train.prepare(config, None)
  variables = jax.jit(lambda rng: run.task.init_fn(rng, run.data))(jax.random.key(0))
  params = jax.tree.map(lambda p: 2 * p, variables["params"])
  known = vocabulary.of(run.data.assets)

  def logits(ids):
    if name == "gru_lm":
      model = RecurrentLanguageModel(len(known), **config.model)
      return model.apply({"params": params}, ids)[0]
    model = Transformer(len(known), is_causal=True, max_length=16, **config.model)
    states = model.apply({"params": params["transformer"]}, ids)
    return linear.apply(params["output"], states)

  prompt, answers = known.encode("def f(")[0], [known.encode(a)[0] for a in ("x):", "y")]
  expected = []
  for answer in answers:
    total, ids = 0.0, prompt
    for token in answer:
      last = np.float64(logits(ids)[-1])
      total += last[token] - np.log(np.exp(last).sum())
      ids = np.append(ids, token)
    expected.append(total)
  found = prompting.log_probabilities(
      run.task, {**variables, "params": params}, [prompt[:2], prompt], answers,
      run.task.sample.context, tokens=64,
  )  # fmt: skip
  np.testing.assert_allclose(found[1], expected, rtol=1e-4)
  assert np.abs(found[0] - found[1]).max() > 1e-3
