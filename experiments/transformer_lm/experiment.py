"""A language model: a decoder-only transformer (GPT).

  loss = -1/T sum_t log p(x_{t+1} | x_1 ... x_t), in nats per character, word or byte pair

Source: Radford et al., "Improving language understanding by generative pre-training" (2018).
"""

import jax
import jax.numpy as jnp

from dlx.data import batches, language
from dlx.data import vocabulary as vocabularies
from dlx.experiment import Data, Loss, Task
from dlx.layers import linear, losses
from dlx.metrics import language_model
from dlx.models import generation
from dlx.models.transformer import Transformer
from dlx.reports import exposure


def load(config, assets=None) -> Data:
  """The corpus as ids; validation and test in non-overlapping sequences."""
  return language.load(config.data, assets)


def make(config, assets) -> Task:
  """The network that config.model describes."""
  vocabulary = vocabularies.of(assets)
  unit = f"nats per {vocabulary.unit}"
  sizes = {"batch_size": config.data.batch_size, "seq_len": config.data.seq_len}
  schedule = generation.make_schedule(config.sampled_inputs, config.training.total_steps)
  context = max(config.data.seq_len, config.data.eval_seq_len)
  model = Transformer(len(vocabulary), is_causal=True, max_length=context, **config.model)

  def init_fn(rng, data):
    model_rng, output_rng = jax.random.split(rng)
    transformer = model.init(model_rng, jnp.zeros((1,), jnp.int32))["params"]
    output = linear.init(output_rng, config.model.d_model, len(vocabulary))
    return {"params": {"transformer": transformer, "output": output}}

  def empty(batch_shape):
    return model.init_cache(batch_shape)

  def network(variables, ids, cache=None, **options):
    """(logits, cache) of ids (..., T); the cache is None in training and evaluation."""
    params = variables["params"]
    states = model.apply({"params": params["transformer"]}, ids, cache=cache, **options)
    states, cache = states if cache is not None else (states, None)
    return language_model.calibrated(variables, linear.apply(params["output"], states)), cache

  def loss_fn(variables, batch, rng):
    cache = empty((config.data.batch_size,))
    inputs = schedule(rng, network, variables, cache, batch)
    logits, _ = network(variables, inputs, train=True, rngs={"dropout": rng})
    return Loss(losses.cross_entropy(logits, batch["targets"]))

  def eval_fn(variables, batch, rng):
    logits, _ = network(variables, batch["inputs"])
    return language_model.token_losses(logits, batch["targets"])

  return Task(
      init_fn, loss_fn, eval_fn, batches.make_windows(**sizes),
      outputs_fn=lambda variables, batch: network(variables, batch["inputs"])[0],
      measure_fn=language_model.make_measure(eval_fn, vocabulary),
      sample=generation.make_sample(vocabulary, network, empty, context),
      plot=exposure.make_plot(network, empty, unit=unit) if config.exposure_curve else None,
      unit=unit,
  )  # fmt: skip
