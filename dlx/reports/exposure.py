"""Exposure bias: the loss of a language model on the truth after its own output.

In training a model reads the text (teacher forcing); when it generates, it reads what it has drawn
itself, which it was never trained on. The curve of the loss by position shows the difference.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dlx.layers import losses
from dlx.models import generation
from dlx.reports import figures

_SEQUENCES = 64


def make_plot(
    network: Callable, empty: Callable = generation.no_carry, *, unit: str
) -> Callable:
  """`plot` of a language model's Task: the mean loss by position, of up to 64 sequences.

  Args:
    network, empty: see dlx.models.generation.make_sample.
    unit: of the loss.
  """

  def by_position(variables, batch, rng):
    inputs, targets = batch["inputs"], batch["targets"]
    length = inputs.shape[1]
    own = (jnp.arange(1, length) >= _num_true(length)).astype(float)
    carry = empty((len(inputs),))
    drawn = generation.sampled_inputs(rng, network, variables, carry, inputs, own)
    loss = jax.vmap(jax.vmap(losses.cross_entropy))
    return {
        name: loss(network(variables, ids, carry)[0], targets)
        for name, ids in (("the text", inputs), ("its own output", drawn))
    }

  def plot(variables, data, split, apply):
    examples = {name: x[:_SEQUENCES] for name, x in data.split(split).items()}
    found = apply(by_position, examples)
    figure = figures.figure(7, 4.2)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    for (name, loss), color in zip(found.items(), ("#08519c", "#d94801")):
      axes.plot(range(1, loss.shape[1] + 1), loss.mean(0), color=color, label=f"fed {name}")
    axes.axvline(_num_true(loss.shape[1]) + 0.5, color="0.6", linewidth=1, linestyle=":")
    axes.set_xlabel("position of the token that is predicted")
    axes.set_ylabel(f"loss ({unit})")
    axes.set_title(f"{len(loss)} {split} sequences; after the dotted line, own output")
    axes.legend()
    return {"exposure": figure}

  return plot


def _num_true(length: int) -> int:
  """The number of first inputs that are of the text in both curves."""
  return max(1, length // 4)
