"""The gated recurrent unit in both forms, its cell and its scan, and their rules."""

import functools

from dlx.gradcheck.case import Case, Mistake
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


AFTER, BEFORE = {"function": "_step_after_vjp"}, {"function": "_step_before_vjp"}
PARAMS, UNROLL = {"function": "_params_vjp"}, {"function": "unroll_vjp"}
IN_STEP = (
    Mistake("after: z in place of 1 - z in d_an", "d_h * (1 - z) * (1 - n * n)",
            "d_h * z * (1 - n * n)", **AFTER),
    Mistake("after: tanh' dropped", " * (1 - n * n)", "", **AFTER),
    Mistake("after: the sign of d_az", "h - n", "n - h", **AFTER),
    Mistake("after: s' without 1 - z", "* z * (1 - z)", "* z", **AFTER),
    Mistake("after: q dropped in d_ar", "d_an * q * r", "d_an * r", **AFTER),
    Mistake("after: s' without 1 - r", " * (1 - r)", "", **AFTER),
    Mistake("after: r dropped in d_q", "d_q = d_an * r", "d_q = d_an", **AFTER),
    Mistake("after: z dropped in d_h", "d_h = d_h * z + jnp", "d_h = d_h + jnp", **AFTER),
    Mistake("after: d_an in place of d_q in d_h", "[d_ar, d_az, d_q]", "[d_ar, d_az, d_an]",
            **AFTER),
    Mistake("before: 1 - z in place of z in d_an", "d_h * z * (1 - n * n)",
            "d_h * (1 - z) * (1 - n * n)", **BEFORE),
    Mistake("before: tanh' dropped", " * (1 - n * n)", "", **BEFORE),
    Mistake("before: the sign of d_az", "n - h", "h - n", **BEFORE),
    Mistake("before: s' without z", "* z * (1 - z)", "* (1 - z)", **BEFORE),
    Mistake("before: U_n not transposed", "d_an @ hidden_n_t", "d_an @ hidden_n_t.T", **BEFORE),
    Mistake("before: h dropped in d_ar", "d_rh * h * r", "d_rh * r", **BEFORE),
    Mistake("before: s' without 1 - r", " * (1 - r)", "", **BEFORE),
    Mistake("before: 1 - z dropped in d_h", "d_h = d_h * (1 - z) +", "d_h = d_h +", **BEFORE),
    Mistake("before: r dropped in d_h", "+ d_rh * r +", "+ d_rh +", **BEFORE),
    Mistake("before: the way through r dropped", "+ d_rh * r + jnp", "+ jnp", **BEFORE),
    Mistake("before: h in place of r * h for d_U_n", "d_az, d_an), r * h", "d_az, d_an), h",
            **BEFORE),
    Mistake("d_an in place of d_q in d_U", "[d_ar, d_az, extra]", "[d_ar, d_az, d_an]", **PARAMS),
    Mistake("d_b_n is d_c_n", "d_rz_bias, d_n_bias", "d_rz_bias, 0 * d_n_bias", **PARAMS),
    Mistake("d_b_r and d_b_z dropped", "d_rz_bias, d_n_bias", "0 * d_rz_bias, d_n_bias", **PARAMS),
)

# A gate's argument near 4 is rounded by 2^-7, and four gates' roundings meet in d_h.
BFLOAT16 = 4e-2

CASES = [
    Case(
        name="gru.cell",
        formula="h' = (1 - z) n + z h: d_an = d_h' (1 - z)(1 - n^2), d_az = d_h' (h - n) z (1 - z)",
        plain=gru.cell,
        rule=gradients.cell_vjp,
        draw=_draw_cell,
        sizes=FORMS | shared.CELL_SIZES,
        typical=shared.CELL_TYPICAL | {"reset_after": True},
        batched=(False, True, True),
        bfloat16=BFLOAT16,
        # The new state is for the scan, whose case has these terms; here the gates are wanted.
        without_effect=("_step_after: ", "_step_before: "),
        mistakes=(
            *IN_STEP,
            Mistake("the carry's cotangent dropped", "d_out[0] + d_out[1]", "d_out[1]"),
            Mistake("the output's cotangent dropped", "d_out[0] + d_out[1]", "d_out[0]"),
            Mistake("the new state in d_U", "x, carry, *d", "x, h, *d"),
        ),
    ),
    Case(
        name="gru.scan",
        formula="d_h_t-1 = d_h_t z + [d_ar d_az d_q]_t U^T, d_U = sum h_t-1^T [d_ar d_az d_q]_t",
        plain=functools.partial(gru.scan, implementation="autodiff"),
        rule=gradients.scan_vjp,
        draw=_draw_scan,
        sizes=FORMS | shared.SCAN_SIZES,
        typical=shared.SCAN_TYPICAL | {"reset_after": True},
        batched=(False, True, True),
        bfloat16=BFLOAT16,
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
            Mistake("the state after a step", "(d_hs, before, values)", "(d_hs, hs, values)",
                    **UNROLL),
            Mistake("the state after a step in d_U", "xs, before, *d", "xs, hs, *d", **UNROLL),
        ),
    ),
]
