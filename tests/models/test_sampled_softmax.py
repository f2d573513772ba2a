"""The sampled softmax: its distribution, and that it tends to the softmax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.models import sampled_softmax

SIZE, D = 12, 4


@pytest.fixture(scope="module")
def given():
  rngs = jax.random.split(jax.random.key(0), 3)
  table, bias = jax.random.normal(rngs[0], (SIZE, D)), jax.random.normal(rngs[1], (SIZE,))
  return jax.random.normal(rngs[2], (5, D)), jnp.arange(5) * 2, table, bias


def sampled(drawn, states, targets, table, bias):
  rows = {
      "target_rows": (table[targets], bias[targets]), "drawn_rows": (table[drawn], bias[drawn]),
  }  # fmt: skip
  return sampled_softmax.cross_entropy(states, targets, drawn, SIZE, **rows)


def exact(states, targets, table, bias):
  log_p = jax.nn.log_softmax(states @ table.T + bias)
  return -jnp.take_along_axis(log_p, targets[:, None], -1)[:, 0]


@pytest.mark.parametrize("size", [2, 12, 30_000])
def test_chances_of_a_draw_sum_to_one(size):
  with jax.enable_x64():
    q = np.exp(sampled_softmax.log_chance(jnp.arange(size) * 1.0, 1, size))
  np.testing.assert_allclose(q.sum(), 1, rtol=1e-9)
  assert (np.diff(q) < 0).all()


def test_words_are_drawn_with_their_chances_and_once():
  draw = jax.jit(jax.vmap(lambda rng: sampled_softmax.draw(rng, 6, SIZE)))
  drawn = np.asarray(draw(jax.random.split(jax.random.key(1), 20_000)))
  found = np.mean([(drawn == r).any(-1) for r in range(SIZE)], -1)
  expected = np.exp(sampled_softmax.log_chance(jnp.arange(SIZE), 6, SIZE))
  np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(0.25 / len(drawn)))
  assert drawn.max() == SIZE - 1 and drawn.min() == -1
  assert all(len(set(row)) == len(row) for row in ([r for r in d if r >= 0] for d in drawn[:99]))


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
def test_if_all_words_are_drawn_it_is_the_softmax_with_its_gradient(given, transform):
  drawn = sampled_softmax.draw(jax.random.key(2), 2000, SIZE)
  assert set(range(SIZE)) < set(drawn.tolist())
  mean = lambda f: lambda *args: f(*args).mean()  # noqa: E731
  functions = functools.partial(sampled, drawn), exact
  values, gradients = zip(*(
      transform(jax.value_and_grad(mean(f), argnums=(0, 2, 3)))(*given) for f in functions
  ))  # fmt: skip
  np.testing.assert_allclose(*values, rtol=1e-5)
  for one, other in zip(*gradients):
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_words_compete_by_their_chances_and_a_word_is_not_its_own_rival(given):
  states, _, table, bias = given
  targets, drawn = jnp.zeros(5, int), jnp.asarray([0, 1, -1])
  logits = states @ table[:2].T + bias[:2]
  logits -= np.log([1 - (1 - q) ** 3 for q in np.log([2 / 1, 3 / 2]) / np.log(SIZE + 1)])
  expected = jax.nn.logsumexp(logits, -1) - logits[:, 0]
  np.testing.assert_allclose(sampled(drawn, states, targets, table, bias), expected, rtol=1e-5)
  nothing = jnp.asarray([0, -1, -1])
  np.testing.assert_allclose(sampled(nothing, states, targets, table, bias), 0, atol=1e-6)
  gradient = jax.grad(lambda h: sampled(nothing, h, targets, table, bias).sum())(states)
  np.testing.assert_allclose(gradient, 0, atol=1e-6)
