"""Document classification by a transformer, in an ensemble with a classifier of n-grams."""

import jax.numpy as jnp
import numpy as np

from dlx.data import bucketing, document_arrays, documents, expect, tokens
from dlx.experiment import Data, Loss, Task
from dlx.layers import losses
from dlx.metrics import classification
from dlx.models import ngrams, token_attribution, trainable
from dlx.models.sequence_heads import Classifier, Ensemble
from dlx.reports import confusions, explanation
from dlx.training import encoders, finetuning, optimizers


def load(config, assets=None) -> Data:
  """Documents as rows of token ids, sorted by length; classes, encoder and n-gram counts."""
  options = config.data
  parts = documents.from_options(options)
  classes = list(parts.train.classes)
  known = assets or {"classes": classes, **encoders.make_assets(config, parts.train.texts)}
  tokenizer = encoders.tokenizer_of(known)
  train, *held_out = (document_arrays.encode(tokenizer, p, options.max_length) for p in parts)
  if not assets and config.model.ngrams:
    known |= ngrams.count(
        train["ids"], train["lengths"], train["labels"], len(classes),
        longest=config.model.ngrams, table_size=config.model.ngram_table_size,
    )  # fmt: skip
  pretrained = None
  if config.init_from:
    pretrained = lambda: {"params": encoders.load_params(config.init_from)}  # noqa: E731
  return Data(train, *held_out, assets=known, pretrained=pretrained)


def make_model(config, assets) -> Ensemble:
  """The network that config.model describes, with the encoder of the assets."""
  classes, options = len(assets["classes"]), config.model
  encoder = encoders.make_transformer(config, assets, prefix_length=options.prefix_length)
  network = Classifier(encoder, classes, options.pooling)
  if not options.ngrams:
    return Ensemble(network)
  return Ensemble(network, ngrams.NGrams(classes, options.ngrams, options.ngram_table_size))


def make(config, assets) -> Task:
  """The ensemble, each member with a loss of its own."""
  model, classes = make_model(config, assets), expect.names("classes", assets["classes"])
  tokenizer = encoders.tokenizer_of(assets)
  num_layers = assets["encoder"]["num_layers"]
  lengths = bucketing.lengths_up_to(config.data.max_length, config.data.num_lengths)
  batch_fn = document_arrays.make_batch_fn(tokenizer, config.data)

  def init_fn(rng, data):
    variables = dict(model.init(rng, jnp.zeros((1, lengths[0]), jnp.int32)))
    if data.pretrained is not None:
      params = variables["params"]
      network = finetuning.load_pretrained(
          params["network"], data.pretrained["params"], config.init_from,
          new_params="adapter|prefix",
      )  # fmt: skip
      variables["params"] = {**params, "network": network}
    if config.model.ngrams:
      table = {name: jnp.asarray(assets[name]) for name in ("hashes", "log_ratios")}
      variables["ngrams"] = {"ngrams": table}
    return variables

  def loss_fn(variables, batch, rng):
    members = model.apply(
        variables, batch["ids"], bucketing.token_mask(batch["ids"], batch["lengths"]),
        train=True, rngs={"dropout": rng}, method="member_logits",
    )  # fmt: skip
    smoothing = config.label_smoothing
    each = [losses.cross_entropy(m, batch["labels"], label_smoothing=smoothing) for m in members]
    accuracy = (sum(members).argmax(-1) == batch["labels"]).mean()
    return Loss(sum(each) / len(each), {"accuracy": accuracy})

  def full_logits(variables, batch, rng):
    mask = bucketing.token_mask(batch["ids"], batch["lengths"])
    return model.apply(variables, batch["ids"], mask)

  def logits_fn(variables, batch):
    return bucketing.truncated(full_logits, lengths)(variables, batch, None)

  probabilities_fn = classification.make_probabilities(logits_fn)
  read = document_arrays.make_reader(tokenizer, config.data.max_length)

  def explain(variables, line):
    example, encoding = read([line]), tokenizer.encode(line)
    parts = (encoding.ids, encoding.tokens, encoding.word_ids)
    ids, names, words = (tokens.truncate(part, config.data.max_length) for part in parts)
    probabilities = np.asarray(probabilities_fn(variables, example, None)[0])
    label, ids = int(probabilities.argmax()), jnp.asarray(ids, jnp.int32)
    network, params = model.network, variables["params"]["network"]
    scores = token_attribution.token_attributions(network, params, ids, label)
    found = explanation.Explanation(
        classes[label], float(probabilities[label]), tuple(names), tuple(words),
        np.asarray(scores), token_attribution.attention_maps(network, params, ids),
    )  # fmt: skip
    return {
        "text": explanation.to_text(found), "attribution": explanation.draw_words(found),
        "attention": explanation.draw_attention(found),
    }  # fmt: skip

  optimizer = None
  if config.layer_decay < 1:
    optimizer = finetuning.layerwise_lr_decay(
        optimizers.make(config.optimizer, config.training.total_steps),
        lambda name: config.layer_decay ** trainable.blocks_above(name, num_layers),
    )
  return Task(
      init_fn, bucketing.truncated_loss(loss_fn, lengths), classification.make_eval(logits_fn),
      batch_fn, optimizer, classification.make_measure(logits_fn, classes), best="-accuracy",
      is_trained=trainable.is_trained(config.trainable, num_layers),
      predict=classification.make_predict(logits_fn, classes, read), explain=explain,
      plot=confusions.make_plot(logits_fn, classes), outputs_fn=logits_fn, unit="nats per document",
  )  # fmt: skip
