"""The feed-forward language model: logits by plain numpy, the length of its context, its carry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.feedforward_lm import config as configs
from experiments.feedforward_lm import experiment

CHARACTERS = "abcdef"
IDS = np.array([[3, 1, 4, 1, 5, 0, 2], [2, 0, 1, 1, 3, 5, 4]])
V, M, H = 6, 8, 16


def task_of(**changes):
  config = configs.get_config("debug", changes)
  return experiment.make(config, {"characters": CHARACTERS})


def variables_of(task):
  """Every entry drawn, biases too."""
  shapes = jax.eval_shape(lambda rng: task.init_fn(rng, None), jax.random.key(0))
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), shapes)


def logits_in_numpy(variables, ids, direct):
  """The equation, token by token in float64; zeros stand before the text."""
  params = jax.tree.map(np.float64, variables["params"])
  table = np.concatenate([np.zeros((3, M)), params["embedding"]["embedding"][ids]])
  found = []
  for t in range(len(ids)):
    x = np.concatenate([table[t + i + 1] for i in range(3)])
    h = np.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    u, w = np.split(params["output"]["kernel"], [H])
    found.append(h @ u + (x @ w if direct else 0) + params["output"]["bias"])
  return np.array(found)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("jitted", [True, False])
def test_the_loss_is_that_of_the_equation(x64, direct, jitted):
  task = task_of(**{"model.direct": direct})
  variables = variables_of(task)
  batch = {"inputs": IDS[:, :-1], "targets": IDS[:, 1:]}
  eval_fn = jax.jit(task.eval_fn) if jitted else task.eval_fn
  found, _ = eval_fn(variables, batch, None)["loss"]
  for row, loss in zip(IDS, found):
    logits = logits_in_numpy(variables, row[:-1], direct)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -log_p[np.arange(6), row[1:]]
    np.testing.assert_allclose(loss, expected, rtol=1e-10)


def test_only_the_last_n_minus_1_tokens_matter():
  table = {"embedding": jnp.asarray(np.random.default_rng(0).normal(size=(V, M)))}
  before = jnp.full((2,), experiment.NONE)
  states = lambda ids: np.asarray(experiment.contexts(table, ids, before)[0])  # noqa: E731
  for t in range(7):
    changed = IDS[0].copy()
    changed[t] = (changed[t] + 1) % V
    differs = (states(changed) != states(IDS[0])).any(-1)
    assert differs.nonzero()[0].tolist() == [*range(t, min(t + 3, 7))]


def test_the_text_drawn_token_by_token_is_that_of_whole_passes():
  task = task_of()
  variables = variables_of(task)
  drawn = "".join(
      task.sample(variables, jax.random.key(0), prompt="fab", length=12, temperature=0)
  )
  text = "fab"
  for _ in range(12):
    ids = np.array([CHARACTERS.index(c) for c in text])
    text += CHARACTERS[int(logits_in_numpy(variables, ids, True)[-1].argmax())]
  assert drawn == text[3:]
