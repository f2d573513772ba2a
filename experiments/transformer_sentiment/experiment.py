"""Text classification by a transformer: reviews, or a table of one's own."""

from collections.abc import Iterable, Iterator
import pathlib

import jax
import jax.numpy as jnp
import ml_collections

from dlx.data import batches, bucketing, tokens
from dlx.data.split import check_parts
from dlx.distributed import processes
from dlx.layers import losses
from dlx.metrics import classification
from dlx.models import ngrams
from dlx.models.sequence_heads import Classifier, Experts
from dlx.reports import explanation, figures
from dlx.runs import run as runs
from dlx.runs import workdir as workdirs
from dlx.training import classes as known_classes
from dlx.training import finetuning, optimizers, sharding
from dlx.training import state as states
from dlx.training.fit import fit
from experiments.transformer_sentiment import checks, encoders, evaluation, splits

check_config = checks.check_config


def make_model(config: ml_collections.ConfigDict, options: dict, num_classes: int) -> Experts:
  """The network that `config.model` describes, on an encoder with these shapes."""
  transformer = encoders.make_transformer(config, options)
  counts, model = None, config.model
  if model.ngrams:
    counts = ngrams.NGrams(num_classes, model.ngrams, model.ngram_rows)
  return Experts(Classifier(transformer, num_classes, model.pooling), counts)


def init_variables(
    config: ml_collections.ConfigDict,
    model: Experts,
    encoder: encoders.Encoder,
    table: dict | None,
) -> tuple[dict, dict]:
  """(params, variables): the encoder's where they are known, and the table of n-grams."""
  ids = jnp.zeros((1, splits.sizes(config)[0]), jnp.int32)
  variables = dict(model.init(jax.random.key(config.seed), ids))
  params = variables.pop("params")
  if encoder.params is not None:
    network = finetuning.transfer(
        params["network"], encoder.params, config.init_from, added="adapter"
    )
    params = {**params, "network": network}
  if table is not None:
    variables = {"ngrams": {"ngrams": jax.tree.map(jnp.asarray, table)}}
  return params, variables


def make_batch(config: ml_collections.ConfigDict, unknown: int):
  """`batch(data, step, rng)`: texts of about equal length, some of their tokens unknown.

  data has the texts sorted by length.
  """
  order_rng = jax.random.fold_in(jax.random.key(config.seed), 2**31)

  def batch(data, step, rng):
    indices, _ = batches.by_length(
        order_rng, step, num_examples=len(data["ids"]), batch_size=config.data.batch_size
    )
    ids, lengths = data["ids"][indices], data["lengths"][indices]
    place = jnp.arange(ids.shape[1])
    inner = (place > 0) & (place < lengths[:, None] - 1)  # The two ends stay.
    dropped = jax.random.bernoulli(rng, config.data.word_dropout, ids.shape) & inner
    ids = jnp.where(dropped, unknown, ids)
    return {"ids": ids, "lengths": lengths, "labels": data["labels"][indices]}

  return batch


def make_loss(config: ml_collections.ConfigDict, model: Experts):
  """`loss(params, variables, batch, rng) -> (loss, (metrics, variables))`, in nats a text."""

  is_trained = checks.is_trained(config.trainable, model.network.transformer.num_layers)

  def loss_fn(params, variables, batch, rng):
    params = finetuning.frozen(params, is_trained)
    ids, labels = batch["ids"], batch["labels"]
    each = model.apply(
        {"params": params, **variables},
        ids, evaluation.mask_of(ids, batch["lengths"]), train=True, rngs={"dropout": rng},
        method="each",
    )  # fmt: skip
    of_each = [
        losses.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        for logits in each
    ]
    right = (sum(each).argmax(-1) == labels).mean()
    return sum(of_each) / len(of_each), ({"accuracy": right}, variables)

  return bucketing.bucketed(loss_fn, splits.sizes(config))


