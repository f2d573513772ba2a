"""Softmax, log-softmax and logsumexp over the last dimension, and their rules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dlx.gradcheck.case import LEADING, Case
from dlx.gradients import softmax as gradients

SIZES = {"batch": LEADING, "n": (3, 1, 5), "scale": (1.0, 0.0, 10.0), "masked": (False, True)}
TYPICAL = {"batch": (512,), "n": 1024, "scale": 1.0, "masked": False}


def _draw(rng, batch, n, scale, masked):
  """Rows from equal entries to nearly one-hot; masks leave at least one entry of a row."""
  x = scale * rng.normal(size=(*batch, n))
  where = rng.random((*batch, n)) < 0.6
  np.put_along_axis(where, rng.integers(n, size=(*batch, 1)), True, axis=-1)
  return (x,), {"where": where if masked else None}


def _log_softmax(x, where):
  """jax.nn.log_softmax with zeros in place of the constant -inf at what is masked."""
  y = jax.nn.log_softmax(x, where=where)
  return y if where is None else jnp.where(where, y, 0)


SHIFT = "any number may be subtracted from inputs that do not overflow"

_case = functools.partial(
    Case,
    draw=_draw,
    sizes=SIZES,
    typical=TYPICAL,
    batched=(True,),
    batched_options=("where",),
    equivalent={
        "largest) -> x": SHIFT,
        "largest) -> x + ": SHIFT,
        "x.max(-1, keepdims=True, initial=-jnp.inf) -> x.min(-1, keepdims=True, initial=-jnp.inf)":
            SHIFT,
        "0, largest) -> largest": "no drawn row is masked completely",
        "jnp.isneginf(largest) -> largest": SHIFT,
        "jnp.where(total == 0, 1, total) -> total": "no drawn row is masked completely",
    },
)

CASES = [
    _case(
        name="softmax.softmax",
        formula="p_i = e^x_i / sum e^x: d_x = p (d_p - sum d_p p)",
        reference=jax.nn.softmax,
        rule=gradients.softmax_vjp,
    ),
    _case(
        name="softmax.log_softmax",
        formula="y_i = x_i - L: d_x = d_y - p sum d_y",
        reference=_log_softmax,
        rule=gradients.log_softmax_vjp,
    ),
    _case(
        name="softmax.logsumexp",
        formula="L = log sum e^x: d_x = p d_L",
        reference=functools.partial(jax.nn.logsumexp, axis=-1),
        rule=gradients.logsumexp_vjp,
    ),
]
