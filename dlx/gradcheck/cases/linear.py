"""The linear layer and its rule."""

from dlx.gradcheck.case import LEADING, Case
from dlx.gradients import linear as gradients
from dlx.layers import linear


def _draw(rng, batch, d_in, d_out, bias):
  params = {"kernel": rng.normal(size=(d_in, d_out))}
  if bias:
    params["bias"] = rng.normal(size=d_out)
  return (params, rng.normal(size=(*batch, d_in))), {}



CASES = [
    Case(
        name="linear.apply",
        formula="y = x W + b: d_x = d_y W^T, d_W = sum x^T d_y, d_b = sum d_y",
        reference=linear.apply,
        rule=gradients.apply_vjp,
        draw=_draw,
        sizes={"batch": LEADING, "d_in": (2, 1, 3), "d_out": (3, 1, 2), "bias": (True, False)},
        typical={"batch": (512,), "d_in": 512, "d_out": 512, "bias": True},
        batched=(False, True),
    ),
]
