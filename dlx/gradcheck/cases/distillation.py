"""Distillation and its rule."""

from dlx.gradcheck.case import Case
from dlx.gradcheck.cases import losses as cases
from dlx.gradients import distillation as gradients
from dlx.layers import distillation


def _draw(rng, shape, mask, weights, classes, temperature):
  logits = 2 * rng.normal(size=(*shape, classes))
  targets = rng.uniform(size=logits.shape)  # Their sum has a part in the rule.
  options = cases.means(rng, shape, mask, weights)
  return (logits, targets), {**options, "temperature": temperature}


CASES = [
    Case(
        name="distillation.soft_cross_entropy",
        formula="l = -T^2 sum q log p, p = softmax(z/T): d_z = T (p - q), d_q = -T^2 log p",
        reference=distillation.soft_cross_entropy,
        rule=gradients.soft_cross_entropy_vjp,
        draw=_draw,
        sizes={
            "shape": cases.SHAPES,
            "mask": cases.MASKS,
            "weights": cases.WEIGHTS,
            "classes": (3, 2, 5),
            "temperature": (2.0, 1.0, 0.5),
        },
        typical={"shape": (64, 128), "mask": "none", "classes": 1024},
        batched=None,  # The mean is over all examples.
        equivalent={
            "jnp.where(kept, z, 0) -> z": "only matters where a masked logit is not finite",
            "jnp.where(kept, q, 0) -> q": "only matters where a masked target is not finite",
        },
    )
]
