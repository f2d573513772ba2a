"""The linear layer and its rule."""

from dlx.gradcheck.case import LEADING, Case, Mistake
from dlx.gradients import linear as gradients
from dlx.layers import linear


def _draw(rng, batch, d_in, d_out, bias):
  params = {"kernel": rng.normal(size=(d_in, d_out))}
  if bias:
    params["bias"] = rng.normal(size=d_out)
  return (params, rng.normal(size=(*batch, d_in))), {}


CONTRACT = {"function": "contract"}

CASES = [
    Case(
        name="linear.apply",
        formula="y = x W + b: d_x = d_y W^T, d_W = sum x^T d_y, d_b = sum d_y",
        plain=linear.apply,
        rule=gradients.apply_vjp,
        draw=_draw,
        sizes={"batch": LEADING, "d_in": (2, 1, 3), "d_out": (3, 1, 2), "bias": (True, False)},
        typical={"batch": (512,), "d_in": 512, "d_out": 512, "bias": True},
        batched=(False, True),
        mistakes=(
            Mistake("W not transposed in d_x", "d_out @ kernel.T", "d_out @ kernel"),
            Mistake("d_x's sign", "(d_out @ kernel.T)", "-(d_out @ kernel.T)"),
            Mistake("d_W transposed", "contract(x, d_out)", "contract(d_out, x)"),
            Mistake("d_W's sign", "contract(x, d_out)", "-contract(x, d_out)"),
            Mistake("d_W a mean over examples", "contract(x, d_out)",
                    "(contract(x, d_out) / max(1, x.size // x.shape[-1]))"),
            Mistake("d_b of the first example alone", "d_out.sum(leading)",
                    "d_out.reshape(-1, shape[-1])[0]"),
            Mistake("d_b's sign", "d_out.sum(leading)", "-d_out.sum(leading)"),
            Mistake("the first dimension alone is summed", "tuple(range(x.ndim - 1))",
                    "tuple(range(min(1, x.ndim - 1)))", **CONTRACT),
        ),
    ),
]
