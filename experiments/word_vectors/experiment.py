"""Word vectors: skip-gram and CBOW with noise words or a hierarchical softmax, and GloVe.

dlx.layers.word_losses has the losses, dlx.training.word_tables the tables and their updates.

Source: Mikolov et al., "Distributed representations of words and phrases and their
  compositionality" (2013); Pennington et al., "GloVe" (2014).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlx.data import batches, cooccurrence, word_counts, word_sources, word_vectors
from dlx.errors import UserError
from dlx.experiment import Data, Loss, Task
from dlx.metrics import word_similarity
from dlx.reports import word_map
from dlx.training import optimizers, word_tables

_PARTS = 50  # Of the pairs that GloVe counts; one for validation, one for test.


def load(config, assets=None) -> Data:
  """A text as ids and sequences of its held-out parts; for GloVe counts of pairs of words."""
  options, model = config.data, config.model
  ids, vocabulary = word_sources.load(options, assets["words"] if assets else None)
  assets = assets or {"words": list(vocabulary.words), "counts": vocabulary.counts}
  pretrained = None
  if config.init_from:
    arguments = config.init_from, assets["words"], model.d, config.seed
    pretrained = lambda: {"vectors": word_vectors.starting_table(*arguments)}  # noqa: E731
  if model.method == "glove":
    return Data(*entries(ids["train"], len(vocabulary.words), options.window), assets, pretrained)
  held_out = (
      {"ids": word_sources.sequences(ids[split], options.seq_len)}
      for split in ("validation", "test")
  )
  steps = len(ids["train"]) // (options.seq_len * options.batch_size)
  if not steps:
    raise UserError(
        f"the training text has {len(ids['train'])} words, but a step reads "
        f"{options.seq_len * options.batch_size}; lower config.data.batch_size or data.seq_len"
    )
  return Data({"ids": ids["train"]}, *held_out, assets, pretrained, steps)


def entries(ids: np.ndarray, vocab_size: int, window: int) -> list[dict]:
  """The co-occurrences of a text, a fiftieth of the pairs for validation, another for test.

  Both entries of a pair are in one split.
  """
  counted = cooccurrence.count(ids, vocab_size, window)
  low, high = np.sort([counted.words, counted.contexts], axis=0).astype(np.uint64)
  part = (low * vocab_size + high) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)
  part = part % _PARTS
  masks = part > 1, part == 0, part == 1
  if not all(mask.any() for mask in masks):
    raise UserError(
        f"the training text has {len(part)} pairs of words, too few to hold some of them out; "
        f"give a longer text"
    )
  return [{name: x[mask] for name, x in counted._asdict().items()} for mask in masks]


def make(config, assets) -> Task:
  """The method that config.model describes."""
  options, model, words = config.data, config.model, assets["words"]
  if model.method == "glove":
    tables = word_tables.glove(len(words), d=model.d, largest_count=model.largest_count)
  else:
    tables = word_tables.windowed(
        assets["counts"], word_counts.keep_probabilities(assets["counts"], options.subsample),
        d=model.d, method=model.method, output=model.output, window=options.window,
        negatives=model.negatives, noise_words=model.noise_words, seq_len=options.seq_len,
        batch_size=options.batch_size,
    )  # fmt: skip
  rate = optimizers.schedule(total_steps=config.training.total_steps, **config.optimizer)

  def init_fn(rng, data):
    given = None if data.pretrained is None else data.pretrained["vectors"]
    return {"params": {}, **tables.init(rng, given)}

  def batch_fn(train, step, rngs):
    if model.method == "glove":
      return batches.make_epochs(options.batch_size)(train, step, rngs)
    ids = train["ids"]
    rows, epoch = batches.shuffled(
        rngs.run, step, num_examples=len(ids) // options.seq_len, batch_size=options.batch_size
    )
    # The sequences of each epoch begin at other words.
    shift = jax.random.randint(jax.random.fold_in(rngs.run, epoch), (), 0, options.seq_len)
    at = rows[:, None] * options.seq_len + jnp.arange(options.seq_len) + shift
    return {"ids": ids[jnp.minimum(at, len(ids) - 1)], "step": step}

  def loss_fn(variables, batch, rng):
    loss, changed = tables.step(variables, batch, rng, rate(batch["step"]))
    return Loss(loss, updated=changed)

  def eval_fn(variables, batch, rng):
    return {"loss": tables.losses(variables, batch, rng)}

  def vectors(variables):
    return words, np.asarray(tables.vectors(variables))

  def of(variables) -> word_similarity.Vectors:
    return word_similarity.Vectors(*vectors(variables))

  def measure_fn(variables, data, split, apply):
    return word_similarity.measure(of(variables), options.similarity, options.analogies)

  def predict(variables, lines, apply, *, top=5, json=False):
    known = of(variables)
    return [word_similarity.answer(known, line, top=top, json=json) for line in lines]

  def plot(variables, data, split, apply):
    chosen = (config.plot.words or "").split()
    return {"words": word_map.draw(of(variables), chosen)}

  # The tables change in loss_fn, so there are no parameters for an optimizer (grad_norm is 0).
  return Task(
      init_fn, loss_fn, eval_fn, batch_fn, optax.identity(),
      measure_fn=measure_fn if options.similarity or options.analogies else None,
      unit="nats per pair", training_only=tables.training_only, predict=predict, plot=plot,
      vectors=vectors,
  )  # fmt: skip
