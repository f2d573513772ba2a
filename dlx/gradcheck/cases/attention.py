"""Attention's weights, attention, the same over blocks, and multi-head, with their rules."""

import functools

from dlx.gradcheck.case import LEADING, Case
from dlx.gradients import attention as gradients
from dlx.gradients import blocked_attention
from dlx.layers import attention

MASKS = ("each", None, "keys")
BIASES = ("each", None, "keys", "pairs", "rows")
WINDOWS = (1, None, (1, 0), (0, 2))


def _mask(rng, kind, batch, heads, queries, keys):
  """One for each head, or of keys alone; a row may allow nothing."""
  shapes = {"each": (heads, queries, keys), "keys": (1, 1, keys)}
  return None if kind is None else rng.random((*batch, *shapes[kind])) < 0.6


def _bias(rng, kind, batch, heads, queries, keys):
  """(bias,), which broadcasts along other axes for each kind; () without one."""
  shapes = {
      "each": (*batch, heads, queries, keys),
      "keys": (*batch, 1, 1, keys),
      "pairs": (queries, keys),
      "rows": (heads, queries, 1),
  }
  return () if kind is None else (rng.normal(size=shapes[kind]),)


def _draw(
    rng, batch, heads, groups, queries, keys, d, d_value, mask, is_causal, scale, bias, window,
    softcap, sizes=None,
):  # fmt: skip
  """`heads` heads of keys, each with a group of `groups` heads of queries."""
  scores = (batch, heads * groups, queries, keys)
  sides = (heads * groups, queries, d), (heads, keys, d), (heads, keys, d_value)
  options = {
      "mask": _mask(rng, mask, *scores),
      "is_causal": is_causal,
      "scale": scale,
      "local_window_size": window,
      "softcap": softcap,
  }
  if sizes is not None:
    options["sizes"] = sizes
  inputs = tuple(rng.normal(size=(*batch, *side)) for side in sides)
  return (*inputs, *_bias(rng, bias, *scores)), options


def _draw_weights(rng, **sizes):
  inputs, options = _draw(rng, d_value=1, **sizes)
  return inputs[:2] + inputs[3:], options


def _draw_multi_head(
    rng, batch, heads, groups, queries, keys, d, d_context, linear_bias, mask, is_causal, bias,
    window, softcap,
):  # fmt: skip
  """Self-attention where `keys` is None, then without a bias of the scores."""
  d_model, d_keys = heads * groups * d, heads * d
  d_context = d_model if keys is None else d_context
  sizes = {"query": (d_model, d_model), "key": (d_context, d_keys), "out": (d_model, d_model)}
  sizes["value"] = sizes["key"]
  params = {name: {"kernel": rng.normal(size=size)} for name, size in sizes.items()}
  if linear_bias:
    for layer in params.values():
      layer["bias"] = rng.normal(size=layer["kernel"].shape[1])
  scores = (batch, heads * groups, queries, keys or queries)
  inputs = (params, rng.normal(size=(*batch, queries, d_model)))
  if keys is not None:
    inputs += (rng.normal(size=(*batch, keys, d_context)), *_bias(rng, bias, *scores))
  options = {"mask": _mask(rng, mask, *scores), "is_causal": is_causal}
  options |= {"local_window_size": window, "softcap": softcap}
  return inputs, {"num_heads": heads * groups, **options}


def _reference(*inputs, sizes=None, **options):
  """The layer that holds all weights; it has no blocks."""
  return attention.dot_product_attention(*inputs, **options, implementation="autodiff")


SIZES = {
    "batch": LEADING,
    "heads": (1, 2),
    "groups": (2, 1),
    "queries": (3, 1, 4),
    "keys": (4, 1, 2),
    "d": (2, 1, 3),
    "mask": MASKS,
    "is_causal": (False, True),
    "scale": (None, 0.7),
    "bias": BIASES,
    "window": WINDOWS,
    "softcap": (0.9, None),
}
TYPICAL = {"batch": (2,), "heads": 4, "queries": 512, "keys": 512, "d": 64}
PLAIN = {"groups": 1, "bias": None, "window": None, "softcap": None}
TYPICAL |= {"mask": None, "is_causal": True, "scale": None} | PLAIN
SYMMETRIC = {"present(query, key) -> head_groups.present(key, query)": "whether they differ"}
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
        batched=(True, True, True),
        batched_options=("mask",),
        equivalent=SYMMETRIC,
    ),
    Case(
        name="attention.dot_product_attention",
        formula="O = A V: d_V = A^T d_O, d_A = d_O V^T, d_S, d_Q, d_K as for the weights",
        reference=_reference,
        rule=gradients.dot_product_attention_vjp,
        draw=_draw,
        sizes=SIZES | VALUES,
        typical=TYPICAL | TYPICAL_VALUES,
        batched=(True, True, True, True),
        batched_options=("mask",),
        equivalent=SYMMETRIC,
    ),
    Case(
        name="attention.dot_product_attention_in_blocks",
        formula="A = e^(S - m) / l, d_S = A (d_O V^T - rowsum(d_O O)), block by block",
        reference=_reference,
        rule=blocked_attention.dot_product_attention_vjp,
        draw=_draw,
        sizes=SIZES | VALUES | {
            "queries": (5, 1, 4),
            "keys": (5, 1, 6),
            "sizes": ((2, 3), (3, 2), (1, 1), (8, 8)),
        },
        typical=TYPICAL | TYPICAL_VALUES | {"sizes": (128, 128)},
        batched=(True, True, True, True),
        batched_options=("mask",),
        equivalent=SYMMETRIC | {
            # The layer's second derivative needs it (tests/gradients/test_attention.py).
            "(out * p).sum(-1) - d_total -> (out * p).sum(-1)": "d_total is 0 here",
            "key.shape[-2], k, q)": "any block sizes give the same result",
            "jnp.zeros_like(key) -> key": "every block is overwritten",
            "jnp.zeros_like(value) -> value": "every block is overwritten",
            "jnp.atleast_2d(x) -> x": "no drawn mask or bias has fewer dimensions",
            "varying.axes(": "nothing varies outside of shard_map (test_shard_map.py)",
            "varying.spread(": "nothing varies outside of shard_map",
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
            "heads": (1, 2),
            "groups": (2, 1),
            "queries": (3, 1),
            "keys": (2, 1, None),
            "d": (2, 1),
            "d_context": (3, 1),
            "linear_bias": (True, False),
            "mask": MASKS,
            "is_causal": (False, True),
            "bias": BIASES,
            "window": WINDOWS,
            "softcap": (0.9, None),
        },
        typical={
            "batch": (2,),
            "heads": 4,
            "queries": 256,
            "keys": None,
            "d": 64,
            "d_context": 256,
            "linear_bias": True,
            "mask": None,
            "is_causal": True,
        } | PLAIN,
        batched=(False, True, True, True),
        batched_options=("mask",),
        equivalent=SYMMETRIC | {
            "scale=scale) -> weights(query, key, mask=mask, is_causal=is_causal, scale=None)":
            "multi-head attention has the default scale",
        },
    ),
]
