"""Cutting batches to a few lengths changes no loss, no gradient and no order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import bucketing

SIZES = (2, 4, 8)
seen = []  # The lengths that the loss was traced with.


def loss_fn(params, variables, batch, rng):
  """A mean over tokens of a table's rows, weighted by place, without padding."""
  ids, lengths = batch["ids"], batch["lengths"]
  seen.append(ids.shape[1])
  valid = jnp.arange(ids.shape[1]) < lengths[:, None]
  values = params["table"][ids] * (1 + jnp.arange(ids.shape[1]))
  noise = jax.random.normal(rng, lengths.shape)
  loss = (jnp.where(valid, values, 0).sum(1) * (batch["labels"] + noise)).sum()
  return loss, ({"longest": lengths.max()}, {**variables, "seen": variables["seen"] + 1})


def batch_of(*lengths):
  rng = np.random.default_rng(0)
  ids = rng.integers(1, 9, (len(lengths), 8))
  ids[np.arange(8) >= np.array(lengths)[:, None]] = 0
  labels = jnp.arange(1.0, 1 + len(lengths))
  return {"ids": jnp.asarray(ids), "lengths": jnp.array(lengths), "labels": labels}


ARGS = {"table": jnp.linspace(-1, 2, 9)}, {"seen": jnp.zeros(())}


@pytest.mark.parametrize("lengths", [(1, 2), (1, 3), (4, 4), (5, 1), (8, 2)])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
def test_loss_gradient_and_metrics_are_those_of_the_whole_batch(lengths, compiled):
  def graded(loss):
    f = jax.value_and_grad(loss, has_aux=True)
    return (jax.jit(f) if compiled else f)(*ARGS, batch_of(*lengths), jax.random.key(1))

  ours, expected = graded(bucketing.bucketed(loss_fn, SIZES)), graded(loss_fn)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, expected)


def test_the_gradient_scales_with_what_follows_the_loss():
  loss, args = bucketing.bucketed(loss_fn, SIZES), (batch_of(3, 1), jax.random.key(1))

  def scaled(params, scale):
    return scale * loss(params, ARGS[1], *args)[0]

  one, three = (jax.grad(scaled)(ARGS[0], scale)["table"] for scale in (1.0, 3.0))
  assert one.any()
  np.testing.assert_allclose(3 * one, three, rtol=1e-6)


def test_there_is_a_branch_for_each_size_and_no_other():
  seen.clear()
  jax.make_jaxpr(bucketing.bucketed(loss_fn, SIZES))(*ARGS, batch_of(8, 1), jax.random.key(1))
  assert set(seen) == set(SIZES)


def test_results_come_in_the_order_of_the_sequences_from_few_shapes():
  lengths = np.array([5, 1, 8, 2, 2, 3, 7])
  ids = np.arange(1, 57).reshape(7, 8) * (np.arange(8) < lengths[:, None])
  shapes, counts = set(), []

  def function(ids, lengths):
    shapes.add(ids.shape)
    return np.stack([ids.sum(1), lengths], 1)

  found = bucketing.map_sorted(function, ids, lengths, SIZES, rows=2, done=counts.append)
  np.testing.assert_array_equal(found, np.stack([ids.sum(1), lengths], 1))
  assert shapes == {(2, 2), (2, 4), (2, 8)}
  assert counts == [2, 4, 6, 7]


@pytest.mark.parametrize("sizes, message", [
    ((4, 2), "rising positive"), ((), "rising positive"), ((0, 8), "rising positive"),
    ((2, 4), "last is 4, but a sequence has 8"),
])  # fmt: skip
def test_sizes_that_cannot_be_are_named(sizes, message):
  with pytest.raises(ValueError, match=message):
    bucketing.check_sizes(sizes, 8)
