"""Evaluation of language models: stateless and stateful loss, with and without a temperature."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from dlx.data import batches
from dlx.layers import losses
from dlx.metrics.calibration import fit_temperature

_STREAMS = 8  # Parts of a split that are read in parallel by a stateful evaluation.


def token_losses(
    logits: Float[Array, "B T V"], targets: Int[Array, "B T"]
) -> dict[str, tuple[Array, Array]]:
  """`eval_fn`'s metrics of a language model: (-log p of each target, their weights), (B, T)."""
  losses_of = jax.vmap(jax.vmap(losses.cross_entropy))
  found = losses_of(logits, targets)
  return {"loss": (found, jnp.ones_like(found))}


def at_temperature(variables: dict, temperature: float) -> dict:
  """The variables of a model whose logits `calibrated` divides by the temperature."""
  return {**variables, "temperature": np.float32(temperature)}


def calibrated(variables: dict, logits: Float[Array, "..."]) -> Float[Array, "..."]:
  """The logits at the temperature in the variables, as they are if there is none."""
  return logits / variables["temperature"] if "temperature" in variables else logits


def make_measure(eval_fn: Callable, vocabulary, stream_fn: Callable | None = None) -> Callable:
  """`measure_fn` of a language model's Task.

  Stateless evaluation starts every sequence of a split from a zero state; stateful evaluation
  carries the state through the text, in a few parallel streams. The temperature is fitted on
  the validation split. Perplexity per word and nats per character count the words and the
  characters of the text itself, so they compare models with different vocabularies.

  Args:
    eval_fn: `eval_fn(variables, batch, rng)`, `token_losses` of sequences (B, T), by a model whose
      logits go through `calibrated`.
    vocabulary: of dlx.data.vocabulary.
    stream_fn: `stream_fn(variables, batch, rng) -> (B,)`: the mean loss of streams (B, S, T),
      for a model with a state.
  """

  def measure_fn(variables, data, split, apply):
    def stateless(variables, split):
      found, _ = apply(eval_fn, data.split(split), variables=variables)["loss"]
      return float(found.mean())

    examples = data.split(split)
    temperature = fit_temperature(lambda t: stateless(at_temperature(variables, t), "validation"))
    scaled = at_temperature(variables, temperature)
    loss = stateless(variables, split)
    metrics = {
        **per_unit(loss, examples, vocabulary),
        "perplexity": np.exp(loss),
        "temperature": temperature,
        "loss at the temperature": stateless(scaled, split),
    }
    if stream_fn is None:
      return metrics
    streams = batches.in_streams(examples, _STREAMS)
    count = len(streams["inputs"])
    for name, model in (("", variables), (" at the temperature", scaled)):
      found = apply(stream_fn, streams, variables=model, chunk=count)
      metrics[f"stateful loss{name}"] = found.mean()
    return metrics

  return measure_fn


def per_unit(loss: float, examples: dict[str, np.ndarray], vocabulary) -> dict[str, float]:
  """The loss per token in units that do not depend on the vocabulary.

  exp(L n_tokens / n_words), words being separated by white space, and L n_tokens / n_characters.

  Args:
    loss: L, nats per token.
    examples: "targets" (W, T), and "characters" (W, T) unless each is one character.
    vocabulary: of dlx.data.vocabulary.
  """
  targets = examples["targets"]
  words = len(vocabulary.decode(targets.ravel()).split())
  found = {"tokens": targets.size, "perplexity per word": np.exp(loss * targets.size / words)}
  if "characters" in examples:
    found["nats per character"] = loss * targets.size / examples["characters"].sum()
  return found
