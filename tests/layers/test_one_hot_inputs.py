"""Integer inputs of a recurrent layer stand for one-hot vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import embedding, gru, lstm, rnn

CELLS = pytest.mark.parametrize("cell", [rnn, gru, lstm])
IDS = np.array([[2, 0, 6, 6, 1], [5, 3, 0, 4, 2]])


def tree_close(actual, expected, tolerance=1e-12):
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance, rtol=0), actual, expected
  )


@pytest.mark.full
@CELLS
@pytest.mark.parametrize("ids", [IDS, IDS[0], IDS[:, :2]], ids=["batch", "single", "few"])
def test_ids_and_one_hot_vectors_give_the_same_outputs(x64, cell, ids):
  params = cell.init(jax.random.key(0), 7, 4)
  lengths = np.full(ids.shape[:-1], 2)
  expected = cell.scan(params, jnp.eye(7)[ids], lengths=lengths)
  tree_close(cell.scan(params, jnp.asarray(ids), lengths=lengths), expected)


@pytest.mark.full
@CELLS
def test_the_folded_embedding_gives_the_outputs_and_gradients_of_lookup(x64, cell):
  table = embedding.init(jax.random.key(0), 7, 3)
  layer = cell.init(jax.random.key(1), 3, 4)

  def by_lookup(table, layer):
    return cell.scan(layer, embedding.lookup(table, IDS))[1]

  def folded(table, layer):
    return cell.scan(embedding.fold(table, layer), jnp.asarray(IDS))[1]

  expected, expected_vjp = jax.vjp(by_lookup, table, layer)
  actual, actual_vjp = jax.jit(lambda *a: jax.vjp(folded, *a))(table, layer)
  tree_close(actual, expected)
  cotangent = jnp.cos(jnp.arange(expected.size, dtype=expected.dtype)).reshape(expected.shape)
  tree_close(actual_vjp(cotangent), expected_vjp(cotangent))


def test_an_id_outside_the_kernel_gives_nan_not_another_row():
  params = gru.init(jax.random.key(0), 7, 4)
  _, ys = gru.scan(params, jnp.array([1, 7, 2]))
  assert np.isfinite(ys[0]).all() and np.isnan(ys[1]).all()
