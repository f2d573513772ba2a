"""The gated recurrent unit in both forms, its cell and its scan, and their rules."""

import functools

from dlx.gradcheck.case import Case
from dlx.gradcheck.cases import rnn as shared
from dlx.gradients import gru as gradients
from dlx.layers import gru

FORMS = {"reset_after": (False, True)}


def _draw_params(rng, d, hidden, reset_after):
  params = shared.draw_params(rng, d, hidden, 3)
  if reset_after:
    params["hidden_bias"] = rng.normal(size=3 * hidden)
  return params


def _draw_cell(rng, batch, d, hidden, reset_after):
  params = _draw_params(rng, d, hidden, reset_after)
  carry, x = rng.normal(size=(*batch, hidden)), rng.normal(size=(*batch, d))
  return (params, carry, x), {"reset_after": reset_after}


def _draw_scan(rng, batch, steps, d, hidden, ragged, reverse, reset_after):
  (params, carry, _), options = _draw_cell(rng, batch, d, hidden, reset_after)
  xs = rng.normal(size=(*batch, steps, d))
  options |= shared.draw_options(rng, batch, steps, ragged, reverse)
  return (params, xs, carry), options



SAME = {
    "(kernels, gates, biases) -> (kernels, biases, gates)": "they are added",
    "like(d_params, params) -> d_params": "only changes the dtype",
}
NEW_STATE = "the new state is not used"

# A gate's argument near 4 is rounded by 2^-7, and four gates' roundings meet in d_h.
BFLOAT16 = 4e-2

CASES = [
    Case(
        name="gru.cell",
        formula="h' = (1 - z) n + z h: d_an = d_h' (1 - z)(1 - n^2), d_az = d_h' (h - n) z (1 - z)",
        reference=gru.cell,
        rule=gradients.cell_vjp,
        draw=_draw_cell,
        sizes=FORMS | shared.CELL_SIZES,
        typical=shared.CELL_TYPICAL | {"reset_after": True},
        batched=(False, True, True),
        bfloat16=BFLOAT16,
        # The scan needs the new state; the cell's rule needs only the gates.
        equivalent=SAME | {
            "_step_after: operand: (1 - z) * ": NEW_STATE,
            "_step_after: operand: 1 - z": NEW_STATE,
            "_step_after: operand: z * h": NEW_STATE,
            "_step_after: sign: (1 - z) * ": NEW_STATE,
            "_step_after: sign: 1 - z": NEW_STATE,
            "_step_before: operand: (1 - z) * ": NEW_STATE,
            "_step_before: operand: 1 - z": NEW_STATE,
            "_step_before: operand: z * n": NEW_STATE,
            "_step_before: sign: (1 - z) * ": NEW_STATE,
            "_step_before: sign: 1 - z": NEW_STATE,
        },
    ),
    Case(
        name="gru.scan",
        formula="d_h_t-1 = d_h_t z + [d_ar d_az d_q]_t U^T, d_U = sum h_t-1^T [d_ar d_az d_q]_t",
        reference=functools.partial(gru.scan, implementation="autodiff"),
        rule=gradients.scan_vjp,
        draw=_draw_scan,
        sizes=FORMS | shared.SCAN_SIZES,
        typical=shared.SCAN_TYPICAL | {"reset_after": True},
        batched=(False, True, True),
        bfloat16=BFLOAT16,
        batched_options=("lengths",),
        equivalent=SAME,
        mutants=shared.mutants_in_time(gradients.scan_vjp),
    ),
]