def make_optimizer(config: ml_collections.ConfigDict, num_layers: int):
  """AdamW for the parameters that the config says, slower in lower blocks where it says so."""
  optimizer = optimizers.adamw(config.optimizer, config.training.total_steps)
  decay = config.optimizer.layer_decay
  if decay < 1:
    optimizer = finetuning.slower(
        optimizer, lambda name: decay ** checks.blocks_above(name, num_layers)
    )
  if config.trainable == "all":
    return optimizer
  return finetuning.only(optimizer, checks.is_trained(config.trainable, num_layers))


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Trains, or goes on training, in workdir."""
  check_config(config)
  data, held_out = splits.load_data(config, "train"), splits.load_data(config, "validation")
  check_parts(data, held_out, config.data.batch_size, "texts")
  mesh = sharding.make_mesh(config.training.fsdp)
  sharding.check_batch_size(config.data.batch_size, mesh)
  encoder = encoders.make(config, workdir, data)
  training, validation = (splits.encode(config, encoder.tokenizer, d) for d in (data, held_out))
  training = splits.sorted_by_length(training)
  model = make_model(config, encoder.options, len(data.classes))
  optimizer = make_optimizer(config, encoder.options["num_layers"])
  table = None
  if model.ngrams is not None:
    shape = {"longest": model.ngrams.longest, "rows": model.ngrams.rows}
    table = ngrams.count(*training, len(data.classes), **shape)

  def init():
    params, variables = init_variables(config, model, encoder, table)
    averaged = config.training.ema_decay is not None
    return states.create(params, optimizer, variables=variables, averaged=averaged)

  jax.eval_shape(init)  # An encoder that does not fit is refused before anything is written.
  workdirs.open_(workdir, config)
  known_classes.record(workdir, data, "texts")
  encoders.save(encoder, workdir)
  classify = evaluation.make_classify(config, model, mesh)

  def validate(state):
    logits = classify(state.eval_params, state.variables, validation.ids, validation.lengths)
    accuracy = classification.accuracy(logits, validation.labels)
    loss = float(losses.cross_entropy(logits, validation.labels))
    return {"loss": loss, "accuracy": accuracy, "error": 1 - accuracy}

  fit(
      workdir,
      config.training,
      seed=config.seed,
      init=init,
      loss_fn=make_loss(config, model),
      batch_fn=make_batch(config, encoder.tokenizer.token_to_id(tokens.UNKNOWN)),
      data={name: jnp.asarray(array) for name, array in training._asdict().items()},
      optimizer=optimizer,
      validate=validate,
      best="error",  # The loss is least long before: then the network becomes too sure of itself.
  )
  if processes.is_first():
    figures.curves(workdir, unit="nats per text")
    figures.curves(workdir, metric="accuracy", best=max, name="accuracy.png")


def _classifier(run: runs.Run) -> evaluation.TextClassifier:
  classes = known_classes.load(run.workdir)
  options, tokenizer = encoders.load(run.workdir)
  model = make_model(run.config, options, len(classes))
  return evaluation.TextClassifier(run, model, tokenizer, classes)


def evaluate(run: runs.Run, split: str) -> dict[str, float]:
  """Accuracy, loss, F1 and calibration on a split; draws the confusion matrix, lists mistakes.

  Args:
    run: an opened run.
    split: "train", "validation" or "test".
  """
  data = splits.load_data(run.config, split)
  known_classes.check(run.workdir, data, "texts")
  return evaluation.evaluate(_classifier(run), data, split)


def predict(
    run: runs.Run, texts: Iterable[str], top: int
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
  """Yields each text with its likeliest classes and their probabilities.

  A few hundred texts are read before the first of them is answered.

  Raises:
    UserError: a text is empty.
  """
  return evaluation.predict(_classifier(run), texts, top)


def explain(run: runs.Run, text: str) -> explanation.Explanation:
  """What a text is taken for, which words speak for that, and what attends to what.

  Raises:
    UserError: the text is empty.
  """
  return evaluation.explain(_classifier(run), text)
