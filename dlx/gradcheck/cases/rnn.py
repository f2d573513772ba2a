"""The simple recurrent layer, its cell and its scan, and their rules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dlx.gradcheck.case import LEADING, Case, Mutant
from dlx.gradients import rnn as gradients
from dlx.layers import rnn

CELL_SIZES = {"batch": LEADING, "d": (2, 1), "hidden": (2, 1, 3)}
SCAN_SIZES = {
    "batch": LEADING,
    "steps": (3, 1, 4),
    "d": (2, 1),
    "hidden": (2, 1),
    "ragged": (True, False),
    "reverse": (False, True),
}
ACTIVATIONS = {"activation": (jnp.tanh, jax.nn.relu)}
CORNER = 0.02  # No argument of relu is closer to 0: rounding would change its derivative.
CELL_TYPICAL = {"batch": (64,), "d": 128, "hidden": 512}
SCAN_TYPICAL = {
    "batch": (32,), "steps": 64, "d": 64, "hidden": 256, "ragged": False, "reverse": False
}


def draw_params(rng, d, hidden, gates):
  """Kernels and bias of a layer with a number of gates: normal, scaled down for large sizes."""
  shapes = {
      "input": (d, gates * hidden), "hidden": (hidden, gates * hidden), "bias": (gates * hidden,)
  }
  scale = min(1.0, 2 / hidden**0.5)  # A sum over many units would saturate every gate.
  return {name: scale * rng.normal(size=shape) for name, shape in shapes.items()}


def draw_options(rng, batch, steps, ragged, reverse):
  """Lengths from 0 to all steps when ragged, else None; and the direction."""
  lengths = rng.integers(steps + 1, size=batch) if ragged else None
  return {"lengths": lengths, "reverse": reverse}


def _draw_steps(rng, batch, steps, d, hidden, reverse, activation):
  """(params, xs, carry); drawn again while an argument of relu is near its corner."""
  while True:
    params, xs = draw_params(rng, d, hidden, 1), rng.normal(size=(*batch, steps, d))
    carry = rng.normal(size=(*batch, hidden))
    h, arguments = carry, []
    for t in range(steps)[:: -1 if reverse else 1]:
      arguments.append(xs[..., t, :] @ params["input"] + h @ params["hidden"] + params["bias"])
      h = np.maximum(arguments[-1], 0)
    if activation is not jax.nn.relu or np.min(np.abs(arguments)) > CORNER:
      return params, xs, carry


def _draw_cell(rng, batch, d, hidden, activation):
  params, xs, carry = _draw_steps(rng, batch, 1, d, hidden, False, activation)
  return (params, carry, xs[..., 0, :]), {"activation": activation}


def _draw_scan(rng, batch, steps, d, hidden, ragged, reverse, activation):
  inputs = _draw_steps(rng, batch, steps, d, hidden, reverse, activation)
  options = draw_options(rng, batch, steps, ragged, reverse)
  return inputs, options | {"activation": activation}


def mutants_in_time(rule):
  """Mistakes in the order and the validity of steps, in the rule of a scan."""

  def through_padding(*inputs, lengths, **options):
    return rule(*inputs, lengths=None, **options)

  def in_forward_order(*inputs, reverse, **options):
    return rule(*inputs, reverse=not reverse, **options)

  def without_last(*inputs, d_out, **options):
    d_last, d_ys = d_out
    return rule(*inputs, d_out=(jax.tree.map(jnp.zeros_like, d_last), d_ys), **options)

  def one_step_late(*inputs, d_out, **options):
    d_last, d_ys = d_out
    return rule(*inputs, d_out=(d_last, jnp.roll(d_ys, 1, axis=-2)), **options)

  return (
      Mutant("padding is stepped through", through_padding),
      Mutant("the steps run in the opposite order", in_forward_order),
      Mutant("the last state's cotangent is dropped", without_last),
      Mutant("the outputs' cotangents are one step late", one_step_late),
  )


CASES = [
    Case(
        name="rnn.cell",
        formula="h' = f(a): d_a = d_h' f'(a), d_h = d_a U^T, d_U = h^T d_a",
        reference=rnn.cell,
        rule=gradients.cell_vjp,
        draw=_draw_cell,
        sizes=CELL_SIZES | ACTIVATIONS,
        typical=CELL_TYPICAL,
        batched=(False, True, True),
    ),
    Case(
        name="rnn.scan",
        formula="h_t = f(a_t): d_h_t = d_y_t + d_a_t+1 U^T, d_U = sum h_t-1^T d_a_t",
        reference=functools.partial(rnn.scan, implementation="autodiff"),
        rule=gradients.scan_vjp,
        draw=_draw_scan,
        sizes=SCAN_SIZES | ACTIVATIONS,
        typical=SCAN_TYPICAL,
        batched=(False, True, True),
        batched_options=("lengths",),
        mutants=mutants_in_time(gradients.scan_vjp),
    ),
]
