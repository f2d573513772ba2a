"""Recurrent networks: their size, their memory and its gradient, the gated cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from demonstrations import compare_sums
from dlx.layers import gru, lstm, recurrent, rnn

pytestmark = pytest.mark.usefixtures("x64")


def draw(*shape, seed=0, scale=1.0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape) * scale)


def logistic(z):
  return 1 / (1 + np.exp(-z))


def test_four_times_the_characters_need_no_more_parameters():
  """Problem Set 3 of CSCI 5922, question 2 c: three recurrent layers over characters.

  The same weights run over every step, so a sequence four times as long changes nothing:
  with V characters one-hot and H units, V H + H^2 + H and twice 2 H^2 + H. Only four times
  the *kinds* of characters would widen the first matrix, by 3 V H. We read the
  question's "3-layer" as three recurrent layers, the solution reads it as input, hidden and
  output layer; its answer holds for both.
  """
  v, h = 5, 7

  def count(v):
    shapes = jax.eval_shape(lambda: recurrent.init(jax.random.key(0), v, h, 3, cell=rnn))
    return shapes, sum(leaf.size for leaf in jax.tree.leaves(shapes))

  params, size = count(v)
  assert size == (v * h + h * h + h) + 2 * (2 * h * h + h)
  for length in (6, 24):
    ys = jax.eval_shape(
        lambda p, xs: recurrent.scan(p, xs, cell=rnn)[1],
        params,
        jax.ShapeDtypeStruct((length, v), jnp.float32),
    )
    assert ys.shape == (length, h)
  assert count(4 * v)[1] == size + 3 * v * h


@pytest.mark.parametrize("xs", [[3, 1, 4, 1], [1, 3, 1, 4], [2, 2, -5, -5], [7, -2, 0, 1, 1, 9]])
def test_alternating_signs_compare_two_sums(run, xs):
  """Homework 3 (March 2023), question 2: integers in, one scalar state, even length.

  The figure with the weights is not in the text. With the weights of the known form of
  this problem, 1 into the state, -1 around it, and a large positive one (1000) out to a
  logistic unit, h_t = x_t - h_{t-1}: at the end the even-numbered inputs count +1 and the
  odd-numbered -1. The output says whether the even ones' sum is the larger; it is 1/2 when
  they are equal.
  """
  states, output = run(compare_sums.compare)(jnp.array(xs, float))
  odd, even = sum(xs[0::2]), sum(xs[1::2])
  assert states[-1] == even - odd
  assert output == (0.5 if even == odd else float(even > odd))


def simple(d_in=2, d_hidden=3, scale=0.5):
  return {
      "input": draw(d_in, d_hidden, seed=1),
      "hidden": draw(d_hidden, d_hidden, seed=2, scale=scale),
      "bias": draw(d_hidden, seed=3),
  }


def test_three_steps_unrolled(run):
  """Modern architecture, question 3: h_t = tanh(W_xh x_t + W_hh h_{t-1} + b_h), h_0 = 0.

  The columns' weights are the transposes of dlx's. The three steps share them, and h_3
  depends on x_1, x_2 and x_3: each derivative is there. Erratum of Problem Set 3, problem 4,
  where a word's encoding "is retained only for a single step" of an RNN: x_1 is in h_3.
  """
  params, xs = simple(), draw(3, 2, seed=4)
  w_xh, w_hh, b_h = np.asarray(params["input"]).T, np.asarray(params["hidden"]).T, params["bias"]
  h1 = np.tanh(w_xh @ xs[0] + b_h)
  h2 = np.tanh(w_xh @ xs[1] + w_hh @ h1 + b_h)
  h3 = np.tanh(w_xh @ xs[2] + w_hh @ h2 + b_h)
  last, states = run(rnn.scan)(params, xs)
  np.testing.assert_allclose(states, [h1, h2, h3], rtol=1e-12)
  np.testing.assert_array_equal(last, states[2])
  d_xs = run(jax.jacobian(lambda xs: rnn.scan(params, xs)[0]))(xs)  # (H, T, D)
  assert (np.abs(d_xs).max(axis=(0, 2)) > 1e-3).all()


def test_the_gradient_of_the_first_state_is_a_chain_through_the_second(run):
  """Modern architecture, question 4 a: dL/dh_1 = dL/dh_3 dh_3/dh_2 dh_2/dh_1.

  With dh_t/dh_{t-1} = diag(1 - h_t^2) W_hh. dlx's cotangents are rows, so each factor
  multiplies from the right.
  """
  params, xs, d_h3 = simple(), draw(2, 2, seed=4), draw(3, seed=5)
  h1 = jnp.tanh(draw(3, seed=6))
  _, states = run(lambda h, xs: rnn.scan(params, xs, h))(h1, xs)
  w_hh = np.asarray(params["hidden"]).T
  jacobians = [np.diag(1 - h**2) @ w_hh for h in states]
  d_h1 = run(jax.grad(lambda h: rnn.scan(params, xs, h)[0] @ d_h3))(h1)
  np.testing.assert_allclose(d_h1, d_h3 @ jacobians[1] @ jacobians[0], rtol=1e-11)


@pytest.mark.parametrize(("size", "vanishes"), [(0.5, True), (1.0, True), (2.0, False)])
def test_the_gradient_vanishes_as_a_product_of_jacobians(run, size, vanishes):
  """Modern architecture, question 4 b, c; also the notes: vanishing and exploding gradients.

  Each step multiplies by (1 - h^2) <= 1 and by W_hh; W_hh is `size` times an orthogonal
  matrix here, so T steps leave at most size^T. With size 0.5 what happened 20 steps ago has
  no weight in an update; with size 1 tanh alone shrinks it. With zero inputs and h near 0
  nothing saturates, and size 2 makes it explode.
  """
  steps, zero = 20, size == 2.0
  orthogonal, _ = np.linalg.qr(draw(3, 3, seed=1))
  params = {
      "input": jnp.eye(3),
      "hidden": jnp.asarray(size * orthogonal),
      "bias": jnp.zeros(3),
  }
  xs = jnp.zeros((steps, 3)) if zero else draw(steps, 3, seed=2)
  jacobian = run(jax.jacobian(lambda h: rnn.scan(params, xs, h)[0]))(jnp.zeros(3))
  norm = np.linalg.norm(jacobian, 2)
  assert norm <= size**steps * (1 + 1e-9)
  assert norm < 1e-2 if vanishes else norm == pytest.approx(size**steps, rel=1e-9)


def gated(num_gates, seed, d_in=2, d_hidden=3):
  """V_g (H, D), U_g (H, H) and b_g (H,) of each gate as the notes write them, for columns."""
  rng = np.random.default_rng(seed)
  return [
      (rng.normal(size=(d_hidden, d_in)), rng.normal(size=(d_hidden, d_hidden)),
       rng.normal(size=d_hidden))
      for _ in range(num_gates)
  ]


def side_by_side(gates):
  """dlx's params: each gate's matrices transposed, one beside the other."""
  v, u, b = zip(*gates)
  return {
      "input": jnp.asarray(np.concatenate([m.T for m in v], axis=1)),
      "hidden": jnp.asarray(np.concatenate([m.T for m in u], axis=1)),
      "bias": jnp.asarray(np.concatenate(b)),
  }


def test_the_gru_of_the_notes_is_the_form_without_reset_after(run):
  """Notes, Recurrent neural networks, GRU: h = (1 - z) h_{t-1} + z tanh(v x + U (r h_{t-1}) + b).

  dlx's gates have the order r, z, n, with reset_after=False. Erratum: the update gate
  is defined as u_t and used as z_t. They are one gate; with the other one defined, r_t, in
  the place of z_t, the state is another. So it is with a vector v in the candidate, which is
  printed lower-case: all its units would see the same product v x.
  """
  reset, update, candidate = gates = gated(3, seed=1)
  x, h = np.array([0.5, -1.0]), np.array([0.2, -0.4, 0.9])

  def gate(weights, h):
    v, u, b = weights
    return v @ x + u @ h + b

  u_t, r_t = logistic(gate(update, h)), logistic(gate(reset, h))
  n_t = np.tanh(gate(candidate, r_t * h))
  new, _ = run(gru.cell)(side_by_side(gates), jnp.asarray(h), jnp.asarray(x))
  np.testing.assert_allclose(new, (1 - u_t) * h + u_t * n_t, rtol=1e-12)
  assert np.abs(new - ((1 - r_t) * h + r_t * n_t)).max() > 0.05
  v, u, b = candidate
  of_vector = np.tanh(v[0] @ x + u @ (r_t * h) + b)
  assert np.abs(new - ((1 - u_t) * h + u_t * of_vector)).max() > 0.05


def test_the_lstm_of_the_notes_agrees_with_dlx(run):
  """Notes, Recurrent neural networks, LSTM: c = f c_{t-1} + i c~, h = o tanh(c).

  dlx's gates have the order i, f, g, o, where g is the candidate c~. The notes' input
  matrices are V_i for one gate and W_f, W_o, W_c for the others: all act on x. Erratum: the
  candidate's bias is printed b. It is b_c: with that of another gate the cell is another.
  """
  gates = gated(4, seed=2)
  x, c, h = np.array([0.5, -1.0]), np.array([1.0, -0.3, 0.1]), np.array([0.2, -0.4, 0.9])
  i, f, g, o = (v @ x + u @ h + b for v, u, b in gates)
  new_c = logistic(f) * c + logistic(i) * np.tanh(g)
  carry, y = run(lstm.cell)(
      side_by_side(gates), (jnp.asarray(c), jnp.asarray(h)), jnp.asarray(x)
  )
  np.testing.assert_allclose(carry[0], new_c, rtol=1e-12)
  np.testing.assert_allclose(carry[1], logistic(o) * np.tanh(new_c), rtol=1e-12)
  np.testing.assert_array_equal(y, carry[1])
  for other in (gates[0], gates[1], gates[3]):
    of_other = logistic(f) * c + logistic(i) * np.tanh(g - gates[2][2] + other[2])
    assert np.abs(carry[0] - of_other).max() > 0.01


def test_a_closed_gate_keeps_the_state_unchanged(run):
  """Notes, Recurrent neural networks: gates let the gradient pass where tanh would not.

  With the GRU's update gate shut (z = 0) the state, and its derivative, is carried over
  50 steps as it is; so is the LSTM's memory cell with f = 1 and i = 0.
  """
  xs, h = draw(50, 2), jnp.array([0.2, -0.4, 0.9])
  params = side_by_side(gated(3, seed=1))
  params["bias"] = params["bias"].at[3:6].set(-1e3)
  last, jacobian = run(lambda h: (gru.scan(params, xs, h)[0], jax.jacobian(
      lambda h: gru.scan(params, xs, h)[0])(h)))(h)
  np.testing.assert_array_equal(last, h)
  np.testing.assert_array_equal(jacobian, np.eye(3))
  params = side_by_side(gated(4, seed=2))
  params["bias"] = params["bias"].at[:6].set(np.repeat([-1e3, 1e3], 3))
  (c, _), _ = run(lambda c: lstm.scan(params, xs, (c, jnp.zeros(3))))(h)
  np.testing.assert_array_equal(c, h)


def test_both_directions_read_the_input(run):
  """Erratum of the notes, Bidirectional RNN and BiLSTM: "encoder-decoder architecture".

  The left-to-right network is called the encoder and the right-to-left one the decoder.
  Both are encoders, side by side over the same input: the second half of the output is the
  reversed network's on xs alone and does not depend on the first network.
  """
  xs = draw(4, 2, seed=4)
  forward, backward = simple(), simple(scale=-0.3)
  params = {"forward": forward, "backward": backward}
  _, ys = run(lambda p: recurrent.bidirectional(p, xs, cell=rnn))(params)
  assert ys.shape == (4, 6)
  _, reversed_ = run(lambda xs: rnn.scan(backward, xs))(xs[::-1])
  np.testing.assert_allclose(ys[:, 3:], reversed_[::-1], rtol=1e-12)
  changed = {"forward": jax.tree.map(lambda p: 2 * p, forward), "backward": backward}
  _, other = run(lambda p: recurrent.bidirectional(p, xs, cell=rnn))(changed)
  np.testing.assert_array_equal(other[:, 3:], ys[:, 3:])
  assert np.abs(other[:, :3] - ys[:, :3]).max() > 0.1
