"""Convolution, its transpose, and their rules."""

from dlx.gradcheck.case import LEADING, Case, Mistake
from dlx.gradients import conv as gradients
from dlx.gradients import windows
from dlx.layers import conv


def _plain(params, x, **options):
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
SHARED = (
    Mistake("a group of x meets the next group of d_y", '"ngi,ngo->igo", x, d_y',
            '"ngi,ngo->igo", jnp.roll(x, 1, 1), d_y', "_kernel_vjp"),
    Mistake("d_K a mean over places", "jnp.einsum(", "1 / places * jnp.einsum(", "_kernel_vjp"),
    Mistake("d_K's sign", "jnp.einsum(", "-jnp.einsum(", "_kernel_vjp"),
    Mistake("a group of K meets the next group of d_y", "_split(kernel, groups)",
            "jnp.roll(_split(kernel, groups), 1, 1)", "_input_vjp"),
    Mistake("d_x's sign", "jnp.einsum(", "-jnp.einsum(", "_input_vjp"),
    Mistake("channels of K turned around", "_split(kernel, groups)",
            "_split(kernel, groups)[::-1]", "_input_vjp"),
    Mistake("d_b a mean", "d_y.sum(", "d_y.mean(", "_params_vjp"),
    Mistake("d_b's sign", "= d_y.sum(", "= -d_y.sum(", "_params_vjp"),
    Mistake("window elements in the wrong order", "jnp.stack(d_kernel)",
            "jnp.stack(d_kernel[::-1])", "_params_vjp"),
)  # fmt: skip

CASES = [
    Case(
        name="conv.apply",
        formula="y[u] = b + sum_i x[us+id-p] K[i]: d_K[i] = sum_u x[us+id-p]^T d_y[u], "
        "d_x[us+id-p] += d_y[u] K[i]^T, d_b = sum d_y",
        plain=_plain,
        rule=gradients.apply_vjp,
        draw=_draw,
        sizes=SIZES,
        typical=TYPICAL,
        batched=(False, True),
        mistakes=(
            *SHARED,
            Mistake("every element of the kernel takes what the first saw",
                    "w.seen(padded, i, j)", "w.seen(padded, 0, 0)"),
            Mistake("the kernel back to front", "kernel[i, j]", "kernel[-1 - i, -1 - j]"),
            Mistake("d_x of the last element alone", "d_x += ", "d_x = "),
            Mistake("all of d_x goes to the first element's place",
                    ", groups), i, j)", ", groups), 0, 0)"),
            Mistake("rows and columns exchanged in d_K", "d_kernel.append(",
                    "d_kernel.insert(len(d_kernel) // 2, "),
        ),
    ),
    Case(
        name="conv.transpose",
        formula="y[us+id-p] += x[u] K[i]: d_K[i] = sum_u x[u]^T d_y[us+id-p], "
        "d_x[u] = sum_i d_y[us+id-p] K[i]^T, d_b = sum d_y",
        plain=conv.transpose,
        rule=gradients.transpose_vjp,
        draw=_draw_transposed,
        sizes=SIZES,
        typical=TYPICAL,
        batched=(False, True),
        mistakes=(
            *SHARED,
            Mistake("every element takes what the first saw",
                    "w.seen(padded, i, j)", "w.seen(padded, 0, 0)"),
            Mistake("the kernel back to front", "kernel[i, j]", "kernel[-1 - i, -1 - j]"),
            Mistake("d_x of the last element alone", "d_x += ", "d_x = "),
        ),
    ),
]  # fmt: skip
