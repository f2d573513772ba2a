"""Sinusoidal and rotary positions, and their rules."""

import jax.numpy as jnp

from dlx.gradcheck.case import LEADING, Case, Mutant
from dlx.gradients import positional as gradients
from dlx.layers import positional

SIZES = {
    "batch": LEADING,
    "t": (3, 1, 4),
    "d": (4, 2, 6),
    "positions": (None, "shifted", "each"),
    "base": (10_000.0, 3.0),
}
TYPICAL = {"batch": (8, 8), "t": 1024, "d": 64, "positions": None, "base": 10_000.0}


def _draw(rng, batch, t, d, positions, base):
  """Positions are 0 .. T - 1, shared and shifted, or drawn for each example."""
  x = rng.normal(size=(*batch, t, d))
  if positions is not None:
    positions = rng.integers(1, 9, size=(*batch, t) if positions == "each" else t)
  return (x,), {"positions": positions, "base": base}


def _draw_scaled(rng, scale, **sizes):
  inputs, options = _draw(rng, **sizes)
  return inputs, options | {"scale": scale}


def _pairs_of_neighbours(x, *, d_out, **options):
  halves = jnp.concatenate([d_out[..., ::2], d_out[..., 1::2]], axis=-1)
  return gradients.rotary_vjp(x, d_out=halves, **options)


CASES = [
    Case(
        name="positional.add_sinusoidal",
        formula="y = scale x + PE: d_x = scale d_y",
        reference=positional.add_sinusoidal,
        rule=gradients.add_sinusoidal_vjp,
        draw=_draw_scaled,
        sizes=SIZES | {"scale": (2.0, 1.0, 0.5)},
        typical=TYPICAL | {"scale": 1.0},
        batched=(True,),
    ),
    Case(
        name="positional.rotary",
        formula="y = R(a) x, a = p base^(-2i/D): d_x = R(-a) d_y",
        reference=positional.rotary,
        rule=gradients.rotary_vjp,
        mutants=(Mutant("pairs of neighbours in place of halves", _pairs_of_neighbours),),
        draw=_draw,
        sizes=SIZES,
        typical=TYPICAL,
        batched=(True,),
    ),
]
