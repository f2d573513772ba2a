"""Softmax, log-softmax and logsumexp over the last dimension, and their rules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dlx.gradcheck.case import LEADING, Case, Mistake
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


_case = functools.partial(
    Case,
    draw=_draw,
    sizes=SIZES,
    typical=TYPICAL,
    batched=(True,),
    batched_options=("where",),
    without_effect=("jnp.isneginf(largest)",),
)
PREPARE = {"function": "_prepare"}
P = {"function": "probabilities"}

CASES = [
    _case(
        name="softmax.softmax",
        formula="p_i = e^x_i / sum e^x: d_x = p (d_p - sum d_p p)",
        plain=jax.nn.softmax,
        rule=gradients.softmax_vjp,
        mistakes=(
            Mistake("the mean dropped", "(d_out - mean)", "d_out"),
            Mistake("the mean's sign", "(d_out - mean)", "(d_out + mean)"),
            Mistake("the factor p dropped", "p * (d_out - mean)", "(d_out - mean)"),
            Mistake("d_p dropped", "(d_out - mean)", "(-mean)"),
            Mistake("the sum not weighted by p", "(d_out * p).sum", "d_out.sum"),
            Mistake("the sum over all rows", ".sum(-1, keepdims=True)", ".sum()"),
            Mistake("mask left out", "if where is not None", "if False", **PREPARE),
            Mistake("exponentials not divided by their sum", "e / jnp", "e  # jnp", **P),
        ),
    ),
    _case(
        name="softmax.log_softmax",
        formula="y_i = x_i - L: d_x = d_y - p sum d_y",
        plain=_log_softmax,
        rule=gradients.log_softmax_vjp,
        mistakes=(
            Mistake("the sum dropped", "(d_y - p * d_y.sum(-1, keepdims=True))", "d_y"),
            Mistake("the sum's sign", "(d_y - p", "(d_y + p"),
            Mistake("d_y dropped", "(d_y - p", "(-p"),
            Mistake("p dropped", "- p * d_y.sum", "- d_y.sum"),
            Mistake("the sum over all rows", "d_y.sum(-1, keepdims=True)", "d_y.sum()"),
            Mistake("masked outputs counted", "jnp.where(absent, 0, d_out.astype(p.dtype))",
                    "d_out.astype(p.dtype)"),
        ),
    ),
    _case(
        name="softmax.logsumexp",
        formula="L = log sum e^x: d_x = p d_L",
        plain=functools.partial(jax.nn.logsumexp, axis=-1),
        rule=gradients.logsumexp_vjp,
        mistakes=(
            Mistake("p dropped", "d_out[..., None] * p", "d_out[..., None] + 0 * p"),
            Mistake("the cotangent not by row", "d_out[..., None] * p", "d_out.sum() * p"),
            Mistake("mask left out", "if where is not None", "if False", **PREPARE),
            Mistake("exponentials not divided by their sum", "e / jnp", "e  # jnp", **P),
        ),
    ),
]
