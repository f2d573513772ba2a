"""Diagonal Gaussians and their rules."""

import functools

import jax

from dlx.gradcheck.case import LEADING, Case
from dlx.gradients import gaussian as gradients
from dlx.layers import gaussian


def _sample(mean, log_var, *, rng):
  return gaussian.sample(rng, mean, log_var)


def _draw(rng, batch, d):
  mean, log_var = rng.normal(size=(2, *batch, d))
  return (mean, log_var), {}


def _draw_with_key(rng, batch, d):
  inputs, _ = _draw(rng, batch, d)
  return inputs, {"rng": jax.random.key(int(rng.integers(2**31)))}


def _draw_with_z(rng, batch, d):
  return tuple(rng.normal(size=(3, *batch, d))), {}


_case = functools.partial(
    Case,
    sizes={"batch": LEADING, "d": (3, 1, 4)},
    typical={"batch": (128,), "d": 1024},
)

CASES = [
    _case(
        name="gaussian.sample",
        formula="z = m + e^(l/2) e: d_m = d_z, d_l = d_z e^(l/2) e / 2",
        reference=_sample,
        rule=gradients.sample_vjp,
        draw=_draw_with_key,
        batched=None,  # Noise is drawn per call.
    ),
    _case(
        name="gaussian.log_prob",
        formula="y = log N(z; m, e^l): d_z = -u d_y, d_m = u d_y, d_l = ((z - m) u - 1)/2 d_y",
        reference=gaussian.log_prob,
        rule=gradients.log_prob_vjp,
        draw=_draw_with_z,
        batched=(True, True, True),
    ),
    _case(
        name="gaussian.kl_divergence",
        formula="y = (m^2 + e^l - 1 - l)/2: d_m = m d_y, d_l = (e^l - 1)/2 d_y",
        reference=gaussian.kl_divergence,
        rule=gradients.kl_divergence_vjp,
        draw=_draw,
        batched=(True, True),
    ),
]
