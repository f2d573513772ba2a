"""Document classification by vectors of documents, learned with vectors of their n-grams.

  p(c | document) = softmax(W d + b)_c,   d = argmax_d J(d), |d| = 1

J says which n-grams the document has (dlx.models.document_vectors). The vectors of n-grams are a
collection that loss_fn changes, by gradient ascent on J; the labels train W and b only. N-grams
that tell the classes apart are drawn more often (dlx.models.informative_ngrams).

Source: Thongtan and Phienthrakul, "Sentiment classification using document embeddings trained with
  cosine similarity" (2019); Zhang and Arefyev, "The document vectors using cosine similarity
  revisited" (2022), who draw n-grams by their naive Bayes weights.
"""

import jax
import jax.numpy as jnp

from dlx.data import (
  batches,
  bucketing,
  document_ngrams,
  documents,
  expect,
  names,
  word_counts,
  word_documents,
  word_windows,
)
from dlx.errors import UserError
from dlx.experiment import Data, Loss, Task
from dlx.layers import linear, losses
from dlx.metrics import classification
from dlx.models import informative_ngrams, naive_bayes_linear
from dlx.models.document_vectors import draw_noise, infer, objective, of_ngrams, unit
from dlx.reports import document_map
from dlx.training import classifier_settings, optimizers, sparse

NOISE_POWER = 0.75  # Noise is drawn from the counts to this power, as in word2vec.


def load(config, assets=None) -> Data:
  """Documents as rows of words, sorted by length; for training the n-grams of each."""
  options = config.data
  parts = documents.with_unlabelled(documents.from_options(options), options)
  if assets is None:
    tokens = [word_documents.tokenize(t, lowercase=options.lowercase) for t in parts.train.texts]
    words = list(word_counts.count(tokens, min_count=config.model.min_count).words)
    if options.drop_names:
      words = names.without(words, parts.train.texts)
    assets = {"classes": list(parts.train.classes), "words": words}
  ids = {word: i for i, word in enumerate(assets["words"])}
  read = {"max_length": options.max_length, "lowercase": options.lowercase}
  train, validation, test = (
      bucketing.sort_by_length(word_documents.arrays(part, ids, **read)) for part in parts
  )
  model = config.model
  found = informative_ngrams.select(
      train, order=model.order, vocab_size=len(ids), num_classes=len(assets["classes"]),
      min_count=model.min_count, smoothing=model.smoothing, max_ratio=model.max_ratio,
  )  # fmt: skip
  if not len(found.corpus["ngrams"]):
    raise UserError("no n-gram of the training documents tells one class from another")
  count = len(train["labels"])
  if not (steps := count // options.batch_size):
    raise UserError(
        f"there are {count} training documents, fewer than a batch; lower config.data.batch_size"
    )
  noise = word_windows.alias_table((found.counts * found.weights) ** NOISE_POWER)._asdict()
  pretrained = {"tables": found.tables, "weights": found.weights, "noise": noise}
  train = {**found.corpus, "labels": train["labels"]}
  return Data(train, validation, test, assets, pretrained, steps)


def make(config, assets) -> Task:
  """The vectors and the classifier that config.model describes."""
  classes, words = (expect.names(name, assets[name]) for name in ("classes", "words"))
  options, rates = config.model, config.vectors
  terms = {"scale": options.scale, "negatives": options.negatives}
  ascent = {**terms, "steps": options.steps, "rate": options.rate}
  rate = optimizers.schedule(
      rates.learning_rate, config.training.total_steps, decay="linear", end_lr_fraction=0.01
  )

  def init_fn(rng, data):
    rngs, shape = jax.random.split(rng), (len(data.pretrained["weights"]), options.d)
    return {
        "params": linear.init(rngs[0], options.d, len(classes)),
        "vectors": unit(jax.random.normal(rngs[1], shape)),
        "ngrams": dict(data.pretrained),
    }

  def batch_fn(train, step, rngs):
    rows, _ = batches.shuffled(
        rngs.run, step, num_examples=len(train["labels"]), batch_size=config.data.batch_size
    )
    drawn = document_ngrams.draw(rngs.step, train, rows, options.ngrams)
    return {"ngrams": drawn, "labels": train["labels"][rows], "step": step}

  def logits_of(params, d):
    return linear.apply(params, d * options.d**0.5)

  def loss_fn(variables, batch, rng):
    table, weights = variables["vectors"], (batch["ngrams"] >= 0).astype(jnp.float32)
    noise = draw_noise(rng, variables["ngrams"]["noise"], options.noise_ngrams)
    ids = jnp.maximum(batch["ngrams"], 0), noise
    rows = [table[i] for i in ids]
    ngrams, noise = map(unit, rows)
    d = jax.lax.stop_gradient(infer(ngrams, weights, noise, **ascent))

    def negative(rows):  # Summed over the n-grams that were drawn.
      ngrams, noise = map(unit, rows)
      return -options.ngrams * objective(d, ngrams, weights, noise, **terms).sum()

    value, gradients = jax.value_and_grad(negative)(rows)
    for i, gradient in zip(ids, gradients):
      table = sparse.sgd(table, i, gradient, rate(batch["step"]))
    labels = batch["labels"]
    logits = logits_of(variables["params"], d)
    return Loss(
        losses.cross_entropy(logits, labels, labels >= 0),
        {
            "accuracy": losses.masked_mean(logits.argmax(-1) == labels, labels >= 0),
            "n-gram loss": value / weights.size,
        },
        {"vectors": table},
    )

  def vectors_of(variables, batch, rng):
    found = variables["ngrams"]
    ngrams = naive_bayes_linear.features(found["tables"], batch["ids"])
    weights = informative_ngrams.weights_of(found["weights"], ngrams)
    return of_ngrams(variables, ngrams, weights, noise_ngrams=options.noise_ngrams, **ascent)

  vectors_fn = bucketing.truncated(vectors_of, word_documents.WIDTHS)

  def logits_fn(variables, batch):
    return logits_of(variables["params"], vectors_fn(variables, batch, None))

  eval_fn = classification.make_eval(logits_fn)
  read = word_documents.make_reader(
      {word: i for i, word in enumerate(words)}, max_length=config.data.max_length,
      lowercase=config.data.lowercase,
  )  # fmt: skip
  return Task(
      init_fn, loss_fn, eval_fn, batch_fn,
      optimizers.sgd(total_steps=config.training.total_steps, **config.optimizer),
      measure_fn=classification.make_measure(eval_fn, classes),
      best=classifier_settings.best(config, "loss"), outputs_fn=logits_fn, read=read,
      plot=document_map.make_plot(vectors_fn, eval_fn, classes),
      predict=classification.make_predict(logits_fn, classes, read), unit="nats per document",
  )  # fmt: skip
