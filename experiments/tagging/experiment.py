"""A tag for each word of a sentence, by a bidirectional recurrent network or by counting.

  loss = -log p(y_1 ... y_n | words) / n,   p = prod_t softmax(e_t)_{y_t}, or a linear chain

dlx.models.tagger has the network's scores e, dlx.models.hmm counted ones, dlx.layers.crf the chain.
"""

import jax
import jax.numpy as jnp

from dlx.data import batches, bucketing, tagged, tagged_arrays, word_vectors
from dlx.experiment import Data, Loss, Task
from dlx.metrics import tagging
from dlx.models import hmm, tagger, word_start
from dlx.reports import confusions
from dlx.training import contextual


def load(config, assets=None) -> Data:
  """Sentences as ids, sorted by length; the words, characters and tags of the training ones."""
  options = config.data
  parts = tagged.from_options(options)
  assets = assets or learn(config, parts.train)
  read = make_reader(config, assets)

  def encode(name, part):
    part = part.in_pieces(options.max_length)
    labels = tagged_arrays.labels(name, part, assets["tags"], options.max_length)
    return bucketing.sort_by_length({**read(part.words), "labels": labels})

  splits = [encode(name, part) for name, part in zip(parts._fields, parts)]

  def count():
    ids = {tag: i for i, tag in enumerate(assets["tags"])}
    rows = [[ids[tag] for tag in row] for row in parts.train.tags]
    lexicon = hmm.Lexicon(assets["words"], assets["suffixes"])
    return hmm.fit(parts.train.words, rows, lexicon, len(ids))

  if config.model.kind != "network":
    return Data(*splits, assets=assets, pretrained=count, steps_per_epoch=1)

  def start():
    arguments = config.init_vectors, assets["embedded"], config.model.d_word, config.seed
    return {
        "vectors": word_vectors.starting_table(*arguments) if config.init_vectors else None,
        "language_model": contextual.load_params(config.init_from) if config.init_from else None,
    }

  return Data(*splits, assets=assets, pretrained=start)


def learn(config, train) -> dict:
  """The assets: tags, words, and embedded words and characters, or suffixes."""
  tags = sorted({tag for row in train.tags for tag in row})
  if config.model.kind == "network":
    options = {"min_count": config.data.min_count, "lowercase": config.data.lowercase}
    learned = tagged_arrays.learn(train.words, **options)
    return {"tags": tags, **learned, **contextual.make_assets(config.init_from)}
  words = (word for row in train.words for word in row)
  lexicon = hmm.Lexicon.of(words, config.model.suffix_length)
  return {"tags": tags, "words": lexicon.words, "suffixes": lexicon.suffixes}


def make_reader(config, assets):
  """`read(words of sentences) -> arrays`; see dlx.data.tagged_arrays."""
  is_network = config.model.kind == "network"
  row = None if is_network else hmm.Lexicon(assets["words"], assets["suffixes"]).row
  read = tagged_arrays.make_reader(assets, config.data, row)
  return contextual.with_ids(read, assets, config.data.max_length)


def make_model(config, assets) -> tagger.Tagger:
  """The network that config.model describes."""
  options = {key: value for key, value in config.model.items() if key != "kind"}
  sizes = len(assets["embedded"]) + 1, tagged_arrays.NUM_CHARACTERS, len(assets["tags"])
  return tagger.Tagger(*sizes, **options)


def make(config, assets) -> Task:
  """The network, or the counts."""
  options, kind, tags = config.data, config.model.kind, assets["tags"]
  model = make_model(config, assets) if kind == "network" else None
  lengths = bucketing.lengths_up_to(options.max_length, options.num_lengths)
  read = make_reader(config, assets)
  states_of = contextual.make_states(assets)

  def init_fn(rng, data):
    if model is None:
      if data.pretrained is None:
        raise ValueError("the tags are counted in sentences")
      return {"params": {}, "counts": data.pretrained}
    given = data.pretrained or {"vectors": None, "language_model": None}
    frozen = contextual.start(assets, rng, given["language_model"])
    batch = {"ids": jnp.zeros((1, 2), jnp.int32), "lengths": jnp.array([2])}
    batch |= {"characters": jnp.ones((1, 2, 1), jnp.int32), "context_ids": batch["ids"]}
    states = states_of(frozen, batch)
    variables = model.init(rng, batch["ids"], batch["characters"], batch["lengths"], states)
    return word_start.start({**variables, **frozen}, given["vectors"])

  def batch_fn(train, step, rngs):
    size = options.batch_size
    indices, _ = batches.by_length(
        rngs.run, step, num_examples=len(train["ids"]), batch_size=size
    )
    batch = {name: array[indices] for name, array in train.items() if name != "seen"}
    dropped = jax.random.bernoulli(rngs.step, options.word_dropout, batch["ids"].shape)
    return {**batch, "ids": jnp.where(dropped, tagged_arrays.UNKNOWN, batch["ids"])}

  def scores(variables, batch, **flags):
    """(scores of the tags (B, T, K), the chain's params or None), T as of batch["ids"]."""
    if model is None:
      counts = variables["counts"]
      found = hmm.emissions(counts, batch["ids"], relative=kind == "hmm")
      chain = {name: counts[name] for name in ("start", "transitions", "end")}
      return found, chain if kind == "hmm" else None
    characters = batch["characters"][:, : batch["ids"].shape[1]]
    states = states_of(variables, batch)
    return model.apply(variables, batch["ids"], characters, batch["lengths"], states, **flags)

  def nats(found, chain, batch):
    labels = batch["labels"][:, : batch["ids"].shape[1]]
    return tagger.negative_log_likelihood(found, chain, labels, batch["lengths"])

  def loss_fn(variables, batch, rng):
    found, chain = scores(variables, batch, train=True, rngs={"dropout": rng})
    total, words = nats(found, chain, batch)
    return Loss(total.sum() / jnp.maximum(words.sum(), 1))

  def predict_fn(variables, batch, rng):
    found = tagger.decode(*scores(variables, batch), batch["lengths"])
    return jnp.pad(found, ((0, 0), (0, options.max_length - found.shape[1])))

  def evaluate(variables, batch, rng):
    found, chain = scores(variables, batch)
    total, words = nats(found, chain, batch)
    right = tagger.decode(found, chain, batch["lengths"]) == batch["labels"][:, : found.shape[1]]
    valid = bucketing.token_mask(batch["ids"], batch["lengths"])
    return {
        "loss": (total / jnp.maximum(words, 1), words),
        "accuracy": ((right & valid).sum(-1) / batch["lengths"], batch["lengths"]),
    }

  tags_fn = bucketing.truncated(predict_fn, lengths)

  return Task(
      init_fn, bucketing.truncated_loss(loss_fn, lengths), bucketing.truncated(evaluate, lengths),
      batch_fn, measure_fn=tagging.make_measure(tags_fn, tags), best="-accuracy",
      plot=confusions.make_plot_of_tags(tags_fn, tags),
      predict=tagging.make_predict(tags_fn, tags, read, options.max_length), unit="nats per word",
      is_trained=None if model is None else word_start.is_trained(config.trainable),
  )  # fmt: skip
