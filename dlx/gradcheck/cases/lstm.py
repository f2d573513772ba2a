"""Long short-term memory, its cell and its scan, and their rules."""

import functools

from dlx.gradcheck.case import Case, Mistake
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


STEP, UNROLL = {"function": "_step_vjp"}, {"function": "unroll_vjp"}
IN_STEP = (
    Mistake("d_c' does not get d_h'", "d_c + d_h * o * (1 - tanh_c * tanh_c)", "d_c", **STEP),
    Mistake("d_c' does not get the next step's", "d_c = d_c + d_h", "d_c = d_h", **STEP),
    Mistake("o dropped in d_c'", "d_h * o * (1 - tanh_c", "d_h * (1 - tanh_c", **STEP),
    Mistake("tanh' dropped in d_c'", " * (1 - tanh_c * tanh_c)", "", **STEP),
    Mistake("the old memory under the tanh", "jnp.tanh(new_c)", "jnp.tanh(c)", **STEP),
    Mistake("g dropped in d_i", "d_c * g * i * (1 - i)", "d_c * i * (1 - i)", **STEP),
    Mistake("s' without 1 - i", " * i * (1 - i)", " * i", **STEP),
    Mistake("the new memory in d_f", "d_c * c * f", "d_c * new_c * f", **STEP),
    Mistake("s' without f", "d_c * c * f * (1 - f)", "d_c * c * (1 - f)", **STEP),
    Mistake("the sign of g^2", "1 - g * g", "1 + g * g", **STEP),
    Mistake("i dropped in d_g", "d_c * i * (1 - g", "d_c * (1 - g", **STEP),
    Mistake("c' without tanh in d_o", "d_h * tanh_c * o", "d_h * new_c * o", **STEP),
    Mistake("d_c' in place of d_h' in d_o", "d_h * tanh_c * o", "d_c * tanh_c * o", **STEP),
    Mistake("two gates change places", "[d_i, d_f, d_g, d_o]", "[d_f, d_i, d_g, d_o]", **STEP),
    Mistake("f dropped in d_c", "(d_c * f, d_a", "(d_c, d_a", **STEP),
    Mistake("d_h's sign", "d_a @ hidden_t", "-d_a @ hidden_t", **STEP),
)

CASES = [
    Case(
        name="lstm.cell",
        formula="c' = f c + i g, h' = o tanh c': d_c' += d_h' o (1 - tanh^2 c'), d_c = d_c' f",
        plain=lstm.cell,
        rule=gradients.cell_vjp,
        draw=_draw_cell,
        sizes=shared.CELL_SIZES,
        typical=shared.CELL_TYPICAL,
        batched=(False, True, True),
        # h is for the scan, whose case has these terms; here the gates and c are wanted.
        without_effect=("in o * jnp.tanh(c)",),
        mistakes=(
            *IN_STEP,
            Mistake("the carry's cotangent dropped", "d_h + d_y", "d_y"),
            Mistake("the output's cotangent dropped", "d_h + d_y", "d_h"),
            Mistake("the new state in d_U", "x, h, d_a", "x, new_h, d_a"),
        ),
    ),
    Case(
        name="lstm.scan",
        formula="d_c_t-1 = d_c_t f_t, d_h_t = d_y_t + d_a_t+1 U^T, d_U = sum h_t-1^T d_a_t",
        plain=functools.partial(lstm.scan, implementation="autodiff"),
        rule=gradients.scan_vjp,
        draw=_draw_scan,
        sizes=shared.SCAN_SIZES,
        typical=shared.SCAN_TYPICAL,
        batched=(False, True, True),
        batched_options=("lengths",),
        mistakes=(
            *IN_STEP,
            Mistake("outputs' cotangents dropped", "d_h + d_y", "d_h", **UNROLL),
            Mistake("nothing comes from the next step", "d_h + d_y", "d_y", **UNROLL),
            Mistake("the last c's cotangent dropped", "d_last, valid",
                    "(0 * d_last[0], d_last[1]), valid", **UNROLL),
            Mistake("the last h's cotangent dropped", "d_last, valid",
                    "(d_last[0], 0 * d_last[1]), valid", **UNROLL),
            Mistake("padding is stepped through", "valid=valid", "valid=None", **UNROLL),
            Mistake("the order of the forward pass", "valid=valid, reverse=reverse",
                    "valid=valid, reverse=not reverse", **UNROLL),
            Mistake("the state after a step in d_U", "before_h, d_a", "states[1], d_a", **UNROLL),
            Mistake("the memory after a step in d_f", "(d_hs, before_c, ", "(d_hs, states[0], ",
                    **UNROLL),
        ),
    ),
]
