"""Evaluation of language models: stateless and stateful loss, with and without a temperature."""

from collections.abc import Callable

import numpy as np

from dlx.data import batches
from dlx.metrics.calibration import fit_temperature

_STREAMS = 8  # Parts of a split that are read in parallel by a stateful evaluation.


def make_measure(eval_fn: Callable, scaled: Callable, stream_fn: Callable | None = None):
  """`measure_fn` of a language model's Task.

  Stateless evaluation starts every sequence of a split from a zero state; stateful evaluation
  carries the state through the text, in a few parallel streams. The temperature is fitted on
  the validation split.

  Args:
    eval_fn: `eval_fn(variables, batch, rng) -> {"loss": (B,)}` of sequences (B, T).
    scaled: `scaled(variables, temperature)`: the variables of the model with logits divided by
      the temperature.
    stream_fn: `stream_fn(variables, batch, rng) -> (B,)`: the mean loss of streams (B, S, T),
      for a model with a state.
  """

  def measure_fn(variables, data, split, apply):
    def stateless(variables, split):
      return float(apply(eval_fn, data.split(split), variables=variables)["loss"].mean())

    examples = data.split(split)
    temperature = fit_temperature(lambda t: stateless(scaled(variables, t), "validation"))
    calibrated = scaled(variables, temperature)
    metrics = {
        "tokens": examples["targets"].size,
        "perplexity": np.exp(stateless(variables, split)),
        "temperature": temperature,
        "loss at the temperature": stateless(calibrated, split),
    }
    if stream_fn is None:
      return metrics
    streams = batches.in_streams(examples, _STREAMS)
    count = len(streams["inputs"])
    for name, model in (("", variables), (" at the temperature", calibrated)):
      losses = apply(stream_fn, streams, variables=model, chunk=count)
      metrics[f"stateful loss{name}"] = losses.mean()
    return metrics

  return measure_fn
