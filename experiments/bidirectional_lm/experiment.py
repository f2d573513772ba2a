"""A bidirectional language model of sentences: two stacks of recurrent layers with one embedding.

dlx.models.bidirectional_lm has the loss, in nats per word, of which the end of a sentence is one.
`--config.init_from=WORKDIR` gives the states of such a run to a tagger (experiments/tagging).
"""

import jax.numpy as jnp

from dlx.data import batches, bucketing, tagged, tagged_arrays
from dlx.experiment import Data, Loss, Task
from dlx.models import bidirectional_lm
from dlx.training import contextual


def load(config, assets=None) -> Data:
  """Sentences as ids of words, sorted by length; the words of the training sentences."""
  options = config.data
  parts = tagged.from_options(options)
  if not assets:
    choice = {"min_count": options.min_count, "lowercase": options.lowercase}
    words = tagged_arrays.vocabulary(parts.train.words, **choice)
    assets = contextual.of_config(config, words)
  ids_of = contextual.make_reader(assets, options.max_length)
  pieces = (part.in_pieces(options.max_length).words for part in parts)
  return Data(*(bucketing.sort_by_length(ids_of(words)) for words in pieces), assets=assets)


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

  def nats(variables, batch, **flags):
    outputs = model.apply(variables, batch["ids"], batch["lengths"], **flags)
    return bidirectional_lm.nats(outputs, batch["ids"], batch["lengths"])

  def loss_fn(variables, batch, rng):
    forward, backward = nats(variables, batch, train=True, rngs={"dropout": rng})
    return Loss((forward + backward).sum() / (2 * (batch["lengths"] + 1).sum()))

  def eval_fn(variables, batch, rng):
    forward, backward = nats(variables, batch)
    count = batch["lengths"] + 1
    means = {"loss": (forward + backward) / 2, "forward": forward, "backward": backward}
    return {name: (value / count, count) for name, value in means.items()}

  return Task(
      init_fn, bucketing.truncated_loss(loss_fn, lengths), bucketing.truncated(eval_fn, lengths),
      batch_fn, unit="nats per word",
  )  # fmt: skip
