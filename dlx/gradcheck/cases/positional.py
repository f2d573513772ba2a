"""Sinusoidal and rotary positions, and their rules."""

from dlx.gradcheck.case import LEADING, Case, Mistake
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


CASES = [
    Case(
        name="positional.add_sinusoidal",
        formula="y = scale x + PE: d_x = scale d_y",
        plain=positional.add_sinusoidal,
        rule=gradients.add_sinusoidal_vjp,
        draw=_draw_scaled,
        sizes=SIZES | {"scale": (2.0, 1.0, 0.5)},
        typical=TYPICAL | {"scale": 1.0},
        batched=(True,),
        mistakes=(
            Mistake("scale left out", "scale * d_out", "d_out"),
            Mistake("d_y left out", "scale * d_out", "scale * (0 * d_out + 1)"),
            Mistake("divided by scale", "scale * d_out", "d_out / scale"),
            Mistake("the sign", "scale * d_out", "-scale * d_out"),
        ),
    ),
    Case(
        name="positional.rotary",
        formula="y = R(a) x, a = p base^(-2i/D): d_x = R(-a) d_y",
        plain=positional.rotary,
        rule=gradients.rotary_vjp,
        draw=_draw,
        sizes=SIZES,
        typical=TYPICAL,
        batched=(True,),
        mistakes=(
            Mistake("turned forwards in d_x1", "d_y1 * cos + d_y2", "d_y1 * cos - d_y2"),
            Mistake("turned forwards in d_x2", "d_y2 * cos - d_y1", "d_y2 * cos + d_y1"),
            Mistake("no sine in d_x1", "d_y1 * cos + d_y2 * sin", "d_y1 * cos"),
            Mistake("no sine in d_x2", "d_y2 * cos - d_y1 * sin", "d_y2 * cos"),
            Mistake("no cosine in d_x1", "d_y1 * cos +", ""),
            Mistake("no cosine in d_x2", "d_y2 * cos -", "-"),
            Mistake("pairs of neighbours", "jnp.split(d_out, 2, axis=-1)",
                    "d_out[..., ::2], d_out[..., 1::2]"),
            Mistake("positions ignored", "if positions is None", "if True"),
            Mistake("positions from 1", "jnp.arange(t) if", "1 + jnp.arange(t) if"),
            Mistake("the frequencies rise", "(-np.arange", "(np.arange"),
            Mistake("base^(-i/D)", "np.arange(0, d, 2)", "np.arange(d // 2)"),
            Mistake("another base", "asarray(base **", "asarray(10_000.0 **"),
        ),
    ),
]
