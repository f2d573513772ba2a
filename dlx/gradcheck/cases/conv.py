"""Convolution, its transpose, and their rules."""

import jax.numpy as jnp

from dlx.gradcheck.case import LEADING, Case, Mutant
from dlx.gradients import conv as gradients
from dlx.gradients import windows
from dlx.layers import conv


def _reference(params, x, **options):
  return conv.apply(params, x, implementation="autodiff", **options)


def _draw(rng, batch, size, window, channels, bias, **options):
  height, width = windows.pair("window", window)
  dilations = windows.pair("dilation", options["dilation"])
  if options["padding"] != "SAME":  # At least one window has to fit.
    reaches = [(n - 1) * d + 1 for n, d in zip((height, width), dilations)]
    size = tuple(max(n, reach) for n, reach in zip(size, reaches))
  c_in, c_out = channels
  params = {"kernel": rng.normal(size=(height, width, c_in, options["groups"] * c_out))}
  if bias:
    params["bias"] = rng.normal(size=options["groups"] * c_out)
  return (params, rng.normal(size=(*batch, *size, options["groups"] * c_in))), options


def _draw_transposed(rng, size, **options):
  if options["padding"] not in ("SAME", "VALID"):  # Something has to be left of the output.
    size = tuple(n + 1 for n in size)
  return _draw(rng, size=size, **options)


SIZES = {
    "batch": LEADING,
    "size": ((3, 3), (1, 2), (3, 1), (2, 4)),
    "window": (2, 3, (1, 3), 1, (2, 1)),
    "channels": ((1, 2), (2, 1), (1, 1)),  # Of each group.
    "strides": (1, 2, (1, 2), 3),
    "padding": ("SAME", "VALID", ((1, 0), (0, 1))),
    "dilation": (1, 2, (2, 1)),
    "groups": (1, 2, 3),
    "bias": (True, False),
}
TYPICAL = {
    "batch": (16,), "size": (16, 16), "window": 3, "channels": (64, 64), "strides": 1,
    "padding": "SAME", "dilation": 1, "groups": 1, "bias": True,
}  # fmt: skip

def _mutants(rule):
  """Mistakes in the order of kernel elements and groups, in a rule of a convolution."""

  def flipped(params, x, **options):
    d_params, _ = rule(params, x, **options)
    kernel = params["kernel"][::-1, ::-1]
    return d_params, rule(params | {"kernel": kernel}, x, **options)[1]

  def reversed_elements(params, x, **options):
    d_params, d_x = rule(params, x, **options)
    return d_params | {"kernel": d_params["kernel"][::-1, ::-1]}, d_x

  def next_group(params, x, *, groups, **options):
    size = x.shape[-1] // groups
    d_params, _ = rule(params, jnp.roll(x, size, -1), groups=groups, **options)
    return d_params, rule(params, x, groups=groups, **options)[1]

  return (
      Mutant("d_x by the flipped kernel", flipped),
      Mutant("the elements of d_K in reverse order", reversed_elements),
      Mutant("x of another group in d_K", next_group),
  )


CASES = [
    Case(
        name="conv.apply",
        formula="y[u] = b + sum_i x[us+id-p] K[i]: d_K[i] = sum_u x[us+id-p]^T d_y[u], "
        "d_x[us+id-p] += d_y[u] K[i]^T, d_b = sum d_y",
        reference=_reference,
        rule=gradients.apply_vjp,
        mutants=_mutants(gradients.apply_vjp),
        draw=_draw,
        sizes=SIZES,
        typical=TYPICAL,
        batched=(False, True),
    ),
    Case(
        name="conv.transpose",
        formula="y[us+id-p] += x[u] K[i]: d_K[i] = sum_u x[u]^T d_y[us+id-p], "
        "d_x[u] = sum_i d_y[us+id-p] K[i]^T, d_b = sum d_y",
        reference=conv.transpose,
        rule=gradients.transpose_vjp,
        mutants=_mutants(gradients.transpose_vjp),
        draw=_draw_transposed,
        sizes=SIZES,
        typical=TYPICAL,
        batched=(False, True),
    ),
]  # fmt: skip
