"""Attention's weights, attention, the same over blocks, and multi-head, with their rules."""

import functools

from dlx.gradcheck.case import LEADING, Case, Mistake
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


def _plain(*inputs, sizes=None, **options):
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

SCORES = {"function": "_scores_vjp"}
PRODUCT = {"function": "_product_vjp"}
WEIGHTS = {"function": "weights"}
ALLOWED = {"function": "allowed"}

_of_weights = (
    Mistake("the row sum dropped", "(d_a - (a * d_a).sum(-1, keepdims=True))", "d_a", **SCORES),
    Mistake("the row sum's sign", "d_a - (a", "d_a + (a", **SCORES),
    Mistake("the row sum not weighted by A", "(a * d_a).sum", "d_a.sum", **SCORES),
    Mistake("a column sum", ".sum(-1", ".sum(-2", **SCORES),
    Mistake("the factor A dropped", "a * (d_a", "(d_a", **SCORES),
    Mistake("d_A dropped", "(d_a - (a", "(-(a", **SCORES),
    Mistake("d_S unscaled", "(scale * d_s)", "d_s", **PRODUCT),
    Mistake("no 1/sqrt(D) in d_S", "query.shape[-1] ** -0.5", "1.0", **PRODUCT),
    Mistake("d_S not transposed in d_K", "(transpose(d_s) @ query)", "(d_s @ query)", **PRODUCT),
    Mistake("d_K's sign", "(transpose(d_s) @ query)", "(-transpose(d_s) @ query)", **PRODUCT),
    Mistake("d_Q's sign", "(d_s @ key)", "(-d_s @ key)", **PRODUCT),
    Mistake("scores unscaled", "scale * dot(", "dot(", **WEIGHTS),
    Mistake("1/D for 1/sqrt(D) in the scores", "** -0.5", "** -1.0", **WEIGHTS),
    Mistake("mask left out", "if not is_causal:\n    return mask", "if not is_causal:\n    return",
            **ALLOWED),
    Mistake("mask left out if causal", "causal & mask", "causal", **ALLOWED),
    Mistake("a query does not see its own key", "<=", "<", **ALLOWED),
    Mistake("causal backward", "<=", ">=", **ALLOWED),
)
_mistakes = (
    Mistake("A not transposed in d_V", "(transpose(a.astype(d_out.dtype)) @ d_out)",
            "(a.astype(d_out.dtype) @ d_out)"),
    Mistake("d_V's sign", "(transpose(a.astype", "(-transpose(a.astype"),
    Mistake("d_V with d_A", "@ d_out).astype(value", "@ (d_out * d_out)).astype(value"),
    Mistake("d_A's sign", "d_a = dot", "d_a = -dot"),
    Mistake("d_V without the scale of the scores", "is_causal=is_causal, scale=scale",
            "is_causal=is_causal, scale=1.0"),
    Mistake("mask applied in one place only", "mask=mask,", ""),
)

ATTEND = {"function": "attend"}
BACKWARD = {"function": "attend_vjp"}
_of_blocks = (
    Mistake("old blocks' sum not shrunk", "total * shrink +", "total +", **ATTEND),
    Mistake("old blocks' values not shrunk", "o * shrink +", "o +", **ATTEND),
    Mistake("L without the largest score", "m + jnp.log(total)", "jnp.log(total)", **ATTEND),
    Mistake("L without the sum", "m + jnp.log(total)", "m", **ATTEND),
    Mistake("O not divided by the sum", "o / jnp.where(total == 0, 1, total)", "o", **ATTEND),
    Mistake("no mask in the forward pass", "jnp.where(blocks.allowed(i, j), s, -jnp.inf)", "s",
            **ATTEND),
    Mistake("no mask in the backward pass",
            "jnp.where(transpose(blocks.allowed(i, j)), s_t, -jnp.inf)", "s_t", **BACKWARD),
    Mistake("blocks' mask not transposed", "transpose(blocks.allowed(i, j))",
            "jnp.broadcast_to(blocks.allowed(i, j), transpose(s_t).shape).reshape(s_t.shape)",
            **BACKWARD),
    Mistake("delta dropped", "(v_j @ transpose(d_o) - _at(shift, i, blocks.q, -1)[..., None, :])",
            "(v_j @ transpose(d_o))",
            **BACKWARD),
    Mistake("delta's sign", "transpose(d_o) - _at", "transpose(d_o) + _at", **BACKWARD),
    Mistake("the factor A dropped", "a_t * (v_j", "(v_j", **BACKWARD),
    Mistake("d_Q of the last block alone", "_at(d_q_t, i, blocks.q, -1) + k_t", "k_t", **BACKWARD),
    Mistake("d_K of the last block alone", "d_k + d_s_t", "d_s_t", **BACKWARD),
    Mistake("d_V of the last block alone", "d_v + a_t", "a_t", **BACKWARD),
    Mistake("the last blocks of a causal column skipped", "(full, blocks.rows,",
            "(full, blocks.rows - 1,", **BACKWARD),
    Mistake("c Q's cotangent for Q's", "(scale * d_scaled)", "d_scaled"),
)

