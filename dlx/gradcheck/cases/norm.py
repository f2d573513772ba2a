"""Layer norm, RMS norm, group norm and batch norm, and their rules."""

import functools
import math

import numpy as np

from dlx.gradcheck.case import LEADING, Case
from dlx.gradients import group_norm as group_gradients
from dlx.gradients import norm as gradients
from dlx.layers import norm

EPS = (1e-5, 0.5)
FLOAT64 = "only matters below float32"
OTHER_BACKEND = "only matters on another backend"
WIDEN = {"widen(x) -> x": FLOAT64, "widen(params['scale']) -> params": FLOAT64}
VECTORS = WIDEN | {
    "widen(d_out) -> d_out": FLOAT64,
    "platform.choices()['sum_last'] == 'sum'": OTHER_BACKEND,
    "x.mean(-1, keepdims=True) -> ": OTHER_BACKEND,
}
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


def _draw_groups(rng, batch, size, groups, width, bias, eps):
  """Images (or sequences, or vectors) of a size, with `width` channels in each group."""
  x = _groups(rng, math.prod(batch) * groups, math.prod(size) * width)
  x = x.reshape(*batch, groups, *size, width)
  x = np.moveaxis(x, len(batch), -2).reshape(*batch, *size, groups * width)
  options = {"groups": groups, "spatial": len(size), "eps": eps}
  return (_params(rng, groups * width, bias), x), options


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
    equivalent=VECTORS,
)

CASES = [
    _vectors(
        name="norm.layer_norm",
        formula="u = (x - m) s, y = scale u + bias: d_x = s (d_u - mean(d_u) - u mean(d_u u))",
        reference=functools.partial(norm.layer_norm, implementation="autodiff"),
        rule=gradients.layer_norm_vjp,
    ),
    _vectors(
        name="norm.rms_norm",
        formula="u = x / rms(x), y = scale u + bias: d_x = s (d_u - u mean(d_u u))",
        reference=functools.partial(norm.rms_norm, implementation="autodiff"),
        rule=gradients.rms_norm_vjp,
    ),
    Case(
        name="norm.group_norm",
        formula="u = (x - m) s over a group: d_x = s (d_u - mean(d_u) - u mean(d_u u))",
        reference=functools.partial(norm.group_norm, implementation="autodiff"),
        rule=group_gradients.group_norm_vjp,
        draw=_draw_groups,
        sizes={
            "batch": LEADING,
            "size": ((2, 3), (), (3,), (1, 2)),
            "groups": (2, 1, 3),
            "width": (2, 1, 3),
            "bias": (True, False),
            "eps": EPS,
        },
        typical={
            "batch": (32,), "size": (32, 32), "groups": 32, "width": 2, "bias": True, "eps": 1e-5,
        },
        batched=(False, True),
        equivalent=WIDEN | {"widen(d_out) -> d_out": FLOAT64},
    ),
    Case(
        name="norm.batch_norm",
        formula="u = (x - m) s over the batch: d_x = s (d_u - mean(d_u) - u mean(d_u u))",
        reference=functools.partial(norm.batch_norm, implementation="autodiff"),
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
        equivalent=WIDEN | {
            "widen(d_y) -> d_y": FLOAT64,
            "widen(d_new[name]) -> d_new": FLOAT64,
            "widen(stats['mean']) -> stats": FLOAT64,
            "widen(stats['var']) -> stats": FLOAT64,
            "operand: x.ndim - 1 -> x.ndim": "any value may be subtracted first",
        },
    ),
]
