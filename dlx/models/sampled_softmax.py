"""Softmax over a large vocabulary in training: the word against some words drawn at random.

  loss = -log ( e^{s_y} / (e^{s_y} + sum_{k in S, k != y} e^{s_k}) ),   s_w = h.E_w + b_w - log Q(w)

for the word y and the set S of the words that K draws from q give; Q(w) = 1 - (1 - q(w))^K is the
chance that w is among them. Of y or a word of S, the model is to tell which one the text has: that
is so if h.E_w + b_w = log p(w | h) + c, as for the softmax, which it becomes where S has all words
(Q = 1). Probabilities need the softmax itself.

Words are numbered by descending frequency, and q(r) = log((r + 2) / (r + 1)) / log(V + 1) for the
word of rank r, close to Zipf's law.

Source: Bengio and Senecal, "Adaptive importance sampling to accelerate training of a neural
  probabilistic language model" (2008); Jean, Cho, Memisevic, Bengio, "On using very large target
  vocabulary for neural machine translation" (2015).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Rows = tuple[Float[Array, "... D"], Float[Array, "..."]]


def draw(rng: jax.Array, count: int, size: int) -> Int[Array, "K"]:
  """S: the ranks of K draws from q, and -1 in place of a rank that was drawn before.

  Args:
    rng: a typed key.
    count: K.
    size: V.
  """
  u = jax.random.uniform(rng, (count,))
  ranks = jnp.floor(jnp.exp(u * jnp.log(size + 1.0))).astype(jnp.int32) - 1
  ranks = jnp.sort(jnp.clip(ranks, 0, size - 1))
  return jnp.where(jnp.diff(ranks, prepend=-1) == 0, -1, ranks)


def log_chance(ranks: Int[Array, "..."], count: int, size: int) -> Float[Array, "..."]:
  """log Q of ranks, for K = `count` draws from V = `size` words."""
  q = jnp.log1p(1 / (1.0 + ranks)) / jnp.log(size + 1.0)
  return jnp.log(-jnp.expm1(count * jnp.log1p(-q)))


def cross_entropy(
    states: Float[Array, "... D"],
    targets: Int[Array, "..."],
    drawn: Int[Array, "K"],
    size: int,
    *,
    target_rows: Rows,
    drawn_rows: Rows,
) -> Float[Array, "..."]:
  """The loss of each state.

  Args:
    states: h.
    targets: the ranks of y.
    drawn: of `draw`, shared by all states.
    size: V.
    target_rows: E_y `(..., D)` and b_y `(...)`.
    drawn_rows: E_k (K, D) and b_k (K,); any for -1.
  """
  count = len(drawn)
  of_target = (states * target_rows[0]).sum(-1) + target_rows[1]
  of_target -= log_chance(targets, count, size)
  of_drawn = states @ drawn_rows[0].T + drawn_rows[1]
  of_drawn -= log_chance(jnp.maximum(drawn, 0), count, size)
  is_rival = (drawn >= 0) & (drawn != targets[..., None])
  of_drawn = jnp.where(is_rival, of_drawn, -jnp.inf)
  largest = jax.lax.stop_gradient(jnp.maximum(of_target, of_drawn.max(-1)))
  # Not logsumexp, whose gradient is NaN where no rival is left.
  total = jnp.exp(of_target - largest) + jnp.exp(of_drawn - largest[..., None]).sum(-1)
  return jnp.log(total) + largest - of_target
