"""Document classification by a recurrent network over what the segments of a document say.

  logits = W pool(LSTM of tanh(x_k V + b), k = 1 ... S)

x_k sums the vectors and the naive Bayes weights of the n-grams in the k-th 16 words
(dlx.models.segment_classifier), by a run of experiments/document_vectors, which do not change.
"""

import jax.numpy as jnp
import numpy as np

from dlx.data import batches, bucketing, documents, expect, word_documents
from dlx.experiment import Data, Loss, Task
from dlx.layers import losses
from dlx.metrics import classification
from dlx.models.document_vectors import unit
from dlx.models.segment_classifier import SegmentClassifier, of_segments
from dlx.reports import confusions
from dlx.training import classifier_settings, vector_runs


def load(config, assets=None) -> Data:
  """Documents as rows of words, sorted by length; the words and weights of the other run."""
  parts, run = documents.from_options(config.data), None
  if assets is None:
    run = vector_runs.opened(config, parts.train.classes)
    weights = {name: run.config.model[name] for name in ("smoothing", "max_ratio")}
    assets = {**run.assets, "lowercase": run.config.data.lowercase, "weights": weights}
  ids = {word: i for i, word in enumerate(assets["words"])}
  read = {"max_length": config.data.max_length, "lowercase": assets["lowercase"]}
  splits = [bucketing.sort_by_length(word_documents.arrays(part, ids, **read)) for part in parts]

  def evidence():
    source = run or vector_runs.opened(config, parts.train.classes)
    tables = source.eval_variables["ngrams"]["tables"]
    counts, sizes = vector_runs.count(splits[0], tables, source)
    vectors = np.asarray(unit(jnp.asarray(source.eval_variables["vectors"])))
    counts = np.stack([counts[c] for c in range(len(counts))]).astype(np.int32)
    return {"vectors": vectors, "tables": tables, "counts": counts, "sizes": sizes}

  return Data(*splits, assets=assets, pretrained=evidence)


def make(config, assets) -> Task:
  """The network, with the vectors of the other run."""
  options, settings = config.data, dict(config.model)
  classes, words = (expect.names(name, assets[name]) for name in ("classes", "words"))
  size = settings.pop("segment_words")
  model = SegmentClassifier(len(classes), **settings)
  lengths = bucketing.lengths_up_to(options.max_length, options.num_lengths)

  def apply(variables, batch, labels, **how):
    x = of_segments(variables["evidence"], batch["ids"], labels, words=size, **assets["weights"])
    params = {"params": variables["params"]}
    return model.apply(params, x, -(-batch["lengths"] // size), **how)

  def init_fn(rng, data):
    d = data.pretrained["vectors"].shape[1] + 1 + len(data.pretrained["sizes"])
    x = jnp.zeros((1, 1, d))
    return {**model.init(rng, x, jnp.array([1])), "evidence": dict(data.pretrained)}

  def batch_fn(train, step, rngs):
    count, size = len(train["labels"]), options.batch_size
    rows, _ = batches.by_length(rngs.run, step, num_examples=count, batch_size=size)
    return {name: array[rows] for name, array in train.items()}

  def loss_fn(variables, batch, rng):
    labels = batch["labels"]
    logits = apply(variables, batch, labels, train=True, rngs={"dropout": rng})
    accuracy = (logits.argmax(-1) == labels).mean()
    return Loss(losses.cross_entropy(logits, labels), {"accuracy": accuracy})

  def outputs(variables, batch, rng):
    return apply(variables, batch, jnp.full(len(batch["ids"]), -1))  # Of new documents.

  outputs_of = bucketing.truncated(outputs, lengths)

  def logits_fn(variables, batch):
    return outputs_of(variables, batch, None)

  eval_fn = classification.make_eval(logits_fn)
  read = word_documents.make_reader(
      {word: i for i, word in enumerate(words)}, max_length=options.max_length,
      lowercase=assets["lowercase"],
  )  # fmt: skip
  return Task(
      init_fn, bucketing.truncated_loss(loss_fn, lengths), eval_fn, batch_fn,
      measure_fn=classification.make_measure(eval_fn, classes),
      best=classifier_settings.best(config, "loss"), outputs_fn=logits_fn, read=read,
      plot=confusions.make_plot(eval_fn, classes),
      predict=classification.make_predict(logits_fn, classes, read), unit="nats per document",
  )  # fmt: skip
