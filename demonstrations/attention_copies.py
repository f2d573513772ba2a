"""Self-attention copies when vectors are long, and why scores are divided by sqrt(d).

Left: self-attention without projections, A = softmax(X X^T / sqrt(d)), of T vectors of one norm s
in random directions. The score of a vector with itself is s^2 / sqrt(d), with another about
s^2 / d: as s grows, the weight on the own position goes from 1 / T to 1, and the output becomes
the vector itself. With s = sqrt(d), the norm of standard normal vectors, it is there already.

Right: for q and k of d standard normal numbers, q . k has the variance d; divided by sqrt(d),
the variance 1. Without the division the softmax saturates, and its gradient vanishes.

Source: Vaswani et al., "Attention is all you need" (2017), section 3.2.1.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from matplotlib.figure import Figure
import numpy as np

from dlx.layers import attention
from dlx.reports import figures


def own_share(x: Float[Array, "T D"]) -> tuple[Array, Array]:
  """How nearly self-attention copies x.

  Returns:
    The mean weight of a position on itself, (1/T) sum_t A_tt, and the mean relative distance of
    the output to the vector, (1/T) sum_t |y_t - x_t| / |x_t|.
  """
  weights = attention.weights(x[None], x[None])[0]
  y = attention.dot_product_attention(x[None], x[None], x[None])[0]
  distance = jnp.linalg.norm(y - x, axis=-1) / jnp.linalg.norm(x, axis=-1)
  return jnp.diagonal(weights).mean(), distance.mean()


def over_norms(norms: Float[Array, "K"], *, t: int, d: int, seed: int = 0) -> tuple[Array, Array]:
  """`own_share` of t vectors of d numbers in random directions, for each norm: (K,), (K,)."""
  x = jax.random.normal(jax.random.key(seed), (t, d))
  x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
  return jax.vmap(lambda norm: own_share(norm * x))(norms)


@functools.partial(jax.jit, static_argnames=("d", "count"))
def score_variances(*, d: int, count: int = 20_000, seed: int = 0) -> tuple[Array, Array]:
  """The variances of q . k and of q . k / sqrt(d) over `count` pairs of d normal numbers."""
  query, key = jax.random.normal(jax.random.key(seed), (2, count, d))
  scores = (query * key).sum(-1)
  return scores.var(), (scores / jnp.sqrt(d)).var()


def draw(t: int = 32, d: int = 64) -> tuple[Figure, list[str]]:
  """The two pictures, and the numbers of some of their points."""
  figure = figures.figure(10, 4)
  figure.set_layout_engine("constrained")
  left, right = figure.subplots(1, 2)
  norms = np.linspace(0, 12, 49)[1:]
  share, distance = map(np.asarray, jax.jit(functools.partial(over_norms, t=t, d=d))(norms))
  left.plot(norms, share, label="weight on the own position")
  left.plot(norms, distance, label="|output - vector| / |vector|")
  left.axvline(d**0.5, color="0.6", linewidth=1, linestyle=":")
  left.axhline(1 / t, color="0.6", linewidth=1, linestyle=":")
  left.set(xlabel=f"norm of the {t} vectors in {d} dimensions", ylim=(-0.03, 1.05))
  left.set_title("dotted: 1 / T, and the norm sqrt(d) of normal vectors", fontsize=10)
  widths = [2**i for i in range(1, 10)]
  variances = np.array([score_variances(d=d) for d in widths])
  right.plot(widths, variances[:, 0], "o-", label="q . k")
  right.plot(widths, variances[:, 1], "o-", label="q . k / sqrt(d)")
  right.set(xscale="log", yscale="log", xlabel="d", ylabel="variance")
  for axes in (left, right):
    axes.legend(fontsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
  shown = [f"norm {norms[i]:g}: weight on the own position {share[i]:.3f}, "
           f"relative distance {distance[i]:.3f}" for i in (3, 15, 31, 47)]  # fmt: skip
  shown += [f"d = {width}: variance of q . k {raw:.1f}, of q . k / sqrt(d) {scaled:.3f}"
            for width, (raw, scaled) in zip(widths, variances)]  # fmt: skip
  return figure, shown
