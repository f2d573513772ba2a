"""Document classification by logistic regression on the vectors of a document and of its parts.

  p(c | document) = softmax(W [d, d_1, ..., d_P] + b)_c

d is the vector of the document, d_k that of the k-th of P parts of equal length, both of unit norm,
by the n-grams of a run of experiments/document_vectors. W and b are fitted to all labelled
documents at once: init_fn is the whole training.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dlx.data import bucketing, document_parts, documents, expect, word_documents
from dlx.distributed import processes
from dlx.experiment import Data, Task
from dlx.layers import linear
from dlx.metrics import classification
from dlx.models import document_vectors, informative_ngrams, linear_models, naive_bayes_linear
from dlx.reports import document_map
from dlx.training import classifier_settings, vector_runs

_ASCENT = ("scale", "negatives", "steps", "rate", "noise_ngrams")


def load(config, assets=None) -> Data:
  """Documents as rows of words, sorted by length; the words and the ascent of the other run."""
  parts, run = documents.from_options(config.data), None
  if assets is None:
    run = vector_runs.opened(config, parts.train.classes)
    reading = {name: run.config.data[name] for name in ("max_length", "lowercase")}
    ascent = {name: run.config.model[name] for name in _ASCENT}
    assets = {**run.assets, "reading": reading, "ascent": ascent}
  ids = {word: i for i, word in enumerate(assets["words"])}
  splits = [
      bucketing.sort_by_length(word_documents.arrays(part, ids, **assets["reading"]))
      for part in parts
  ]

  def fit():
    source = run or vector_runs.opened(config, parts.train.classes)
    return fitted(splits[0], source, assets["ascent"], config.model)

  return Data(*splits, assets=assets, pretrained=fit)


def fitted(train, run, ascent, options) -> dict:
  """{"vectors", "ngrams"} of the run and {"params"}; options is config.model."""
  phi = training_features(make_vectors(train, run, ascent), train, options.parts)
  num_classes = len(run.assets["classes"])
  found = linear_models.fit("softmax", phi, train, num_classes, l2=options.l2)
  steps, norm = int(found["solver"]["steps"]), float(found["solver"]["gradient norm"])
  processes.notice(f"{steps} steps, gradient {norm:.1e}")
  kept = {name: run.eval_variables[name] for name in ("vectors", "ngrams")}
  return {**kept, "params": found["params"]}


def make_vectors(train, run, ascent):
  """`vectors_of(ids, labels)` of training documents, with weights by the other documents alone.

  As in the other run: a document's label would make its rare n-grams informative, and a new
  document has none.
  """
  variables, model = jax.device_put(run.eval_variables), run.config.model
  tables, num_ngrams = variables["ngrams"]["tables"], len(variables["vectors"])
  counts, sizes = vector_runs.count(train, tables, run)
  lookup = jax.jit(naive_bayes_linear.features)
  infer = jax.jit(functools.partial(document_vectors.of_ngrams, **ascent))

  def vectors_of(ids, labels):
    ngrams = np.asarray(lookup(tables, ids))
    rows, columns = np.nonzero(ngrams < num_ngrams)
    ratios = naive_bayes_linear.without_own(
        counts, sizes, ngrams[rows, columns], labels[rows], model.smoothing
    )
    weights = np.zeros(ngrams.shape, np.float32)
    weights[rows, columns] = informative_ngrams.weigh(ratios, model.max_ratio)
    return infer(variables, ngrams, weights)

  return vectors_of


def training_features(vectors_of, train, num_parts: int, chunk: int = 32) -> np.ndarray:
  """phi of documents by `vectors_of(ids, labels)`, in chunks of similar length."""
  found = []
  for first in range(0, len(train["ids"]), chunk):
    rows = slice(first, first + chunk)
    ids, lengths, labels = (train[name][rows] for name in ("ids", "lengths", "labels"))
    width = 1 << int(lengths.max() - 1).bit_length()  # Few widths are few programs.
    of_chunk = functools.partial(vectors_of, labels=labels)
    found.append(np.asarray(features(of_chunk, ids[:, :width], lengths, num_parts)))
  return np.concatenate(found)


def features(vectors_of, ids, lengths, num_parts: int):
  """phi = sqrt(D) [d, d_1, ..., d_P], so that its numbers are about 1; `vectors_of(ids)` has d."""
  rows = [ids, *(document_parts.split(ids, lengths, num_parts) if num_parts > 1 else [])]
  found = jnp.concatenate([vectors_of(x) for x in rows], -1)
  return found * (found.shape[-1] // len(rows)) ** 0.5


def make(config, assets) -> Task:
  """The classifier, with the vectors of the other run."""
  classes, words = (expect.names(name, assets[name]) for name in ("classes", "words"))

  def init_fn(rng, data):
    return dict(data.pretrained)

  def features_of(variables, batch, rng):
    def vectors_of(ids):
      ngrams = naive_bayes_linear.features(variables["ngrams"]["tables"], ids)
      weights = informative_ngrams.weights_of(variables["ngrams"]["weights"], ngrams)
      return document_vectors.of_ngrams(variables, ngrams, weights, **assets["ascent"])

    return features(vectors_of, batch["ids"], batch["lengths"], config.model.parts)

  features_fn = bucketing.truncated(features_of, word_documents.WIDTHS)

  def logits_fn(variables, batch):
    return linear.apply(variables["params"], features_fn(variables, batch, None))

  eval_fn = classification.make_eval(logits_fn)
  ids = {word: i for i, word in enumerate(words)}
  read = word_documents.make_reader(ids, **assets["reading"])
  return Task(
      init_fn, eval_fn=eval_fn,
      measure_fn=classification.make_measure(eval_fn, classes),
      best=classifier_settings.best(config, "loss"), outputs_fn=logits_fn, read=read,
      plot=document_map.make_plot(features_fn, eval_fn, classes),
      predict=classification.make_predict(logits_fn, classes, read), unit="nats per document",
  )  # fmt: skip
