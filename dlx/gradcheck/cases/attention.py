"""Attention's weights, attention, the same over blocks, and multi-head, with their rules."""

import functools

from dlx.gradcheck.case import LEADING, Case
from dlx.gradients import attention as gradients
from dlx.gradients import blocked_attention
from dlx.layers import attention

MASKS = ("each", None, "keys")


def _mask(rng, kind, batch, heads, queries, keys):
  """One for each head, or of keys alone; a row may allow nothing."""
  shapes = {"each": (heads, queries, keys), "keys": (1, 1, keys)}
  return None if kind is None else rng.random((*batch, *shapes[kind])) < 0.6


def _draw(rng, batch, heads, queries, keys, d, d_value, mask, is_causal, scale, sizes=None):
  leading = (*batch, heads)
  sides = ((queries, d), (keys, d), (keys, d_value))
  options = {
      "mask": _mask(rng, mask, batch, heads, queries, keys),
      "is_causal": is_causal,
      "scale": scale,
  }
  if sizes is not None:
    options["sizes"] = sizes
  return tuple(rng.normal(size=(*leading, *side)) for side in sides), options


def _draw_weights(rng, **sizes):
  inputs, options = _draw(rng, d_value=1, **sizes)
  return inputs[:2], options


def _draw_multi_head(
    rng, batch, heads, queries, keys, d, d_context, bias, mask, is_causal
):
  """Self-attention where `keys` is None."""
  d_model = heads * d
  widths = {"query": d_model, "key": d_context, "value": d_context, "out": d_model}
  if keys is None:
    widths |= {"key": d_model, "value": d_model}
  params = {name: {"kernel": rng.normal(size=(w, d_model))} for name, w in widths.items()}
  if bias:
    for layer in params.values():
      layer["bias"] = rng.normal(size=d_model)
  inputs = (params, rng.normal(size=(*batch, queries, d_model)))
  if keys is not None:
    inputs += (rng.normal(size=(*batch, keys, d_context)),)
  mask = _mask(rng, mask, batch, heads, queries, keys or queries)
  return inputs, {"num_heads": heads, "mask": mask, "is_causal": is_causal}


def _reference(*inputs, sizes=None, **options):
  """The layer that holds all weights; it has no blocks."""
  return attention.dot_product_attention(*inputs, **options, implementation="autodiff")


SIZES = {
    "batch": LEADING,
    "heads": (2, 1),
    "queries": (3, 1, 4),
    "keys": (4, 1, 2),
    "d": (2, 1, 3),
    "mask": MASKS,
    "is_causal": (False, True),
    "scale": (None, 0.7),
}
TYPICAL = {"batch": (2,), "heads": 4, "queries": 512, "keys": 512, "d": 64}
TYPICAL |= {"mask": None, "is_causal": True, "scale": None}
VALUES, TYPICAL_VALUES = {"d_value": (3, 1)}, {"d_value": 64}

CASES = [
    Case(
        name="attention.weights",
        formula="A = softmax(c Q K^T) = softmax(S): d_S = A (d_A - rowsum(A d_A)), d_Q = c d_S K",
        reference=attention.weights,
        rule=gradients.weights_vjp,
        draw=_draw_weights,
        sizes=SIZES,
        typical=TYPICAL,
        batched=(True, True),
        batched_options=("mask",),
    ),
    Case(
        name="attention.dot_product_attention",
        formula="O = A V: d_V = A^T d_O, d_A = d_O V^T, d_S, d_Q, d_K as for the weights",
        reference=_reference,
        rule=gradients.dot_product_attention_vjp,
        draw=_draw,
        sizes=SIZES | VALUES,
        typical=TYPICAL | TYPICAL_VALUES,
        batched=(True, True, True),
        batched_options=("mask",),
    ),
    Case(
        name="attention.dot_product_attention_in_blocks",
        formula="A = e^(S - L), d_S = A (d_O V^T - rowsum(d_O O)), block by block",
        reference=_reference,
        rule=blocked_attention.dot_product_attention_vjp,
        draw=_draw,
        sizes=SIZES | VALUES | {
            "queries": (5, 1, 4),
            "keys": (5, 1, 6),
            "sizes": ((2, 3), (3, 2), (1, 1), (8, 8)),
        },
        typical=TYPICAL | TYPICAL_VALUES | {"sizes": (128, 128)},
        batched=(True, True, True),
        batched_options=("mask",),
        equivalent={
            # The layer's second derivative needs it (tests/gradients/test_attention.py).
            "(out * d_out).sum(-1) - d_lse -> (out * d_out).sum(-1)": "d_lse is 0 here",
            "mask.shape[-1] > 1 -> mask.shape[-1] >= 1": "one column is padded beyond the keys",
            "key.shape[-2], k, q)": "any block sizes give the same result",
            "jnp.zeros_like(key) -> key": "every block is overwritten",
            "jnp.zeros_like(value) -> value": "every block is overwritten",
            "jnp.atleast_2d(mask) -> mask": "no drawn mask has fewer dimensions",
            "any(widths[axis]) -> widths[axis]": "only saves a padding of width 0",
        },
        second_order=False,  # Loops as long as the diagonal says; the layer goes another way.
    ),
    Case(
        name="attention.multi_head",
        formula="y = [O^1 ... O^N] W_o + b_o: linear's rule, attention's, linear's again",
        reference=functools.partial(attention.multi_head, implementation="autodiff"),
        rule=gradients.multi_head_vjp,
        draw=_draw_multi_head,
        sizes={
            "batch": LEADING,
            "heads": (2, 1),
            "queries": (3, 1),
            "keys": (2, 1, None),
            "d": (2, 1),
            "d_context": (3, 1),
            "bias": (True, False),
            "mask": MASKS,
            "is_causal": (False, True),
        },
        typical={
            "batch": (2,),
            "heads": 4,
            "queries": 256,
            "keys": None,
            "d": 64,
            "d_context": 256,
            "bias": True,
            "mask": None,
            "is_causal": True,
        },
        batched=(False, True, True),
        batched_options=("mask",),
        equivalent={
            "scale=scale) -> weights(query, key, mask=mask, is_causal=is_causal, scale=None)":
            "multi-head attention has the default scale",
        },
    ),
]
