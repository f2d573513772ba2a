"""The losses and their rules: means over the places where a mask is True."""

import functools

from dlx.gradcheck.case import Case, Mistake
from dlx.gradients import losses as gradients
from dlx.layers import losses

SHAPES = ((3,), (), (1,), (2, 3), (2, 2, 2))
MASKS = ("none", "some", "rows", "all false")


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


def _draw_values(rng, shape, mask):
  return (rng.normal(size=shape),), {"mask": _mask(rng, shape, mask)}


def _draw_logits(rng, shape, mask, classes, label_smoothing):
  options = {
      "labels": rng.integers(classes, size=shape),
      "mask": _mask(rng, shape, mask),
      "label_smoothing": label_smoothing,
  }
  return (2 * rng.normal(size=(*shape, classes)),), options


def _draw_pairs(rng, shape, mask):
  return (2 * rng.normal(size=shape), rng.normal(size=shape)), {"mask": _mask(rng, shape, mask)}


SHARE = {"function": "_share"}
MEAN = (
    Mistake("a sum in place of a mean, no mask", "d_out / max(math.prod(shape), 1)", "d_out",
            **SHARE),
    Mistake("a sum in place of a mean, mask", "d_out / jnp.maximum(mask.sum(), 1)", "d_out",
            **SHARE),
    Mistake("a mean over masked places too", "mask.sum()", "mask.size", **SHARE),
    Mistake("masked places counted", "jnp.where(mask, ", "jnp.where(True, ", **SHARE),
)

_case = functools.partial(
    Case,
    sizes={"shape": SHAPES, "mask": MASKS},
    typical={"shape": (64, 1024), "mask": "some"},
    batched=None,  # The mean is over all examples.
)

CASES = [
    _case(
        name="losses.masked_mean",
        formula="y = sum(m v)/sum(m): d_v = m d_y/sum(m)",
        plain=losses.masked_mean,
        rule=gradients.masked_mean_vjp,
        draw=_draw_values,
        mistakes=MEAN,
    ),
    _case(
        name="losses.cross_entropy",
        formula="l = L - sum q x, q = (1 - a)[k = label] + a/K: dl/dx = p - q",
        plain=losses.cross_entropy,
        rule=gradients.cross_entropy_vjp,
        draw=_draw_logits,
        sizes={
            "shape": SHAPES,
            "mask": MASKS,
            "classes": (3, 1, 5),
            "label_smoothing": (0.0, 0.1, 1.0),
        },
        typical={"shape": (64, 128), "mask": "none", "classes": 1024, "label_smoothing": 0.0},
        mistakes=(
            *MEAN,
            Mistake("the targets dropped", "(x) - targets", "(x)"),
            Mistake("the probabilities dropped", "softmax.probabilities(x) - targets", "-targets"),
            Mistake("the sign", "(share * (", "(-share * ("),
            Mistake("logits in place of probabilities", "softmax.probabilities(x) - ", "x - "),
            Mistake("no 1 - a", "(1 - label_smoothing) * right", "right"),
            Mistake("smoothing left out", "+ label_smoothing / classes", ""),
            Mistake("the smoothing not over K", "label_smoothing / classes", "label_smoothing"),
            Mistake("smoothing over the wrong classes", "label_smoothing / classes",
                    "~right * label_smoothing / max(1, classes - 1)"),
        ),
    ),
    _case(
        name="losses.binary_cross_entropy",
        formula="l = -y log s(x) - (1 - y) log s(-x): dl/dx = s(x) - y, dl/dy = -x",
        plain=losses.binary_cross_entropy,
        rule=gradients.binary_cross_entropy_vjp,
        draw=_draw_pairs,
        mistakes=(
            *MEAN,
            Mistake("the term of y dropped", " - y * lax.logistic(-x)", ""),
            Mistake("the term of 1 - y dropped", "(1 - y) * lax.logistic(x)", ""),
            Mistake("the sign of y's term", "- y * lax", "+ y * lax"),
            Mistake("s(x) in y's term", "- y * lax.logistic(-x)", "- y * lax.logistic(x)"),
            Mistake("no 1 - y", "(1 - y) * lax", "lax"),
            Mistake("d_labels' sign", "(-share * x)", "(share * x)"),
            Mistake("no d_labels", "(-share * x)", "(0 * x)"),
        ),
    ),
    _case(
        name="losses.squared_error",
        formula="l = (p - t)^2: dl/dp = 2 (p - t), dl/dt = -2 (p - t)",
        plain=losses.squared_error,
        rule=gradients.squared_error_vjp,
        draw=_draw_pairs,
        mistakes=(
            *MEAN[:3],  # Masked terms are (0 - 0)^2 already: no share of them is no mistake.
            Mistake("the 2 dropped", "2 * (_counted", "1 * (_counted"),
            Mistake("the targets added", "(predictions, mask) - _counted",
                    "(predictions, mask) + _counted"),
            Mistake("the targets dropped", " - _counted(targets, mask)", ""),
            Mistake("d_targets' sign", "(-d_terms)", "d_terms"),
        ),
    ),
]
