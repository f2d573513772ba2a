"""The losses and their rules: weighted means over the entries where a mask is True."""

import functools

from dlx.gradcheck.case import Case
from dlx.gradients import losses as gradients
from dlx.layers import losses

SHAPES = ((3,), (), (1,), (2, 3), (2, 2, 2))
MASKS = ("none", "some", "rows", "all false")
WEIGHTS = ("none", "each", "rows", "zeros")


def _mask(rng, shape, mask):
  """None, a mask with at least one True, one that broadcasts, or one without any True."""
  if mask == "none":
    return None
  if mask == "rows" and shape:
    shape = (*shape[:-1], 1)
  true = rng.random(shape) < 0.6
  if mask == "all false":
    return true & False
  true.flat[rng.integers(true.size)] = True
  return true


def means(rng, shape, mask, weights):
  """The options of every loss; weights are None, one for each entry, or broadcast, or all 0."""
  options = {"mask": _mask(rng, shape, mask), "weights": None}
  if weights != "none":
    shape = (*shape[:-1], 1) if weights == "rows" and shape else shape
    options["weights"] = rng.uniform(0.5, 2.0, shape) * (weights != "zeros")
  return options


def _draw_values(rng, shape, mask, weights):
  return (rng.normal(size=shape),), means(rng, shape, mask, weights)


def _draw_logits(rng, shape, mask, weights, classes, label_smoothing, weighted):
  options = means(rng, shape, mask, weights) | {
      "labels": rng.integers(classes, size=shape),
      "label_smoothing": label_smoothing,
      "class_weights": rng.uniform(0.5, 2.0, classes) if weighted else None,
  }
  return (2 * rng.normal(size=(*shape, classes)),), options


def _draw_pairs(rng, shape, mask, weights):
  return (2 * rng.normal(size=shape), rng.normal(size=shape)), means(rng, shape, mask, weights)



MASKED = {"jnp.where(mask, x, 0) -> x": "only matters where a masked input is not finite"}

_case = functools.partial(
    Case,
    sizes={"shape": SHAPES, "mask": MASKS, "weights": WEIGHTS},
    typical={"shape": (64, 1024), "mask": "some"},
    batched=None,  # The mean is over all examples.
)

CASES = [
    _case(
        name="losses.masked_mean",
        formula="y = sum(m v)/sum(m): d_v = m d_y/sum(m)",
        reference=losses.masked_mean,
        rule=gradients.masked_mean_vjp,
        draw=_draw_values,
    ),
    _case(
        name="losses.cross_entropy",
        formula="l = L - sum q x, q = (1 - a)[k = label] + a/K: dl/dx = p - q",
        reference=losses.cross_entropy,
        rule=gradients.cross_entropy_vjp,
        equivalent=MASKED,
        draw=_draw_logits,
        sizes={
            "shape": SHAPES,
            "mask": MASKS,
            "weights": WEIGHTS,
            "classes": (3, 1, 5),
            "label_smoothing": (0.0, 0.1, 1.0),
            "weighted": (False, True),
        },
        typical={
            "shape": (64, 128), "mask": "none", "classes": 1024, "label_smoothing": 0.0,
            "weighted": False,
        },  # fmt: skip
    ),
    _case(
        name="losses.binary_cross_entropy",
        formula="l = -y log s(x) - (1 - y) log s(-x): dl/dx = s(x) - y, dl/dy = -x",
        reference=losses.binary_cross_entropy,
        rule=gradients.binary_cross_entropy_vjp,
        equivalent=MASKED,
        draw=_draw_pairs,
    ),
    _case(
        name="losses.squared_error",
        formula="l = (p - t)^2: dl/dp = 2 (p - t), dl/dt = -2 (p - t)",
        reference=losses.squared_error,
        rule=gradients.squared_error_vjp,
        equivalent={
            # Neither works without the other.
            "jnp.where(mask, x, 0) -> x": "the factor of a masked term is 0",
            "0) -> d_out / jnp.maximum(mask.sum(), 1)": "masked terms are (0 - 0)^2",
        },
        draw=_draw_pairs,
    ),
]
