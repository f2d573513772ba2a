"""Truncation of batches to a few lengths changes neither results nor gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import bucketing
from dlx.experiment import Loss
from dlx.training import sharding
from dlx.training.evaluation import make_apply

LENGTHS = (2, 4, 8)
seen = []  # The lengths with which the loss was traced.


def loss_fn(variables, batch, rng):
  """A sum over tokens of a table's rows, weighted by position, without padding."""
  ids, lengths = batch["ids"], batch["lengths"]
  seen.append(ids.shape[1])
  valid = bucketing.token_mask(ids, lengths)
  values = variables["params"]["table"][ids] * (1 + jnp.arange(ids.shape[1]))
  noise = jax.random.normal(rng, lengths.shape)
  loss = (jnp.where(valid, values, 0).sum(1) * (batch["labels"] + noise)).sum()
  return Loss(loss, {"longest": lengths.max()}, {"seen": variables["seen"] + 1})


def batch_of(*lengths):
  rng = np.random.default_rng(0)
  ids = rng.integers(1, 9, (len(lengths), 8))
  ids[np.arange(8) >= np.array(lengths)[:, None]] = 0
  labels = jnp.arange(1.0, 1 + len(lengths))
  return {"ids": jnp.asarray(ids), "lengths": jnp.array(lengths), "labels": labels}


PARAMS, SEEN = {"table": jnp.linspace(-1, 2, 9)}, jnp.zeros(())


def value_and_grad(loss_fn, params, batch, scale=1.0):
  def scaled(params):
    loss = loss_fn({"params": params, "seen": SEEN}, batch, jax.random.key(1))
    return scale * loss.value, (loss.metrics, loss.updated)

  return jax.value_and_grad(scaled, has_aux=True)(params)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("lengths", [(1, 2), (1, 3), (4, 4), (5, 1), (8, 2)])
@pytest.mark.parametrize("compile_", [lambda f, **_: f, jax.jit], ids=["eager", "jit"])
def test_loss_gradient_and_metrics_equal_those_of_the_full_batch(lengths, compile_):
  f = compile_(value_and_grad, static_argnums=0)
  truncated = bucketing.truncated_loss(loss_fn, LENGTHS)
  ours, expected = (f(loss, PARAMS, batch_of(*lengths)) for loss in (truncated, loss_fn))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, expected)


def test_the_gradient_is_multiplied_by_the_incoming_one():
  loss = bucketing.truncated_loss(loss_fn, LENGTHS)
  one, three = (
      value_and_grad(loss, PARAMS, batch_of(3, 1), scale)[1]["table"] for scale in (1.0, 3.0)
  )
  assert one.any()
  np.testing.assert_allclose(3 * one, three, rtol=1e-6)


@pytest.mark.parametrize(
    "lengths, expected", [((2, 4, 8), {2, 4, 8}), ((2, 16), {2, 8}), ((3,), {3, 8})]
)
def test_one_branch_is_traced_for_each_length_up_to_the_width(lengths, expected):
  seen.clear()
  truncated = bucketing.truncated_loss(loss_fn, lengths)
  jax.make_jaxpr(lambda p: value_and_grad(truncated, p, batch_of(8, 1)))(PARAMS)
  assert set(seen) == expected


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 10])
def test_a_truncated_function_of_sorted_examples_equals_the_full_one(chunk):
  lengths = np.array([5, 1, 8, 2, 2, 3, 7])
  ids = np.arange(1, 57).reshape(7, 8) * (np.arange(8) < lengths[:, None])
  examples = bucketing.sort_by_length({"ids": ids, "lengths": lengths, "name": np.arange(7)})
  widths = set()

  def function(variables, batch, rng):
    widths.add(batch["ids"].shape[1])
    return {"sum": batch["ids"].sum(1), "name": batch["name"]}

  apply = make_apply({}, sharding.make_mesh(), chunk=chunk)
  found = apply(bucketing.truncated(function, LENGTHS), examples)
  np.testing.assert_array_equal(found["name"], [1, 3, 4, 5, 0, 6, 2])  # A stable order.
  np.testing.assert_array_equal(found["sum"], ids.sum(1)[found["name"]])
  assert widths == set(LENGTHS)


@pytest.mark.parametrize("max_length, count, expected", [
    (8, 4, (2, 4, 6, 8)), (10, 3, (4, 7, 10)), (3, 8, (1, 2, 3)), (5, 1, (5,)),
])  # fmt: skip
def test_lengths_up_to_a_maximum_are_equally_spaced(max_length, count, expected):
  assert bucketing.lengths_up_to(max_length, count) == expected


@pytest.mark.parametrize("lengths, message", [
    ((4, 2), "increasing positive"), ((), "increasing positive"), ((0, 8), "increasing positive"),
    ((2, 4), "the last is 4, but a sequence has 8 tokens"),
])  # fmt: skip
def test_invalid_lengths_are_refused(lengths, message):
  with pytest.raises(ValueError, match=f"lengths: .*{message}"):
    bucketing.check_lengths(lengths, 8)
  bucketing.check_lengths((2, 8), 8)
