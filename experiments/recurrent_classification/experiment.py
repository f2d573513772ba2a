"""Document classification by a bidirectional recurrent network and pooling of its states.

  logits = W pool(h_1 ... h_T) + b,   h_t = [forward state, backward state]

The loss is the cross-entropy. dlx.layers.pooling has the mean, the maximum and attention.
"""

import jax.numpy as jnp

from dlx.data import bucketing, document_arrays, documents, expect, tokens, word_vectors
from dlx.experiment import Data, Loss, Task
from dlx.layers import embedding
from dlx.metrics import classification
from dlx.models import word_start
from dlx.models.recurrent_classifier import RecurrentClassifier
from dlx.reports import confusions
from dlx.training import adversarial, classifier_settings, distillation, recurrent_start


def load(config, assets=None) -> Data:
  """Documents as rows of token ids, sorted by length; the classes and the tokenizer."""
  options = config.data
  parts = documents.with_unlabelled(documents.from_options(options), options)
  if not assets:
    train = {"words": tokens.train_words, "byte_pairs": tokens.train_bpe}[options.tokens]
    tokenizer = train(parts.train.texts, options.vocab_size, lowercase=options.lowercase)
    assets = {"classes": list(parts.train.classes), "tokenizer": tokens.to_json(tokenizer)}
  tokenizer = tokens.from_json(assets["tokenizer"])
  train, *held_out = (document_arrays.encode(tokenizer, p, options.max_length) for p in parts)
  train |= distillation.targets(config, assets, train["text"])
  words, pretrained = tokens.words(tokenizer), None
  if config.init_from:
    pretrained = lambda: {"layers": recurrent_start.load(config, words)}  # noqa: E731
  elif config.init_vectors:
    pretrained = lambda: {"vectors": word_vectors.starting_table(  # noqa: E731
        config.init_vectors, words, config.model.d_word, config.seed
    )}  # fmt: skip
  return Data(train, *held_out, assets=assets, pretrained=pretrained)


def make(config, assets) -> Task:
  """The network."""
  options, classes = config.data, expect.names("classes", assets["classes"])
  tokenizer = tokens.from_json(assets["tokenizer"])
  model = RecurrentClassifier(tokens.num_ids(tokenizer), len(classes), **config.model)
  lengths = bucketing.lengths_up_to(options.max_length, options.num_lengths)

  def init_fn(rng, data):
    variables = dict(model.init(rng, jnp.zeros((1, 2), jnp.int32), jnp.array([2])))
    given = data.pretrained or {}
    params = recurrent_start.start(variables["params"], given.get("layers"))
    return word_start.start({**variables, "params": params}, given.get("vectors"))

  def loss_fn(variables, batch, rng):
    ids, lengths, params = batch["ids"], batch["lengths"], variables["params"]

    def loss(params, perturbation=None):
      logits, _ = model.apply(
          {"params": params}, ids, lengths, perturbation=perturbation, train=True,
          rngs={"dropout": rng},
      )  # fmt: skip
      accuracy = distillation.accuracy(logits, batch["labels"])
      return distillation.loss(logits, batch, **config.distillation), accuracy

    if not config.adversarial.epsilon:
      value, accuracy = loss(params)
    else:
      x, mask = embedding.lookup(params[word_start.NAME], ids), bucketing.token_mask(ids, lengths)
      value, accuracy = adversarial.with_adversarial(loss, params, x, mask, **config.adversarial)
    return Loss(value, {"accuracy": accuracy})

  def outputs(variables, batch, rng):
    logits, weights = model.apply(variables, batch["ids"], batch["lengths"])
    if weights is None:
      return logits, None
    return logits, jnp.pad(weights, ((0, 0), (0, options.max_length - weights.shape[1])))

  outputs_of = bucketing.truncated(outputs, lengths)

  def logits_fn(variables, batch):
    return outputs_of(variables, batch, None)[0]

  def weights_fn(variables, batch, rng):
    return outputs_of(variables, batch, None)[1]

  eval_fn = classification.make_eval(logits_fn)
  read = document_arrays.make_reader(tokenizer, options.max_length)
  classify = classification.make_predict(logits_fn, classes, read)

  def predict(variables, lines, apply, *, top: int = 3, json: bool = False):
    found = classify(variables, lines, apply, top=top, json=json)
    if not json or config.model.pooling != "attention":
      return found
    names = document_arrays.names(tokenizer, lines, options.max_length)
    rows = apply(weights_fn, read(lines))
    weights = [[[name, float(w)] for name, w in zip(*pair)] for pair in zip(names, rows)]
    return [{**answer, "weights": pairs} for answer, pairs in zip(found, weights)]

  return Task(
      init_fn, bucketing.truncated_loss(loss_fn, lengths), eval_fn,
      document_arrays.make_batch_fn(tokenizer, options),
      best=classifier_settings.best(config, "-accuracy"),
      measure_fn=classification.make_measure(eval_fn, classes), predict=predict,
      plot=confusions.make_plot(eval_fn, classes), outputs_fn=logits_fn, read=read,
      is_trained=word_start.is_trained(config.trainable), unit="nats per document",
  )  # fmt: skip
