"""Dropout and its rule, given the same key."""

import jax

from dlx.gradcheck.case import LEADING, Case, Mutant
from dlx.gradients import dropout as gradients
from dlx.layers import dropout


def _draw(rng, leading, n, rate, broadcast_dims):
  x = rng.normal(size=(*leading, 3, n))
  key = jax.random.key(int(rng.integers(1000)))
  return (x,), {"rng": key, "rate": rate, "broadcast_dims": broadcast_dims}


def _dropout(x, *, rng, **options):
  return dropout.dropout(rng, x, **options)


def _other_key(x, *, rng, **options):
  return gradients.dropout_vjp(x, rng=jax.random.split(rng)[0], **options)


CASES = [
    Case(
        name="dropout.dropout",
        formula="y = m x/(1 - rate): d_x = m d_y/(1 - rate), the same m",
        reference=_dropout,
        rule=gradients.dropout_vjp,
        draw=_draw,
        sizes={
            "leading": LEADING,
            "n": (4, 1),
            "rate": (0.3, 0.0, 0.8),
            "broadcast_dims": ((), (-2,), (0, 1)),
        },
        typical={"leading": (64,), "n": 4096, "rate": 0.1, "broadcast_dims": ()},
        batched=None,  # The mask depends on the shape.
        mutants=(Mutant("the mask of another key", _other_key),),
    ),
]
