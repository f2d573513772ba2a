"""The residual sum and its rule."""

from dlx.gradcheck.case import LEADING, Case
from dlx.gradients import residual as gradients


def _draw(rng, batch, n):
  shape = (*batch, n)
  return (rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=())), {}


def _add(x, branch, factor):
  return factor * x + branch


CASES = [
    Case(
        name="residual.add",
        formula="y = k x + b: d_x = k d_y, d_b = d_y, d_k = sum x d_y",
        reference=_add,
        rule=gradients.add_vjp,
        draw=_draw,
        sizes={"batch": LEADING, "n": (3, 1, 5)},
        typical={"batch": (512,), "n": 1024},
        batched=(True, True, False),
    ),
]
