"""The penalties on weights and their rules."""

import functools

import numpy as np

from dlx.gradcheck.case import Case
from dlx.gradients import penalties as gradients
from dlx.layers import losses


def _draw(rng, d_in, d_out, nested, weight):
  """The params of one or two layers, none within 0.1 of the corner of |w| at 0."""
  params = {"kernel": rng.normal(size=(d_in, d_out)), "bias": rng.normal(size=d_out)}
  params = {name: w + 0.1 * np.sign(w) for name, w in params.items()}
  if nested:
    params = {"first": params, "second": [params["kernel"] * 2, params["bias"] - 4]}
  return (params,), {"weight": weight}


_case = functools.partial(
    Case,
    draw=_draw,
    sizes={
        "d_in": (2, 1, 3),
        "d_out": (3, 1, 2),
        "nested": (False, True),
        "weight": (0.1, 2.5, 0.0),
    },
    typical={"d_in": 1024, "d_out": 1024, "nested": True, "weight": 1e-4},
    batched=None,  # Params have no leading dimensions.
)

CASES = [
    _case(
        name="penalties.l2_penalty",
        formula="y = (c/2) sum w^2: d_w = c w d_y",
        reference=losses.l2_penalty,
        rule=gradients.l2_penalty_vjp,
    ),
    _case(
        name="penalties.l1_penalty",
        formula="y = c sum |w|: d_w = c sign(w) d_y",
        reference=losses.l1_penalty,
        rule=gradients.l1_penalty_vjp,
    ),
]
