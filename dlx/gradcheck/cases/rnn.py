"""The simple recurrent layer, its cell and its scan, and their rules."""

import functools

from dlx.gradcheck.case import LEADING, Case, Mistake
from dlx.gradients import rnn as gradients
from dlx.layers import rnn

CELL_SIZES = {"batch": LEADING, "d": (2, 1), "hidden": (2, 1, 3)}
SCAN_SIZES = {
    "batch": LEADING,
    "steps": (3, 1, 4),
    "d": (2, 1),
    "hidden": (2, 1),
    "ragged": (True, False),
    "reverse": (False, True),
}
CELL_TYPICAL = {"batch": (64,), "d": 128, "hidden": 512}
SCAN_TYPICAL = {
    "batch": (32,), "steps": 64, "d": 64, "hidden": 256, "ragged": False, "reverse": False
}


def draw_params(rng, d, hidden, gates):
  """Kernels and bias of a layer with so many gates, unit normal but for large sizes."""
  shapes = {
      "input": (d, gates * hidden), "hidden": (hidden, gates * hidden), "bias": (gates * hidden,)
  }
  scale = min(1.0, 2 / hidden**0.5)  # Of many units the sum would saturate every gate.
  return {name: scale * rng.normal(size=shape) for name, shape in shapes.items()}


def draw_options(rng, batch, steps, ragged, reverse):
  """Lengths from 0 to all steps when ragged, else None; and the direction."""
  lengths = rng.integers(steps + 1, size=batch) if ragged else None
  return {"lengths": lengths, "reverse": reverse}


def _draw_cell(rng, batch, d, hidden):
  carry = rng.normal(size=(*batch, hidden))
  return (draw_params(rng, d, hidden, 1), carry, rng.normal(size=(*batch, d))), {}


def _draw_scan(rng, batch, steps, d, hidden, ragged, reverse):
  params, carry, _ = _draw_cell(rng, batch, d, hidden)[0]
  xs = rng.normal(size=(*batch, steps, d))
  return (params, xs, carry), draw_options(rng, batch, steps, ragged, reverse)


STEP, UNROLL = {"function": "_step_vjp"}, {"function": "unroll_vjp"}
IN_STEP = (
    Mistake("tanh' left out", "d_h * (1 - h * h)", "d_h", **STEP),
    Mistake("the sign of h^2", "1 - h * h", "1 + h * h", **STEP),
    Mistake("U not transposed", "d_a @ hidden_t", "d_a @ hidden_t.T", **STEP),
    Mistake("d_h in place of d_a in d_h", "d_a @ hidden_t", "d_h @ hidden_t", **STEP),
    Mistake("d_a's sign", "hidden_t, d_a", "hidden_t, -d_a", **STEP),
)

CASES = [
    Case(
        name="rnn.cell",
        formula="h' = tanh(a): d_a = d_h' (1 - h'^2), d_h = d_a U^T, d_U = h^T d_a",
        plain=rnn.cell,
        rule=gradients.cell_vjp,
        draw=_draw_cell,
        sizes=CELL_SIZES,
        typical=CELL_TYPICAL,
        batched=(False, True, True),
        mistakes=(
            *IN_STEP,
            Mistake("the carry's cotangent dropped", "d_out[0] + d_out[1]", "d_out[1]"),
            Mistake("the output's cotangent dropped", "d_out[0] + d_out[1]", "d_out[0]"),
            Mistake("the new state in d_U", "x, carry, d_a", "x, h, d_a"),
        ),
    ),
    Case(
        name="rnn.scan",
        formula="h_t = tanh(a_t): d_h_t = d_y_t + d_a_t+1 U^T, d_U = sum h_t-1^T d_a_t",
        plain=functools.partial(rnn.scan, implementation="autodiff"),
        rule=gradients.scan_vjp,
        draw=_draw_scan,
        sizes=SCAN_SIZES,
        typical=SCAN_TYPICAL,
        batched=(False, True, True),
        batched_options=("lengths",),
        mistakes=(
            *IN_STEP,
            Mistake("outputs' cotangents dropped", "d_h + d_y", "d_h", **UNROLL),
            Mistake("nothing comes from the next step", "d_h + d_y", "d_y", **UNROLL),
            Mistake("the last state's cotangent dropped", "d_last, valid", "0 * d_last, valid",
                    **UNROLL),
            Mistake("padding is stepped through", "valid=valid", "valid=None", **UNROLL),
            Mistake("the order of the forward pass", "valid=valid, reverse=reverse",
                    "valid=valid, reverse=not reverse", **UNROLL),
            Mistake("the state after a step in d_U", "before, d_a", "hs, d_a", **UNROLL),
            Mistake("a shift to the wrong side", "carry, hs, reverse=reverse",
                    "carry, hs, reverse=not reverse", **UNROLL),
        ),
    ),
]
