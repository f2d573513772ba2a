"""Layer norm, RMS norm and batch norm, and their rules."""

import functools
import math

import numpy as np

from dlx.gradcheck.case import LEADING, Case, Mistake
from dlx.gradients import norm as gradients
from dlx.layers import norm

EPS = (1e-5, 0.5)


def _groups(rng, count, n):
  """(count, n): groups to normalize, in which values are about 1 apart.

  Where two values of a small group nearly agree, a norm bends within the step of a
  central difference.
  """
  values = np.tile(1.0 + np.arange(n) % 5, (count, 1))
  return rng.permuted(values, axis=1) + 0.2 * rng.normal(size=(count, n))


def _params(rng, d, bias):
  params = {"scale": rng.normal(size=d)}
  return params | {"bias": rng.normal(size=d)} if bias else params


def _draw_vectors(rng, batch, d, bias, eps):
  x = _groups(rng, math.prod(batch), d).reshape(*batch, d)
  return (_params(rng, d, bias), x), {"eps": eps}


def _draw_batch(rng, batch, c, bias, train, momentum, eps):
  x = _groups(rng, c, math.prod(batch)).T.reshape(*batch, c)
  stats = {"mean": rng.normal(size=c), "var": rng.uniform(0.5, 2, size=c)}
  options = {"train": train, "momentum": momentum, "eps": eps}
  return (_params(rng, c, bias), stats, x), options


_vectors = functools.partial(
    Case,
    draw=_draw_vectors,
    sizes={"batch": LEADING, "d": (3, 1, 2, 5), "bias": (True, False), "eps": EPS},
    typical={"batch": (4096,), "d": 512, "bias": True, "eps": 1e-5},
    batched=(False, True),
)
SUM_LEADING = {"function": "sum_leading"}
VECTOR = {"function": "vector_moments"}
BATCH = {"function": "batch_moments"}
TRAIN = {"function": "batch_moments_vjp"}

_mean = (
    Mistake("a sum for a mean", ") / n", ")", function="mean_last"),
    Mistake("the first entry for the mean", "jnp.ones((n, 1), x.dtype)",
            "jnp.eye(n, 1, dtype=x.dtype) * n", function="mean_last"),
)
_sum = (
    Mistake("d_scale and d_bias of the last vector alone", "x.sum(-2)", "x[..., -1, :]",
            **SUM_LEADING),
    Mistake("a mean over examples", "x.sum(-2)", "x.mean(-2)", **SUM_LEADING),
)
_sums = (
    Mistake("d_scale without u", "sum_leading(d_y * u)", "sum_leading(d_y)"),
    Mistake("d_scale's sign", "sum_leading(d_y * u)", "-sum_leading(d_y * u)"),
    Mistake("d_bias's sign", "sum_leading(d_y)", "-sum_leading(d_y)"),
    *_sum,
)

