"""Dropout and its rule, given the same key."""

import jax

from dlx.gradcheck.case import LEADING, Case, Mistake
from dlx.gradients import dropout as gradients
from dlx.layers import dropout


def _draw(rng, leading, n, rate, broadcast_dims):
  x = rng.normal(size=(*leading, 3, n))
  key = jax.random.key(int(rng.integers(1000)))
  return (x,), {"rng": key, "rate": rate, "broadcast_dims": broadcast_dims}


def _dropout(x, *, rng, **options):
  return dropout.dropout(rng, x, **options)


CASES = [
    Case(
        name="dropout.dropout",
        formula="y = m x/(1 - rate): d_x = m d_y/(1 - rate), the same m",
        plain=_dropout,
        rule=gradients.dropout_vjp,
        draw=_draw,
        sizes={
            "leading": LEADING,
            "n": (4, 1),
            "rate": (0.3, 0.0, 0.8),
            "broadcast_dims": ((), (-2,), (0, 1)),
        },
        typical={"leading": (64,), "n": 4096, "rate": 0.1, "broadcast_dims": ()},
        batched=None,  # One key draws other masks for other shapes.
        mistakes=(
            Mistake("no 1/(1 - rate)", "d_out / (1 - rate)", "d_out"),
            Mistake("scaled by 1 - rate", "d_out / (1 - rate)", "d_out * (1 - rate)"),
            Mistake("scaled by 1/rate", "d_out / (1 - rate)", "d_out / rate"),
            Mistake("no mask", "jnp.where(keep, d_out", "jnp.where(True, d_out"),
            Mistake("the mask inverted", "jnp.where(keep, d_out", "jnp.where(~keep, d_out"),
            Mistake("kept with probability rate", "bernoulli(rng, 1 - rate", "bernoulli(rng, rate"),
            Mistake("another key", "bernoulli(rng, 1", "bernoulli(jax.random.split(rng)[0], 1"),
            Mistake("broadcast_dims left out", "if i in shared", "if False"),
        ),
    ),
]
