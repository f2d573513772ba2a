"""Updates of some rows of a table are those of the whole table."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlx.data import huffman
from dlx.training import sparse, word_tables

COUNTS = np.array([50, 30, 12, 8, 5, 4, 3])
KEEP = np.ones(7)


def test_descent_of_rows_is_descent_of_the_table(x64):
  rng = np.random.default_rng(0)
  table, ids = jnp.asarray(rng.normal(size=(6, 3))), jnp.array([[0, 4, 0], [5, 4, 0]])
  loss = lambda rows: (jnp.sin(rows) * jnp.arange(18.0).reshape(2, 3, 3)).sum()  # noqa: E731
  dense = jax.grad(lambda t: loss(t[ids]))(table)
  found = sparse.sgd(table, ids, jax.grad(loss)(table[ids]), 0.1)
  np.testing.assert_allclose(found, table - 0.1 * dense, rtol=1e-12)
  rates = jnp.array([0.1, 0.2, 0.1, 0.1, 0.3, 0.4])
  found = sparse.sgd(table, ids, jax.grad(loss)(table[ids]), rates[ids])
  np.testing.assert_allclose(found, table - rates[:, None] * dense, rtol=1e-12)


@pytest.mark.parametrize("shape", [(6, 3), (6,)])
def test_adagrad_of_distinct_rows_is_that_of_optax(x64, shape):
  rng = np.random.default_rng(0)
  table, ids = jnp.asarray(rng.normal(size=shape)), jnp.array([4, 0, 5])
  squares = jnp.ones(shape)
  optimizer = optax.chain(optax.scale_by_rss(initial_accumulator_value=1, eps=0), optax.scale(-0.1))
  expected, state = table, optimizer.init(table)
  for _ in range(3):
    gradients = jnp.asarray(rng.normal(size=(3, *shape[1:])))
    dense = jnp.zeros(shape).at[ids].set(gradients)
    updates, state = optimizer.update(dense, state)
    expected = optax.apply_updates(expected, updates)
    table, squares = sparse.adagrad(table, squares, ids, gradients, 0.1)
  np.testing.assert_allclose(table, expected, rtol=1e-6)


def test_damping_bounds_the_sum_of_the_learning_rates():
  uses = np.array([0.0, 0.5, 4.0, 80.0])
  np.testing.assert_allclose(sparse.damping(uses, 8), [1, 1, 1, 0.1])


def windowed(method, output):
  return word_tables.windowed(
      COUNTS, KEEP, d=4, method=method, output=output, window=2, negatives=5, noise_words=3,
      seq_len=6, batch_size=2,
  )  # fmt: skip


def drawn(tables, rng):
  """Random tables, so that no gradient is zero by symmetry."""
  init = lambda: jax.tree.map(  # noqa: E731
      lambda x: jax.random.normal(rng, x.shape), tables.init(rng)
  )
  return jax.jit(init)()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("method", ["skip_gram", "cbow"])
@pytest.mark.parametrize("output", ["noise", "tree"])
def test_a_step_is_a_step_along_the_gradient_of_the_whole_tables(
    x64, monkeypatch, method, output
):
  monkeypatch.setattr(word_tables, "_MOST_USES", 1e9)
  tables, rng = windowed(method, output), jax.random.key(1)
  batch = {"ids": jnp.array([[0, 1, 2, -1, 3, 0], [4, 5, 6, 0, 0, 1]])}

  @jax.jit
  def both(state):
    def total(state):
      values, weights = tables.losses(state, batch, rng)
      return (values * weights).sum(), weights.sum()

    return jax.value_and_grad(total, has_aux=True)(state), tables.step(state, batch, rng, 0.125)

  state = drawn(tables, rng)
  ((value, count), gradient), (loss, changed) = both(state)
  assert loss == pytest.approx(value / count)
  for name, table in state["vectors"].items():
    full = np.asarray(gradient["vectors"][name])
    assert full.any()
    expected = table - 0.125 * full
    np.testing.assert_allclose(changed["vectors"][name], expected, rtol=1e-6, atol=1e-9)


def test_glove_fits_counts_that_vectors_can_explain():
  rng = np.random.default_rng(0)
  w, u = rng.normal(size=(2, 12, 3))
  counts = np.exp(w @ u.T / 2).astype(np.float32)
  i, j = map(jnp.asarray, np.divmod(np.arange(144), 12))
  batch = {"words": i, "contexts": j, "counts": jnp.asarray(counts.ravel())}
  tables = word_tables.glove(12, d=3, largest_count=10)
  step = jax.jit(lambda s: tables.step(s, batch, None, 0.3))
  state = tables.init(jax.random.key(0))
  first, _ = step(state)
  for _ in range(400):
    loss, state = step(state)
  assert loss < first / 500
  assert tables.vectors(state).shape == (12, 3)


def test_hierarchical_probabilities_of_all_words_sum_to_one(x64):
  tables, tree = windowed("cbow", "tree"), huffman.paths(COUNTS)
  rng = jax.random.key(3)
  state = drawn(tables, rng)
  losses = jax.jit(tables.losses)
  h, nodes = state["vectors"]["input"][2], state["vectors"]["output"]
  p = jnp.where(tree.signs == 0, 1, jax.nn.sigmoid(tree.signs * (nodes @ h)[tree.nodes])).prod(1)
  assert float(p.sum()) == pytest.approx(1)
  # One neighbour, word 2, of each other word: the loss is -log p of that word.
  found = []
  for word in range(7):
    ids = jnp.array([[word, 2, -1, -1, -1, -1]])
    values, weights = losses(state, {"ids": ids}, rng)
    assert weights[0].tolist() == [1, 1, 0, 0, 0, 0]
    found.append(float(jnp.exp(-values[0, 0])))
  np.testing.assert_allclose(found, p, rtol=1e-6)


def test_given_vectors_are_the_start():
  given = np.arange(28.0, dtype=np.float32).reshape(7, 4)
  for tables in (windowed("skip_gram", "noise"), word_tables.glove(7, d=4, largest_count=10)):
    state = tables.init(jax.random.key(0), given)
    np.testing.assert_array_equal(tables.vectors(state), given)