CASES = [
    _vectors(
        name="norm.layer_norm",
        formula="u = (x - m) s, y = scale u + bias: d_x = s (d_u - mean(d_u) - u mean(d_u u))",
        plain=functools.partial(norm.layer_norm, implementation="autodiff"),
        rule=gradients.layer_norm_vjp,
        mistakes=(
            Mistake("mean(d_u) dropped", " - mean_last(d_u) ", " "),
            Mistake("mean(d_u)'s sign", "- mean_last(d_u) ", "+ mean_last(d_u) "),
            Mistake("the part along u dropped", " - u * mean_last(d_u * u)", ""),
            Mistake("the part along u's sign", "- u * mean_last", "+ u * mean_last"),
            Mistake("d_u itself dropped", "s * (d_u -", "s * (-"),
            Mistake("d_x not multiplied by s", "d_x = s * (", "d_x = ("),
            Mistake("scale left out of d_u", 'd_y * widen(params["scale"])', "d_y"),
            Mistake("mean(d_u u) without u", "(d_u * u)", "(d_u)"),
            Mistake("x not centered", "(widen(x) - mean)", "widen(x)"),
            Mistake("eps left out", "var + eps", "var"),
            Mistake("moments of the first vector for all", "vector_moments(x)",
                    "vector_moments(x.reshape(-1, x.shape[-1])[0])"),
            Mistake("the mean left out of the variance", "jnp.square(x - mean)", "jnp.square(x)",
                    **VECTOR),
            Mistake("what was taken away not added again", "first + mean_last", "mean_last",
                    **VECTOR),
            *_mean,
            *_sums,
        ),
    ),
    _vectors(
        name="norm.rms_norm",
        formula="u = x / rms(x), y = scale u + bias: d_x = s (d_u - u mean(d_u u))",
        plain=functools.partial(norm.rms_norm, implementation="autodiff"),
        rule=gradients.rms_norm_vjp,
        mistakes=(
            Mistake("the part along u dropped", " - u * mean_last(d_u * u)", ""),
            Mistake("the part along u's sign", "- u * mean_last", "+ u * mean_last"),
            Mistake("d_u itself dropped", "s * (d_u - u", "s * (-u"),
            Mistake("d_x not multiplied by s", "d_x = s * (", "d_x = ("),
            Mistake("scale left out of d_u", 'd_y * widen(params["scale"])', "d_y"),
            Mistake("mean(d_u u) without u", "(d_u * u)", "(d_u)"),
            Mistake("the square left out", "jnp.square(widen(x))", "jnp.abs(widen(x))"),
            Mistake("eps left out", ") + eps", ")"),
            *_mean,
            *_sums,
        ),
    ),
    Case(
        name="norm.batch_norm",
        formula="u = (x - m) s over the batch: d_x = s (d_u - mean(d_u) - u mean(d_u u))",
        plain=functools.partial(norm.batch_norm, implementation="autodiff"),
        rule=gradients.batch_norm_vjp,
        draw=_draw_batch,
        sizes={
            "batch": ((3,), (), (1,), (2, 2), (2, 1, 3)),
            "c": (2, 1, 3),
            "bias": (True, False),
            "train": (True, False),
            "momentum": (0.9, 0.5),
            "eps": EPS,
        },
        typical={
            "batch": (128, 32, 32),
            "c": 64,
            "bias": True,
            "train": True,
            "momentum": 0.9,
            "eps": 1e-5,
        },
        mistakes=(
            Mistake("mean(d_u) dropped", "(a * d_bias - d_mean)", "(-d_mean)", **TRAIN),
            Mistake("mean(d_u)'s sign", "(a * d_bias -", "(-a * d_bias -", **TRAIN),
            Mistake("the part along u dropped", "(a * s * d_scale - 2", "(-2", **TRAIN),
            Mistake("the part along u's sign", "(a * s *", "(-a * s *", **TRAIN),
            Mistake("s missing in the part along u", "(a * s *", "(a *", **TRAIN),
            Mistake("d_u itself dropped", "a * d_y - b", "-b", **TRAIN),
            Mistake("d_m dropped", " - d_mean", "", **TRAIN),
            Mistake("d_m's sign", "- d_mean", "+ d_mean", **TRAIN),
            Mistake("d_v dropped", " - 2 * d_var", "", **TRAIN),
            Mistake("d_v's sign", "- 2 * d_var", "+ 2 * d_var", **TRAIN),
            Mistake("d_v without its 2", "2 * d_var", "d_var", **TRAIN),
            Mistake("b not divided by n", "d_mean) / n", "d_mean)", **TRAIN),
            Mistake("c not divided by n", "d_var) / n", "d_var)", **TRAIN),
            Mistake("x not centered in d_x", "- c * centered", "- c * widen(x)", **TRAIN),
            Mistake("scale left out", 'widen(params["scale"]) * s', "s", **TRAIN),
            Mistake("d_scale without s", "centered) * s", "centered)", **TRAIN),
            Mistake("d_bias's sign", "sum_leading(d_y)", "-sum_leading(d_y)", **TRAIN),
            Mistake("eps left out in training", "var + eps", "var", **TRAIN),
            Mistake("1 - momentum missing", "(1 - momentum) * widen", "widen"),
            Mistake("momentum missing for the old statistics", "momentum * d for", "d for"),
            Mistake("evaluation's rule in training", "if train:", "if False:"),
            Mistake("training's rule in evaluation", "if train:", "if True:"),
            Mistake("d_x of evaluation without scale and s", "(a * d_y)", "(d_y)"),
            Mistake("d_m of evaluation dropped", "-a * d_bias", "0 * d_bias"),
            Mistake("d_m's sign in evaluation", "-a * d_bias", "a * d_bias"),
            Mistake("d_v of evaluation without its 1/2", "d_scale / 2", "d_scale"),
            Mistake("d_v's sign in evaluation", "-a * s", "a * s"),
            Mistake("d_v of evaluation without s", "-a * s", "-a"),
            Mistake("d_new dropped in evaluation", "(d_new[name] + d)", "(d)"),
            Mistake("the mean left out of the variance", "jnp.square(x - mean)", "jnp.square(x)",
                    **BATCH),
            Mistake("a sum for the variance", "mean)) / n", "mean))", **BATCH),
            Mistake("a sum for the mean", "(x - first) / n", "(x - first)", **BATCH),
            Mistake("what was taken away not added again", "first + sum", "sum", **BATCH),
            Mistake("d_scale without u in evaluation", "sum_leading(d_y * u)", "sum_leading(d_y)"),
            *_sum,
        ),
        without_effect=("x.ndim - 1",),  # Any value may be taken away first.
    ),
]
