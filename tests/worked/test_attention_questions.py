"""Multiple-choice questions about attention: opposite heads, identity projections."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import attention, linear

pytestmark = pytest.mark.usefixtures("x64")


def draw(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


def test_a_head_with_all_projections_negated_gives_the_opposite(run):
  """Final exam of January 25, 2023, part 1, question 4: P2 = P1 and Z2 = -Z1.

  The two signs of query and key cancel in the scores; that of the value stays. Rows are
  tokens, X W, so a head's matrix is a kernel unchanged.
  """
  x, w_q, w_k, w_v = draw(4, 3), *(draw(3, 2, seed=s) for s in (1, 2, 3))

  def heads(x):
    query, key, value = (
        jnp.stack([linear.apply({"kernel": sign * w}, x) for sign in (1, -1)])
        for w in (w_q, w_k, w_v)
    )
    return attention.weights(query, key), attention.dot_product_attention(query, key, value)

  p, z = run(heads)(jnp.asarray(x))
  assert p.shape == (2, 4, 4) and z.shape == (2, 4, 2)
  np.testing.assert_array_equal(p[1], p[0])
  np.testing.assert_array_equal(z[1], -z[0])
  assert (p > 0).all() and np.abs(z).min() > 1e-3  # So not P1 = -P2, nor Z1 = Z2.


def test_opposite_heads_cancel_in_multi_head_attention(run):
  """The same question through `multi_head`: an output matrix that adds the heads gives 0."""
  x = jnp.asarray(draw(4, 3))
  params = {
      name: {"kernel": jnp.asarray(np.concatenate([w, -w], axis=1))}
      for name, w in zip(("query", "key", "value"), (draw(3, 2, seed=s) for s in (1, 2, 3)))
  }
  both, difference = (np.concatenate([np.eye(2), s * np.eye(2)]) for s in (1, -1))

  def outputs(kernel):
    return attention.multi_head({**params, "out": {"kernel": kernel}}, x, num_heads=2)

  np.testing.assert_allclose(run(outputs)(jnp.asarray(both)), 0, atol=1e-15)
  assert np.abs(run(outputs)(jnp.asarray(difference))).max() > 0.1


def test_identity_projections_attend_to_every_row(run):
  """Final exam of February 10, 2023, part 1, question 7: W_Q = W_K = W_V = I, one head.

  The output is L x D; row i is what attention over the whole sequence gives x_i.
  """
  length, d = 5, 3
  x, unit = jnp.asarray(draw(length, d)), {"kernel": jnp.eye(d)}
  params = {name: unit for name in ("query", "key", "value", "out")}
  z = run(lambda x: attention.multi_head(params, x, num_heads=1))(x)
  assert z.shape == (length, d)
  for i, x_i in enumerate(np.asarray(x)):
    e = np.exp(np.asarray(x) @ x_i / np.sqrt(d))
    np.testing.assert_allclose(z[i], (e / e.sum()) @ np.asarray(x), rtol=1e-12)
