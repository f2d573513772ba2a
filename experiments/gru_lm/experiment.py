"""A language model: a stack of GRU layers (or LSTM, or simple RNN).

  loss = -1/T sum_t log p(x_{t+1} | x_1 ... x_t), in nats per character, word or byte pair
"""

import jax
import jax.numpy as jnp

from dlx.data import batches, language
from dlx.data import vocabulary as vocabularies
from dlx.experiment import Data, Loss, Task
from dlx.layers import losses
from dlx.metrics import language_model
from dlx.models import generation
from dlx.models.language_model import RecurrentLanguageModel
from dlx.reports import exposure


def load(config, assets=None) -> Data:
  """The corpus as ids; validation and test in non-overlapping sequences."""
  options = config.data
  return language.load(options, assets, streams=options.batch_size if options.stream else 1)


def make(config, assets) -> Task:
  """The network that config.model describes."""
  vocabulary = vocabularies.of(assets)
  unit = f"nats per {vocabulary.unit}"
  model = RecurrentLanguageModel(len(vocabulary), **config.model)
  sizes = {"batch_size": config.data.batch_size, "seq_len": config.data.seq_len}
  stream = config.data.stream
  schedule = generation.make_schedule(config.sampled_inputs, config.training.total_steps)

  def network(variables, ids, carries=None, **options):
    """(logits, carries) of ids (..., T)."""
    logits, carries = model.apply({"params": variables["params"]}, ids, carries, **options)
    return language_model.calibrated(variables, logits), carries

  def init_fn(rng, data):
    ids = jnp.zeros((config.data.batch_size, 1), jnp.int32)
    variables = {"params": model.init(rng, ids)["params"]}
    if stream:
      variables["carries"] = jax.tree.map(jnp.zeros_like, network(variables, ids)[1])
    return variables

  def stream_batch_fn(train, step, rngs):
    inputs, targets, reset = batches.stream_windows(train["ids"], step, **sizes)
    return {"inputs": inputs, "targets": targets, "reset": reset, "step": step}

  def loss_fn(variables, batch, rng):
    carries = None
    if stream:
      carries = jax.tree.map(lambda c: jnp.where(batch["reset"], 0, c), variables["carries"])
    inputs = schedule(rng, network, variables, carries, batch)
    logits, carries = network(variables, inputs, carries, train=True, rngs={"dropout": rng})
    updated = {"carries": jax.lax.stop_gradient(carries)} if stream else {}
    return Loss(losses.cross_entropy(logits, batch["targets"]), updated=updated)

  def eval_fn(variables, batch, rng):
    logits, _ = network(variables, batch["inputs"])
    return language_model.token_losses(logits, batch["targets"])

  def stream_fn(variables, batch, rng):
    """The loss of streams (B, S, T), with the state carried from sequence to sequence."""
    sequences = jax.tree.map(lambda x: x.swapaxes(0, 1), (batch["inputs"], batch["targets"]))
    carries = jax.tree.map(jnp.zeros_like, network(variables, batch["inputs"][:, 0, :1])[1])

    def advance(carries, sequence):
      logits, carries = network(variables, sequence[0], carries)
      return carries, jax.vmap(losses.cross_entropy)(logits, sequence[1])

    return jax.lax.scan(advance, carries, sequences)[1].mean(0)

  batch_fn = stream_batch_fn if stream else batches.make_windows(**sizes)
  return Task(
      init_fn, loss_fn, eval_fn, batch_fn, training_only=("carries",),
      measure_fn=language_model.make_measure(eval_fn, vocabulary, stream_fn),
      sample=generation.make_sample(vocabulary, network),
      plot=exposure.make_plot(network, unit=unit) if config.exposure_curve else None,
      unit=unit,
  )  # fmt: skip
