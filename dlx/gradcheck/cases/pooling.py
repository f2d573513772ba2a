"""Max and average pooling and their rules."""

import functools

import numpy as np

from dlx.gradcheck.case import LEADING, Case
from dlx.gradients import pooling as gradients
from dlx.gradients import windows
from dlx.layers import pooling


def _draw(rng, batch, size, window, channels, **options):
  # At least one window has to fit, and a dilated one must not lie around the image.
  reach = windows.over((1, 1), window, 1, "SAME", options["dilation"]).reach
  if options["padding"] != "SAME" or options["dilation"] != 1:
    size = tuple(max(n, r) for n, r in zip(size, reach))
  shape = (*batch, *size, channels)
  # Numbers in a random order, no two closer than 0.1: small steps change no maximum.
  x = 0.1 * rng.permutation(int(np.prod(shape))).reshape(shape) - 1
  return (x,), {"window": window, **options}


SIZES = {
    "batch": LEADING,
    "size": ((3, 3), (1, 2), (4, 3), (2, 5)),
    "window": (2, 3, (2, 3)),
    "channels": (1, 2),
    "strides": (None, 1, 2, (2, 1)),
    "padding": ("VALID", "SAME", ((1, 0), (0, 1))),
    "ceil_mode": (False, True),
    "dilation": (1, 2, (1, 2)),
}
TYPICAL = {
    "batch": (32,), "size": (32, 32), "window": 3, "channels": 64, "strides": 2,
    "padding": "SAME",
}  # fmt: skip

CASES = [
    Case(
        name="pooling.max_pool",
        formula="y[u] = max_i x[us+ie-p]: d_x[us+ie-p] += d_y[u] where i is the first largest",
        reference=functools.partial(pooling.max_pool, implementation="autodiff"),
        rule=gradients.max_pool_vjp,
        equivalent={"best >= seen -> best > seen": "only matters at ties"},
        draw=_draw,
        sizes=SIZES,
        typical=TYPICAL,
        batched=(True,),
    ),
    Case(
        name="pooling.avg_pool",
        formula="y[u] = sum_i x[us+ie-p] / n[u]: d_x[us+ie-p] += d_y[u] / n[u]",
        reference=pooling.avg_pool,
        rule=gradients.avg_pool_vjp,
        draw=_draw,
        sizes=SIZES | {"count_include_pad": (True, False)},
        typical=TYPICAL | {"count_include_pad": True},
        batched=(True,),
    ),
]  # fmt: skip
