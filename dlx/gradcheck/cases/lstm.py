"""Long short-term memory, its cell and its scan, and their rules."""

import functools

from dlx.gradcheck.case import Case
from dlx.gradcheck.cases import rnn as shared
from dlx.gradients import lstm as gradients
from dlx.layers import lstm


def _draw_cell(rng, batch, d, hidden):
  carry = rng.normal(size=(*batch, hidden)), rng.normal(size=(*batch, hidden))
  return (shared.draw_params(rng, d, hidden, 4), carry, rng.normal(size=(*batch, d))), {}


def _draw_scan(rng, batch, steps, d, hidden, ragged, reverse):
  params, carry, _ = _draw_cell(rng, batch, d, hidden)[0]
  xs = rng.normal(size=(*batch, steps, d))
  return (params, xs, carry), shared.draw_options(rng, batch, steps, ragged, reverse)



SAME = {"swap: zip(gates, hidden_gates, biases) -> ": "they are added"}

CASES = [
    Case(
        name="lstm.cell",
        formula="c' = f c + i g, h' = o tanh c': d_c' += d_h' o (1 - tanh^2 c'), d_c = d_c' f",
        reference=lstm.cell,
        rule=gradients.cell_vjp,
        draw=_draw_cell,
        sizes=shared.CELL_SIZES,
        typical=shared.CELL_TYPICAL,
        batched=(False, True, True),
        # The scan needs the new h; the cell's rule needs only the gates and c.
        equivalent=SAME | {
            "like(d_carry, carry) -> d_carry": "only changes the dtype",
            "step: operand: o * jnp.tanh(c)": "the new h is not used",
            "step: argument: jnp.tanh(c) -> c": "the new h is not used",
        },
    ),
    Case(
        name="lstm.scan",
        formula="d_c_t-1 = d_c_t f_t, d_h_t = d_y_t + d_a_t+1 U^T, d_U = sum h_t-1^T d_a_t",
        reference=functools.partial(lstm.scan, implementation="autodiff"),
        rule=gradients.scan_vjp,
        draw=_draw_scan,
        sizes=shared.SCAN_SIZES,
        typical=shared.SCAN_TYPICAL,
        batched=(False, True, True),
        batched_options=("lengths",),
        equivalent=SAME,
        mutants=shared.mutants_in_time(gradients.scan_vjp),
    ),
]
