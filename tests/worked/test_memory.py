"""How far back a model looks: clipped gradients, linear chains, n-grams, recurrent states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import linear, rnn
from dlx.models import naive_bayes_linear
from dlx.training import optimizers

pytestmark = pytest.mark.usefixtures("x64")


def through_time(size, steps):
  """dh_T/dh_0 (3,) for the sum of h_T, W_hh being `size` times an orthogonal matrix.

  Inputs and biases are zero, so h stays 0, where tanh has the slope 1.
  """
  orthogonal, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
  zero = jnp.zeros((3, 3))
  params = {"input": zero, "hidden": jnp.asarray(size * orthogonal), "bias": jnp.zeros(3)}
  xs = jnp.zeros((steps, 3))
  return lambda h: jax.grad(lambda h: rnn.scan(params, xs, h)[0].sum())(h)


def test_clipping_bounds_a_gradient_and_cannot_lift_it(run, steps=30):
  """Final exam of February 12, 2022, part 1, question 8: it prevents exploding gradients only.

  An orthogonal matrix times 2 makes a gradient of norm sqrt(3) 2^T after T steps, times a half
  sqrt(3) 2^-T. Clipped to the norm 1, the first becomes 1, with its direction; the second stays
  as it is. The step of gradient descent at rate 1 shows it.
  """
  clipped = optimizers.sgd(momentum=0.0, clip_norm=1.0, learning_rate=1.0, total_steps=1)

  def step(gradient):
    return -clipped.update(gradient, clipped.init(gradient), gradient)[0]

  for size in (2.0, 0.5):
    gradient = run(through_time(size, steps))(jnp.zeros(3))
    norm = np.sqrt(3) * size**steps
    np.testing.assert_allclose(np.linalg.norm(gradient), norm, rtol=1e-9)
    np.testing.assert_allclose(run(step)(gradient), gradient / max(norm, 1), rtol=1e-9)


@pytest.mark.parametrize(("weight", "printed"), [(0.5, 9.3e-10), (2.0, 1.1e9)])
def test_a_chain_of_linear_layers_vanishes_or_explodes_too(run, weight, printed):
  """Erratum of the notes, Residual networks.

  Non-linear activations are said to make gradients explode or vanish "by nature of being
  non-linear". Thirty linear layers of one unit do so by their weights: 0.5^30 and 2^30.
  """
  layer = {"kernel": jnp.full((1, 1), weight)}

  def chain(x):
    for _ in range(30):
      x = linear.apply(layer, x)
    return x[0]

  gradient = float(run(jax.grad(chain))(jnp.ones(1))[0])
  assert gradient == weight**30 == pytest.approx(printed, rel=0.05)
  skips = float(run(jax.grad(lambda x: x[0] + chain(x)))(jnp.ones(1))[0])
  assert skips == 1 + weight**30  # The skip connection passes the gradient on.


def test_an_n_gram_forgets_and_a_recurrent_state_does_not(run, longest=3):
  """Final exam of February 10, 2023, part 1, question 3: n-grams make a Markov assumption.

  The first of ten words is in `longest` n-grams; all others, those that end in the last word
  among them, are the same whatever it is. The last state of a recurrent network depends on it.
  """
  words = jnp.arange(10)
  other = words.at[0].set(11)
  both = {"ids": np.stack([words, other]), "lengths": np.full(2, 10)}
  tables = naive_bayes_linear.tables(both, longest, vocab_size=12)
  features = run(lambda ids: naive_bayes_linear.features(tables, ids))

  def ngrams(ids):
    found = np.asarray(features(ids[None]))[0]
    return found[found < naive_bayes_linear.num_features(tables)]

  found, of_other = ngrams(words), ngrams(other)
  n, last = np.arange(1, longest + 1), 10  # A document of ten words has 11 - n n-grams of n.
  assert len(found) == (last + 1 - n).sum()
  assert len(np.setdiff1d(found, of_other)) == longest
  ending = ngrams(jnp.pad(words[-longest:], (0, last - longest), constant_values=-1))
  assert len(ending) == longest * (longest + 1) // 2 and np.isin(ending, of_other).all()
  params = rnn.init(jax.random.key(0), 12, 4)
  state = run(lambda ids: rnn.scan(params, ids)[0])
  assert np.abs(state(words) - state(other)).max() > 1e-6


def test_a_recurrent_state_remembers_the_first_words_least(run):
  """Final exam of February 10, 2023, part 1, question 3: unbounded memory, which fades.

  |dh_T/dx_t|, averaged over five positions, falls with every five that t lies further back,
  and never to zero.
  """
  params = rnn.init(jax.random.key(0), 3, 8)
  xs = jnp.asarray(np.random.default_rng(2).normal(size=(20, 3)))
  jacobian = run(jax.jacrev(lambda xs: rnn.scan(params, xs)[0]))(xs)  # (H, T, D)
  influence = np.sqrt((jacobian**2).sum((0, 2))).reshape(4, 5).mean(1)
  assert influence[0] > 0 and (np.diff(influence) > 0).all()
  assert influence[0] < influence[-1] / 10
