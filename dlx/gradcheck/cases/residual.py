"""The residual sum and its rule."""

from dlx.gradcheck.case import LEADING, Case, Mistake
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
        plain=_add,
        rule=gradients.add_vjp,
        draw=_draw,
        sizes={"batch": LEADING, "n": (3, 1, 5)},
        typical={"batch": (512,), "n": 1024},
        batched=(True, True, False),
        mistakes=(
            Mistake("the factor dropped in d_x", "d_x, d_branch = factor * d_out",
                    "d_x, d_branch = d_out"),
            Mistake("the factor in d_branch too", "factor * d_out, d_out",
                    "factor * d_out, factor * d_out"),
            Mistake("d_branch's sign", "factor * d_out, d_out", "factor * d_out, -d_out"),
            Mistake("x dropped in d_factor", "x.astype(wide) * d_out", "d_out"),
            Mistake("the branch in d_factor", "x.astype(wide) *", "branch.astype(wide) *"),
            Mistake("d_factor a mean", "jnp.sum(", "jnp.mean("),
        ),
    ),
]
