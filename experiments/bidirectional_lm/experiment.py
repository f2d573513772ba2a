"""A bidirectional language model: two stacks of recurrent layers with one embedding.

dlx.models.bidirectional_lm has the loss, in nats per word, of which the end of a sentence is one.
`--config.init_from=WORKDIR` gives the states of such a run to a tagger (experiments/tagging), or
starts a classifier of documents from its first layer (experiments/recurrent_classification).
"""

import jax
import jax.numpy as jnp

from dlx.data import batches, bucketing, document_words, documents, tagged, tagged_arrays, tokens
from dlx.experiment import Data, Loss, Task
from dlx.models import bidirectional_lm
from dlx.training import contextual


def load(config, assets=None) -> Data:
  """Sentences, or pieces of documents, as ids of words, sorted by length; the words."""
  read = _read_tagged if config.data.dataset == "grammar" else _read_documents
  splits, words = read(config.data, (assets or {}).get("words"))
  return Data(
      *map(bucketing.sort_by_length, splits), assets=assets or contextual.of_config(config, words)
  )


def _read_tagged(options, words):
  parts = tagged.from_options(options)
  if words is None:
    choice = {"min_count": options.min_count, "lowercase": options.lowercase}
    words = tagged_arrays.vocabulary(parts.train.words, **choice)
  read = contextual.make_reader({"words": words, **options}, options.max_length)
  return [read(part.in_pieces(options.max_length).words) for part in parts], words


def _read_documents(options, words):
  parts = documents.load_texts(
      options.dataset, file=options.file, text_column=options.text_column,
      num_validation=options.num_validation,
  )  # fmt: skip
  how = {"lowercase": options.lowercase}
  if words is None:
    words = tokens.words(tokens.train_words(parts.train, options.vocab_size, **how))
  how["max_length"] = options.max_length
  return [document_words.pieces(part, words, **how) for part in parts], words


def make(config, assets) -> Task:
  """The model that config.model describes."""
  options = config.data
  model = contextual.make_model(assets, **config.model)
  lengths = bucketing.lengths_up_to(options.max_length, options.num_lengths)

  def init_fn(rng, data):
    return dict(model.init(rng, jnp.zeros((1, 2), jnp.int32), jnp.array([2])))

  def batch_fn(train, step, rngs):
    count, size = len(train["ids"]), options.batch_size
    indices, _ = batches.by_length(rngs.run, step, num_examples=count, batch_size=size)
    return {name: train[name][indices] for name in ("ids", "lengths")}

  def loss_fn(variables, batch, rng):
    rngs, ids = jax.random.split(rng), (batch["ids"], batch["lengths"])
    outputs = model.apply(variables, *ids, train=True, rngs={"dropout": rngs[0]})
    if config.sampled_words:
      forward, backward = bidirectional_lm.sampled_nats(
          rngs[1], variables["params"], outputs, *ids, config.sampled_words
      )
    else:
      forward, backward = bidirectional_lm.nats(outputs, *ids)
    return Loss((forward + backward).sum() / (2 * (batch["lengths"] + 1).sum()))

  def eval_fn(variables, batch, rng):
    ids = batch["ids"], batch["lengths"]
    forward, backward = bidirectional_lm.nats(model.apply(variables, *ids), *ids)
    count = batch["lengths"] + 1
    means = {"loss": (forward + backward) / 2, "forward": forward, "backward": backward}
    return {name: (value / count, count) for name, value in means.items()}

  return Task(
      init_fn, bucketing.truncated_loss(loss_fn, lengths), bucketing.truncated(eval_fn, lengths),
      batch_fn, unit="nats per word",
  )  # fmt: skip
