"""The simple recurrent layer, its cell and its scan, and their rules."""

import functools

import jax
import jax.numpy as jnp

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


def _draw_cell(rng, batch, d, hidden):
  carry = rng.normal(size=(*batch, hidden))
  return (draw_params(rng, d, hidden, 1), carry, rng.normal(size=(*batch, d))), {}


def _draw_scan(rng, batch, steps, d, hidden, ragged, reverse):
  params, carry, _ = _draw_cell(rng, batch, d, hidden)[0]
  xs = rng.normal(size=(*batch, steps, d))
  return (params, xs, carry), draw_options(rng, batch, steps, ragged, reverse)



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
        formula="h' = tanh(a): d_a = d_h' (1 - h'^2), d_h = d_a U^T, d_U = h^T d_a",
        reference=rnn.cell,
        rule=gradients.cell_vjp,
        draw=_draw_cell,
        sizes=CELL_SIZES,
        typical=CELL_TYPICAL,
        batched=(False, True, True),
    ),
    Case(
        name="rnn.scan",
        formula="h_t = tanh(a_t): d_h_t = d_y_t + d_a_t+1 U^T, d_U = sum h_t-1^T d_a_t",
        reference=functools.partial(rnn.scan, implementation="autodiff"),
        rule=gradients.scan_vjp,
        draw=_draw_scan,
        sizes=SCAN_SIZES,
        typical=SCAN_TYPICAL,
        batched=(False, True, True),
        batched_options=("lengths",),
        mutants=mutants_in_time(gradients.scan_vjp),
    ),
]
