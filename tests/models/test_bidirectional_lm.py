"""The bidirectional language model: what each direction sees, the loss, padding."""

import drawn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import lstm
from dlx.models import bidirectional_lm
from dlx.models.bidirectional_lm import BidirectionalLM

IDS, LENGTHS = jnp.asarray([[1, 2, 3, 4], [0, 2, 0, 0]]), jnp.asarray([4, 2])
BOUNDARY = 5
MODEL = BidirectionalLM(5, d=3, num_layers=2)


@pytest.fixture(scope="module")
def variables():
  return drawn.variables(MODEL.init, jax.random.key(0), IDS, LENGTHS)


@pytest.fixture(scope="module")
def outputs(variables):
  return jax.jit(MODEL.apply)(variables, IDS, LENGTHS)


def test_sentences_stand_between_boundaries():
  found = bidirectional_lm.framed(IDS, LENGTHS, BOUNDARY)
  assert found.tolist() == [[5, 1, 2, 3, 4, 5], [5, 0, 2, 5, 0, 0]]


def test_no_direction_sees_the_word_it_predicts(variables):
  """Each word has an embedding of its own, whose gradient is zero where it is not read."""
  ids, lengths = jnp.arange(4), jnp.asarray(4)
  model = BidirectionalLM(4, d=3, num_layers=2)
  table = jax.random.normal(jax.random.key(1), (5, 3))
  params = {**variables["params"], "bias": jnp.zeros(5)}

  def states(table):
    """Of the last layer, w_1 ... w_4; a state at t predicts w_t+1, or w_t-1 backward."""
    found = model.apply({"params": {**params, "words": {"embedding": table}}}, ids, lengths)
    return found.layers[-1]

  seen = np.abs(jax.jit(jax.jacobian(states))(table)).max(-1)  # (t, 2 D, word).
  forward, backward = seen[:, :3].max(1), seen[:, 3:].max(1)
  for t in range(4):
    assert not forward[t, t + 1 : 4].any() and (forward[t, : t + 1] > 0).all()
    assert not backward[t, :t].any() and (backward[t, t:4] > 0).all()


def test_the_logits_of_a_word_do_not_depend_on_it(variables, outputs):
  for t in range(4):
    changed = MODEL.apply(variables, IDS.at[0, t].set(0), LENGTHS)
    for new, old, at in (
        (changed.forward, outputs.forward, t), (changed.backward, outputs.backward, t + 1)
    ):  # fmt: skip
      np.testing.assert_allclose(new[0, at], old[0, at], atol=1e-6)
      assert np.abs(new[0] - old[0]).max() > 1e-4


@pytest.mark.full
def test_states_and_nats_are_those_of_each_sentence_alone(variables, outputs):
  params, (forward, backward) = variables["params"], bidirectional_lm.nats(outputs, IDS, LENGTHS)
  table = params["words"]["embedding"]
  for i, n in enumerate(LENGTHS.tolist()):
    words = jnp.asarray([BOUNDARY, *IDS[i, :n].tolist(), BOUNDARY])
    sums = []
    for name, order in (("forward", slice(None)), ("backward", slice(None, None, -1))):
      x, layers = table[words[order]], []
      layers.append(x)
      for layer in range(2):
        layers.append(lstm.scan(params[f"{name}_{layer}"], layers[-1])[1])
      half = slice(0, 3) if name == "forward" else slice(3, 6)
      for j, h in enumerate(layers):
        np.testing.assert_allclose(
            outputs.layers[i, j, :n, half], h[order][1:-1], rtol=1e-4, atol=1e-5
        )
      log_p = jax.nn.log_softmax(layers[-1][:-1] @ table.T + params["bias"])
      sums.append(-sum(log_p[k, w] for k, w in enumerate(words[order][1:])))
    np.testing.assert_allclose([forward[i], backward[i]], sums, rtol=1e-4)


def test_dropout_is_drawn_in_training_only(variables, outputs):
  model = MODEL.clone(dropout_rate=0.5, recurrent_dropout_rate=0.5)
  train = jax.jit(
      lambda rng: model.apply(variables, IDS, LENGTHS, train=True, rngs={"dropout": rng}).forward
  )
  assert np.abs(train(jax.random.key(1)) - train(jax.random.key(2))).max() > 1e-3
  np.testing.assert_allclose(
      model.apply(variables, IDS, LENGTHS).forward, outputs.forward, atol=1e-5
  )