_of_heads = (
    Mistake("no gradient through the queries in self-attention",
            'd_inputs["query"] + d_memory', "d_memory"),
    Mistake("no gradient through the context in self-attention",
            'd_inputs["query"] + d_memory', 'd_inputs["query"]'),
    Mistake("no gradient through the values", 'd_inputs["key"] + d_inputs["value"]',
            'd_inputs["key"]'),
    Mistake("no gradient through the keys", 'd_inputs["key"] + d_inputs["value"]',
            'd_inputs["value"]'),
    Mistake("the projections' bias left out", 'y + params["bias"] if "bias" in params else y', "y",
            function="_linear"),
    Mistake("heads not joined", "d_out=merge_heads(d_head)",
            "d_out=d_head.reshape(merge_heads(d_head).shape)"),
    Mistake("d_O cut into heads by rows", "d_out=split_heads(d_merged, num_heads)",
            'd_out=d_merged.reshape(heads["query"].shape)'),
    Mistake("mask in the forward pass only", "num_heads), mask=mask, is", "num_heads), is"),
    Mistake("the output projection's input cotangent by its transpose",
            'linear.apply_vjp(params["out"], merged, d_out=d_out)',
            'linear.apply_vjp({**params["out"], "kernel": params["out"]["kernel"].T}, merged, '
            "d_out=d_out)"),
)

CASES = [
    Case(
        name="attention.weights",
        formula="A = softmax(c Q K^T) = softmax(S): d_S = A (d_A - rowsum(A d_A)), d_Q = c d_S K",
        plain=attention.weights,
        rule=gradients.weights_vjp,
        draw=_draw_weights,
        sizes=SIZES,
        typical=TYPICAL,
        batched=(True, True),
        batched_options=("mask",),
        mistakes=_of_weights,
    ),
    Case(
        name="attention.dot_product_attention",
        formula="O = A V: d_V = A^T d_O, d_A = d_O V^T, d_S, d_Q, d_K as for the weights",
        plain=_plain,
        rule=gradients.dot_product_attention_vjp,
        draw=_draw,
        sizes=SIZES | VALUES,
        typical=TYPICAL | TYPICAL_VALUES,
        batched=(True, True, True),
        batched_options=("mask",),
        mistakes=_mistakes,
    ),
    Case(
        name="attention.dot_product_attention_in_blocks",
        formula="A = e^(S - L), d_S = A (d_O V^T - rowsum(d_O O)), block by block",
        plain=_plain,
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
        # 0 here; the layer's second derivative needs it (tests/gradients/test_attention.py).
        without_effect=(".sum(-1) - d_lse",),
        mistakes=_of_blocks,
        second_order=False,  # Loops as long as the diagonal says; the layer goes another way.
    ),
    Case(
        name="attention.multi_head",
        formula="y = [O^1 ... O^N] W_o + b_o: linear's rule, attention's, linear's again",
        plain=functools.partial(attention.multi_head, implementation="autodiff"),
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
        mistakes=_of_heads,
    ),
]
