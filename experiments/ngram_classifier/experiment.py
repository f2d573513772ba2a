"""Document classification by all n-grams of whole words.

  p(c | document) = softmax(z)_c,   z = b + sum over the document's n-grams of their weights

The weights are fitted to all documents at once: init_fn is the whole training.
dlx.models.naive_bayes_linear has the features, dlx.models.sparse_linear the fit.
"""

import jax.numpy as jnp
import numpy as np

from dlx.data import bucketing, documents, expect, names, word_documents
from dlx.distributed import processes
from dlx.experiment import Data, Task
from dlx.metrics import classification
from dlx.models import naive_bayes_linear as model
from dlx.models import ngram_language_model as ngrams
from dlx.models import sparse_linear
from dlx.reports import confusions


def load(config, assets=None) -> Data:
  """Documents as rows of words, sorted by length; every word and class of the training split."""
  options = config.data
  parts = documents.from_options(options)
  if assets is None:
    words = word_documents.vocabulary(parts.train.texts, lowercase=options.lowercase)
    if options.drop_names:
      words = names.without(words, parts.train.texts)
    assets = {"classes": list(parts.train.classes), "words": words}
  ids = {word: i for i, word in enumerate(assets["words"])}
  read = {"max_length": options.max_length, "lowercase": options.lowercase}
  splits = [
      bucketing.sort_by_length(word_documents.arrays(part, ids, **read)) for part in parts
  ]

  def fit():
    return fitted(splits[0], config.model, len(assets["words"]), len(assets["classes"]))

  return Data(*splits, assets=assets, pretrained=fit)


def fitted(train, options, vocab_size: int, num_classes: int) -> dict:
  """{"tables", "weights", "bias"} of training documents; options is config.model."""
  tables = model.tables(train, options.order, vocab_size)
  matrix = model.document_term_matrix(tables, train)
  processes.notice(
      f"{matrix.num_columns:,} n-grams, {len(matrix.rows):,} in {matrix.num_rows:,} documents"
  )
  labels = train["labels"]
  ratios = model.log_ratios(matrix, labels, num_classes, options.smoothing)
  if options.fit == "none":
    return {"tables": tables, "weights": ratios, "bias": model.log_odds(labels, num_classes)}
  weights, biases = [], []
  for c, ratio in zip(model.scored_classes(num_classes), ratios):
    scale = ratio if options.features == "naive_bayes" else np.ones_like(ratio)
    signs = np.where(labels == c, 1, -1).astype(np.float32)
    found = sparse_linear.fit(matrix, signs, scale, loss=options.fit, l2=options.l2)
    v = np.asarray(found.weights)
    beta = options.interpolation
    weights.append(scale * ((1 - beta) * np.abs(v).mean() + beta * v))
    biases.append(found.bias)
    processes.notice(f"{int(found.steps)} steps, gradient {float(found.gradient_norm):.1e}")
  return {"tables": tables, "weights": np.stack(weights), "bias": np.stack(biases)}


def make(config, assets) -> Task:
  """The linear classifier."""
  classes, words = (expect.names(name, assets[name]) for name in ("classes", "words"))
  ids = {word: i for i, word in enumerate(words)}
  options = config.data

  def init_fn(rng, data):
    del rng
    found = dict(data.pretrained)
    return {"ngrams": found.pop("tables"), "params": found}

  def logits_fn(variables, batch):
    def of_batch(variables, batch, rng):
      return model.logits(variables["params"], variables["ngrams"], batch["ids"])

    return bucketing.truncated(of_batch, word_documents.WIDTHS)(variables, batch, None)

  eval_fn = classification.make_eval(logits_fn)
  probabilities_fn = classification.make_probabilities(logits_fn)
  read = word_documents.make_reader(
      ids, max_length=options.max_length, lowercase=options.lowercase
  )

  def lookup_fn(variables, batch, rng):
    return jnp.stack(ngrams.lookup(variables["ngrams"], batch["ids"]), 1)

  def predict(variables, lines, apply, *, top=3, json=False, explain=False):
    examples = read(lines)
    probabilities = apply(probabilities_fn, examples)
    answers = classification.predictions(lines, probabilities, classes, top=top, json=json)
    if not explain:
      return answers
    weights = np.asarray(variables["params"]["weights"])
    sizes = [model.num_features([table]) for table in variables["ngrams"]]
    found = zip(lines, probabilities.argmax(-1), apply(lookup_fn, examples))
    reasons = [decisive(line, int(c), weights, sizes, rows) for line, c, rows in found]
    if json:
      return [{**row, "n-grams": dict(pairs)} for row, pairs in zip(answers, reasons)]
    shown = [", ".join(f"{name!r} {weight:+.2f}" for name, weight in pairs) for pairs in reasons]
    return [f"{row} ({text or 'no known word'})" for row, text in zip(answers, shown)]

  def decisive(line, c, weights, sizes, rows, count=8):
    """[(n-gram, what it adds to the score of class c)], the largest first."""
    words = word_documents.tokenize(line, lowercase=options.lowercase)
    spans, added = model.contributions(weights, sizes, rows)
    added = added[:, 0] * (1 if c else -1) if len(classes) == 2 else added[:, c]
    order = np.argsort(-np.abs(added), kind="stable")[:count]
    return [(" ".join(words[slice(*spans[i])]), float(added[i])) for i in order]

  return Task(
      init_fn, eval_fn=eval_fn,
      measure_fn=classification.make_measure(eval_fn, classes), best="-accuracy",
      predict=predict, plot=confusions.make_plot(eval_fn, classes), outputs_fn=logits_fn,
      read=read, unit="nats per document",
  )  # fmt: skip
