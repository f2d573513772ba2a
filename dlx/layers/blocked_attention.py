"""Attention in blocks with its hand-derived gradient, differentiable twice."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlx.gradients import blocked_attention as gradients
from dlx.gradients import head_groups, varying


class Options(NamedTuple):
  """What is static: arguments of `dlx.gradients.blocked_attention.attend`."""

  sizes: tuple[int, int]
  is_causal: bool
  local_window_size: tuple[int, int] | None
  softcap: float | None


def attend(query, key, value, bias, *, mask, scale, options: tuple) -> jax.Array:
  """`attention.dot_product_attention`, of arguments that it has checked.

  Args:
    query, key, value, bias, mask, scale: as there.
    options: those of `Options`.

  Raises:
    TypeError: in forward mode.
  """
  shape, dtype = (*query.shape[:-1], value.shape[-1]), jnp.result_type(query, key, value)
  if head_groups.present(query, key):
    query, key, value, bias, mask = head_groups.split(key, query, key, value, bias, mask)
  scale = query.shape[-1] ** -0.5 if scale is None else scale
  scaled = scale * query.astype(jnp.promote_types(dtype, jnp.float32))
  static = (Options(*options),)
  out, *_ = varying.call(_blocked, scaled, key, value, mask, bias, static=static)
  return out.astype(dtype).reshape(shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _blocked(options, *args):
  """(O, m, l), in blocks, with the hand-derived gradient; m counts as a constant."""
  return gradients.attend(*args, **options._asdict())


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _blocked_vjp(options, *args):
  return gradients.attend_vjp(*args, **options._asdict())


def _blocked_fwd(options, *args):
  # The function, not its body: second derivatives differentiate the residuals, too.
  outputs = _blocked(options, *args)
  return outputs, (*args, *outputs)


def _blocked_bwd(options, saved, d_outputs):
  d_out, _, d_total = d_outputs
  d_query, d_key, d_value, d_bias = _blocked_vjp(options, *saved, d_out, d_total)
  return d_query, d_key, d_value, None, d_bias  # None for the mask.


def _second_vjp(options, args, d_out):
  """The second derivative, by jax from the form that materializes all weights."""
  whole = {name: value for name, value in options._asdict().items() if name != "sizes"}
  return jax.vjp(functools.partial(gradients.saved_vjp, **whole), *args)[1](d_out)


_blocked.defvjp(_blocked_fwd, _blocked_bwd)
_blocked_vjp.defvjp(lambda options, *args: (_blocked_vjp(options, *args), args), _second_vjp)
