"""Document classification by a transformer encoder, pooling and a linear layer."""

import jax.numpy as jnp
import numpy as np

from dlx.data import bucketing, document_arrays, documents, expect, tokens
from dlx.experiment import Data, Loss, Task
from dlx.metrics import classification
from dlx.models import token_attribution, trainable
from dlx.models.sequence_heads import Classifier
from dlx.reports import confusions, explanation
from dlx.training import distillation, encoders, finetuning, optimizers


def load(config, assets=None) -> Data:
  """Documents as rows of token ids, sorted by length; classes, encoder, teachers' probabilities."""
  options = config.data
  parts = documents.with_unlabelled(documents.from_options(options), options)
  classes = list(parts.train.classes)
  known = assets or {"classes": classes, **encoders.make_assets(config, parts.train.texts)}
  tokenizer = encoders.tokenizer_of(known)
  train, *held_out = (document_arrays.encode(tokenizer, p, options.max_length) for p in parts)
  train |= distillation.targets(config, known, train["text"])
  pretrained = None
  if config.init_from:
    pretrained = lambda: {"params": encoders.load_params(config.init_from)}  # noqa: E731
  return Data(train, *held_out, assets=known, pretrained=pretrained)


def make_model(config, assets) -> Classifier:
  """The network that config.model describes, with the encoder of the assets."""
  options = config.model
  encoder = encoders.make_transformer(config, assets, prefix_length=options.prefix_length)
  return Classifier(encoder, len(assets["classes"]), options.pooling)


def make(config, assets) -> Task:
  """The network; with a teacher, the loss is that of dlx.training.distillation."""
  model, classes = make_model(config, assets), expect.names("classes", assets["classes"])
  tokenizer = encoders.tokenizer_of(assets)
  num_layers = assets["encoder"]["num_layers"]
  lengths = bucketing.lengths_up_to(config.data.max_length, config.data.num_lengths)
  batch_fn = document_arrays.make_batch_fn(tokenizer, config.data)

  def init_fn(rng, data):
    variables = dict(model.init(rng, jnp.zeros((1, lengths[0]), jnp.int32)))
    if data.pretrained is not None:
      variables["params"] = finetuning.load_pretrained(
          variables["params"], data.pretrained["params"], config.init_from,
          new_params="adapter|prefix",
      )  # fmt: skip
    return variables

  def loss_fn(variables, batch, rng):
    mask = bucketing.token_mask(batch["ids"], batch["lengths"])
    logits = model.apply(variables, batch["ids"], mask, train=True, rngs={"dropout": rng})
    options = {**config.distillation, "label_smoothing": config.label_smoothing}
    value = distillation.loss(logits, batch, **options)
    return Loss(value, {"accuracy": distillation.accuracy(logits, batch["labels"])})

  def full_logits(variables, batch, rng):
    mask = bucketing.token_mask(batch["ids"], batch["lengths"])
    return model.apply(variables, batch["ids"], mask)

  def logits_fn(variables, batch):
    return bucketing.truncated(full_logits, lengths)(variables, batch, None)

  eval_fn = classification.make_eval(logits_fn)
  probabilities_fn = classification.make_probabilities(logits_fn)
  read = document_arrays.make_reader(tokenizer, config.data.max_length)

  def explain(variables, line):
    example, encoding = read([line]), tokenizer.encode(line)
    parts = (encoding.ids, encoding.tokens, encoding.word_ids)
    ids, names, words = (tokens.truncate(part, config.data.max_length) for part in parts)
    probabilities = np.asarray(probabilities_fn(variables, example, None)[0])
    label, ids = int(probabilities.argmax()), jnp.asarray(ids, jnp.int32)
    params = variables["params"]
    scores = token_attribution.token_attributions(model, params, ids, label)
    found = explanation.Explanation(
        classes[label], float(probabilities[label]), tuple(names), tuple(words),
        np.asarray(scores), token_attribution.attention_maps(model, params, ids),
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
      init_fn, bucketing.truncated_loss(loss_fn, lengths), eval_fn, batch_fn,
      optimizer, classification.make_measure(eval_fn, classes), best="-accuracy",
      is_trained=trainable.is_trained(config.trainable, num_layers),
      predict=classification.make_predict(logits_fn, classes, read), explain=explain,
      plot=confusions.make_plot(eval_fn, classes), outputs_fn=logits_fn, read=read,
      unit="nats per document",
  )  # fmt: skip
