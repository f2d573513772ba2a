"""The recurrent language model: causality, state, dropout and parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers.recurrent import CELLS
from dlx.models.language_model import RecurrentLanguageModel

VOCAB, D, H, T = 7, 3, 4, 6
IDS = np.array([[1, 5, 0, 3, 3, 6], [2, 2, 4, 0, 1, 5]], np.int32)


def make(cell="gru", num_layers=2, **options):
  """(model, params with every entry random)."""
  model = RecurrentLanguageModel(VOCAB, D, H, num_layers, cell=cell, **options)
  params = model.init(jax.random.key(0), IDS[:, :1])["params"]
  rng = np.random.default_rng(0)
  return model, jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), params)


@functools.partial(jax.jit, static_argnames=("model", "train"))
def apply(model, params, ids, carries=None, *, train=False, rngs=None):
  return model.apply({"params": params}, ids, carries, train=train, rngs=rngs)


FORMS = [("rnn", {}), ("lstm", {}), ("gru", {}), ("gru", {"reset_after": False})]
forms = pytest.mark.parametrize("cell, options", FORMS, ids=["rnn", "lstm", "gru", "gru_before"])


@pytest.mark.sampled(2)
@forms
@pytest.mark.parametrize("residual", [False, True])
def test_a_changed_token_changes_the_logits_from_it_on_only(cell, options, residual):
  model, params = make(cell, residual=residual, **options)
  before = np.asarray(apply(model, params, IDS)[0])
  for t in range(T):
    ids = IDS.copy()
    ids[:, t] = (ids[:, t] + 1) % VOCAB
    after = np.asarray(apply(model, params, ids)[0])
    np.testing.assert_array_equal(after[:, :t], before[:, :t])
    assert (after[:, t:] != before[:, t:]).any(-1).all()


@pytest.mark.sampled(2)
@forms
def test_the_gradient_of_a_logit_reaches_tokens_up_to_its_step_only(x64, cell, options):
  # The ids are distinct, so that a row of the embedding is a position in the sequence.
  model, params = make(cell, **options)
  ids = np.array([3, 0, 5, 1, 6, 2])

  def logit(table, t):
    return apply(model, {**params, "embedding": {"embedding": table}}, ids)[0][t].sum()

  gradient = jax.jit(jax.grad(logit))
  for t in (0, 2, T - 1):
    grads = np.asarray(gradient(params["embedding"]["embedding"], t))
    assert not grads[ids[t + 1 :]].any() and not grads[4].any()
    assert grads[ids[: t + 1]].any(-1).all()


@pytest.mark.sampled(2)
@forms
def test_two_halves_with_carried_state_equal_the_whole_sequence(cell, options):
  model, params = make(cell, **options)
  whole, last = apply(model, params, IDS)
  first, carries = apply(model, params, IDS[:, :3])
  second, carries = apply(model, params, IDS[:, 3:], carries)
  np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=2e-6)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), carries, last)
  assert np.abs(np.asarray(apply(model, params, IDS[:, 3:])[0]) - whole[:, 3:]).max() > 1e-3


@pytest.mark.sampled(2)
@forms
def test_a_single_sequence_equals_its_row_of_a_batch(cell, options):
  model, params = make(cell, **options)
  batched, carries = apply(model, params, IDS)
  for i in range(2):
    logits, single_carries = apply(model, params, IDS[i])
    assert logits.shape == (T, VOCAB)
    np.testing.assert_allclose(logits, batched[i], atol=2e-6)
    for single, whole in zip(jax.tree.leaves(single_carries), jax.tree.leaves(carries)):
      np.testing.assert_allclose(single, whole[i], atol=2e-6)
  assert apply(model, params, IDS[None, :, None])[0].shape == (1, 2, 1, T, VOCAB)


@pytest.mark.sampled(2)
@forms
def test_few_tokens_and_many_have_the_same_logits(cell, options):
  """With fewer tokens than the vocabulary has, the embedding is computed differently."""
  model, params = make(cell, **options)
  many = apply(model, params, np.tile(IDS[:, :3], (4, 1)))[0]
  few = apply(model, params, IDS[:1, :3])[0]
  np.testing.assert_allclose(few[0], many[0], atol=2e-6)


def test_dropout_is_random_in_training_and_absent_in_evaluation():
  model, params = make(dropout_rate=0.5, recurrent_dropout_rate=0.3)
  plain, _ = make()

  def train(seed):
    rngs = {"dropout": jax.random.key(seed)}
    return np.asarray(apply(model, params, IDS, train=True, rngs=rngs)[0])

  evaluated = np.asarray(apply(model, params, IDS)[0])
  np.testing.assert_array_equal(evaluated, apply(model, params, IDS)[0])
  np.testing.assert_array_equal(evaluated, apply(plain, params, IDS)[0])
  np.testing.assert_array_equal(train(1), train(1))
  assert np.abs(train(1) - train(2)).max() > 1e-3 and np.abs(train(1) - evaluated).max() > 1e-3


@pytest.mark.parametrize("rates", [
    {"dropout_rate": 0.5}, {"recurrent_dropout_rate": 0.5}, {"embedding_dropout_rate": 0.5},
])  # fmt: skip
def test_each_kind_of_dropout_works_alone(rates):
  model, params = make(num_layers=1, **rates)
  draws = [
      apply(model, params, IDS, train=True, rngs={"dropout": jax.random.key(s)})[0] for s in (1, 2)
  ]
  assert np.abs(np.asarray(draws[0] - draws[1])).max() > 1e-3
  without, _ = make(num_layers=1)
  logits = apply(without, params, IDS, train=True, rngs={"dropout": jax.random.key(1)})[0]
  np.testing.assert_allclose(logits, apply(without, params, IDS)[0], atol=1e-6)


def test_dropout_before_the_output_has_a_new_mask_at_every_step():
  model, params = make(num_layers=1, dropout_rate=0.5)
  # With an identity as output layer, a dropped unit is a zero logit.
  identity = {"kernel": jnp.eye(H, VOCAB), "bias": jnp.zeros(VOCAB)}
  params = {**params, "output": identity}
  logits = apply(model, params, np.tile(IDS, (8, 1)), train=True,
                 rngs={"dropout": jax.random.key(0)})[0][..., :H]  # fmt: skip
  dropped = np.asarray(logits == 0)
  assert 0.3 < dropped.mean() < 0.7
  equal = (dropped[:, 1:] == dropped[:, :-1]).mean()
  assert 0.35 < equal < 0.65, "the masks of consecutive steps should be independent"


def test_a_tied_model_has_the_transposed_embedding_as_its_output_layer():
  model = RecurrentLanguageModel(VOCAB, H, H, 2, tied=True)
  params = model.init(jax.random.key(0), IDS[:, :1])["params"]
  assert params.keys() == {"embedding", "recurrent", "bias"}
  bias = jnp.arange(VOCAB, dtype=jnp.float32)
  untied = RecurrentLanguageModel(VOCAB, H, H, 2)
  output = {"kernel": params["embedding"]["embedding"].T, "bias": bias}
  expected = apply(untied, {**params, "output": output}, IDS)[0]
  np.testing.assert_allclose(apply(model, {**params, "bias": bias}, IDS)[0], expected, atol=2e-6)


@pytest.mark.parametrize("cell, gates, biases", [
    ("rnn", 1, ["bias"]), ("lstm", 4, ["bias"]), ("gru", 3, ["bias", "hidden_bias"]),
])  # fmt: skip
def test_names_and_shapes_of_parameters(cell, gates, biases):
  model = RecurrentLanguageModel(VOCAB, D, H, 2, cell=cell)
  params = model.init(jax.random.key(0), IDS)["params"]
  shapes = jax.tree.map(lambda p: p.shape, params, is_leaf=lambda p: hasattr(p, "shape"))
  layer = {"hidden": (H, gates * H), **{bias: (gates * H,) for bias in biases}}
  assert shapes == {
      "embedding": {"embedding": (VOCAB, D)},
      "recurrent": [
          {"input": (D, gates * H), **layer},
          {"input": (H, gates * H), **layer},
      ],
      "output": {"kernel": (H, VOCAB), "bias": (VOCAB,)},
  }
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
  assert sorted(CELLS) == ["gru", "lstm", "rnn"]


@pytest.mark.full
def test_initial_parameters_depend_on_the_key_only():
  model = RecurrentLanguageModel(VOCAB, D, H, 2)
  first = model.init(jax.random.key(0), IDS)["params"]
  again = model.init(jax.random.key(0), IDS[0, :1])["params"]
  other = model.init(jax.random.key(1), IDS)["params"]
  jax.tree.map(np.testing.assert_array_equal, first, again)
  assert (first["embedding"]["embedding"] != other["embedding"]["embedding"]).all()
  assert (first["recurrent"][0]["hidden"] != first["recurrent"][1]["hidden"]).any()
