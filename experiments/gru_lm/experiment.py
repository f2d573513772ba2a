"""A language model of characters: a stack of GRU layers (or LSTM, or simple RNN).

  loss = -1/T sum_t log p(x_{t+1} | x_1 ... x_t), in nats per character
"""

import jax
import jax.numpy as jnp

from dlx.data import batches, corpus
from dlx.data.text import Vocabulary
from dlx.experiment import Data, Loss, Task
from dlx.layers import decoding, losses
from dlx.metrics import language_model
from dlx.models.language_model import RecurrentLanguageModel


def load(config, assets=None) -> Data:
  """The corpus as character ids; validation and test in non-overlapping sequences."""
  options = config.data
  text = corpus.load(options.dataset, path=options.text, max_characters=options.max_characters)
  assets = assets or {"characters": Vocabulary(text.characters).characters}
  vocabulary = Vocabulary(assets["characters"])
  ids = {split: vocabulary.encode(text.split(split)) for split in corpus.SPLITS}
  streams = options.batch_size if options.stream else 1
  batches.check_length("training", len(ids["train"]), options.seq_len, streams)
  held_out = {s: batches.windows(s, ids[s], options.eval_seq_len) for s in ("validation", "test")}
  steps = max(1, len(ids["train"]) // (options.batch_size * options.seq_len))
  return Data({"ids": ids["train"]}, **held_out, assets=assets, steps_per_epoch=steps)


def make(config, assets) -> Task:
  """The network that config.model describes."""
  vocabulary = Vocabulary(assets["characters"])
  model = RecurrentLanguageModel(len(vocabulary), **config.model)
  sizes = {"batch_size": config.data.batch_size, "seq_len": config.data.seq_len}
  stream = config.data.stream

  def network(variables, ids, carries=None, **options):
    """(logits, carries) of ids (..., T)."""
    return model.apply({"params": variables["params"]}, ids, carries, **options)

  def init_fn(rng, data):
    ids = jnp.zeros((config.data.batch_size, 1), jnp.int32)
    variables = {"params": model.init(rng, ids)["params"]}
    if stream:
      variables["carries"] = jax.tree.map(jnp.zeros_like, network(variables, ids)[1])
    return variables

  def batch_fn(train, step, rngs):
    if not stream:
      inputs, targets = batches.random_windows(train["ids"], rngs.step, **sizes)
      return {"inputs": inputs, "targets": targets}
    inputs, targets, reset = batches.stream_windows(train["ids"], step, **sizes)
    return {"inputs": inputs, "targets": targets, "reset": reset}

  def loss_fn(variables, batch, rng):
    carries = None
    if stream:
      carries = jax.tree.map(lambda c: jnp.where(batch["reset"], 0, c), variables["carries"])
    logits, carries = network(
        variables, batch["inputs"], carries, train=True, rngs={"dropout": rng}
    )
    updated = {"carries": jax.lax.stop_gradient(carries)} if stream else {}
    return Loss(losses.cross_entropy(logits, batch["targets"]), updated=updated)

  def eval_fn(variables, batch, rng):
    logits, _ = network(variables, batch["inputs"])
    return {"loss": jax.vmap(losses.cross_entropy)(logits, batch["targets"])}

  def stream_fn(variables, batch, rng):
    """The loss of streams (B, S, T), with the state carried from sequence to sequence."""
    sequences = jax.tree.map(lambda x: x.swapaxes(0, 1), (batch["inputs"], batch["targets"]))
    carries = jax.tree.map(jnp.zeros_like, network(variables, batch["inputs"][:, 0, :1])[1])

    def advance(carries, sequence):
      logits, carries = network(variables, sequence[0], carries)
      return carries, jax.vmap(losses.cross_entropy)(logits, sequence[1])

    return jax.lax.scan(advance, carries, sequences)[1].mean(0)

  def scaled(variables, temperature):
    output = jax.tree.map(lambda p: p / temperature, variables["params"]["output"])
    return {**variables, "params": {**variables["params"], "output": output}}

  def sample(variables, rng, *, prompt="", length=1000, temperature=0.8, top_k=None, top_p=None):
    def step(variables, carries, token):
      logits, carries = network(variables, token[None], carries)
      return carries, logits[-1]

    logits, carries = jax.jit(network)(variables, vocabulary.encode(prompt or vocabulary.first))
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    pieces = decoding.pieces(rng, step, variables, (carries, logits[-1]), length, **options)
    return map(vocabulary.decode, pieces)

  return Task(
      init_fn, loss_fn, eval_fn, batch_fn, sample=sample, training_only=("carries",),
      measure_fn=language_model.make_measure(eval_fn, scaled, stream_fn),
      unit="nats per character",
  )  # fmt: skip
