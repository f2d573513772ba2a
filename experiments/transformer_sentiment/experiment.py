"""Text classification by a transformer: reviews, or a table of one's own."""

from collections.abc import Iterable, Iterator, Sequence
import itertools
import pathlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from dlx.data import batches, tokens
from dlx.data.split import check_parts
from dlx.errors import UserError
from dlx.layers import losses
from dlx.models import transformer
from dlx.models.sequence_heads import Classifier
from dlx.training import buckets, classification, report, sharding
from dlx.training import classes as known_classes
from dlx.training import optimizer as optimizers
from dlx.training import run as runs
from dlx.training import state as states
from dlx.training import workdir as workdirs
from dlx.training.fit import fit
from experiments.transformer_sentiment import splits

POOLING = ("mean", "max", "first")
_ROWS = 64  # Texts classified at once.
_READ = 512  # Texts sorted by length together in prediction.


def check_config(config: ml_collections.ConfigDict) -> None:
  """Raises UserError for a choice that is none, or a number out of its range."""
  values = workdirs.flatten(config.to_dict())
  choices = {"model.positions": transformer.POSITIONS, "model.pooling": POOLING}
  for key, known in choices.items():
    if values[key] not in known:
      raise UserError(f"config.{key} is {values[key]!r}; use {', '.join(known)}")
  least = {
      "data.max_length": 4, "data.buckets": 1, "data.batch_size": 1, "model.d_model": 1,
      "model.num_layers": 1, "model.num_heads": 1, "model.d_ff": 1,
  }  # fmt: skip
  for key, bound in least.items():
    if values[key] < bound:
      raise UserError(f"config.{key} is {values[key]}; it must be at least {bound}")
  for key in ("data.word_dropout", "model.dropout_rate", "label_smoothing"):
    if not 0 <= values[key] < 1:
      raise UserError(f"config.{key} is {values[key]}; use 0 <= rate < 1")
  model = config.model
  if model.d_model % (2 * model.num_heads):
    raise UserError(
        f"config.model.d_model is {model.d_model}; it must be a multiple of twice num_heads, "
        f"{2 * model.num_heads}"
    )


def make_model(config: ml_collections.ConfigDict, vocab_size: int, num_classes: int) -> Classifier:
  """The network that `config.model` describes."""
  options = config.model.to_dict()
  pooling = options.pop("pooling")
  encoder = transformer.Transformer(vocab_size, max_length=config.data.max_length, **options)
  return Classifier(encoder, num_classes, pooling)


def mask_of(ids, lengths):
  """True at the tokens of a text, (..., T)."""
  return jnp.arange(ids.shape[-1]) < lengths[..., None]


def make_batch(config: ml_collections.ConfigDict, unknown: int):
  """`batch(data, step, rng)`: texts of about equal length, some of their tokens unknown."""
  order_rng = jax.random.fold_in(jax.random.key(config.seed), 2**31)

  def batch(data, step, rng):
    indices, _ = batches.by_length(
        order_rng, step, data["lengths"], batch_size=config.data.batch_size
    )
    ids, lengths = data["ids"][indices], data["lengths"][indices]
    place = jnp.arange(ids.shape[1])
    inner = (place > 0) & (place < lengths[:, None] - 1)  # The two ends stay.
    dropped = jax.random.bernoulli(rng, config.data.word_dropout, ids.shape) & inner
    ids = jnp.where(dropped, unknown, ids)
    return {"ids": ids, "lengths": lengths, "labels": data["labels"][indices]}

  return batch


def make_loss(config: ml_collections.ConfigDict, model: Classifier):
  """`loss(params, variables, batch, rng) -> (loss, (metrics, variables))`, in nats a text."""

  def loss_fn(params, variables, batch, rng):
    mask = mask_of(batch["ids"], batch["lengths"])
    logits = model.apply(
        {"params": params}, batch["ids"], mask, train=True, rngs={"dropout": rng}
    )
    loss = losses.cross_entropy(
        logits, batch["labels"], label_smoothing=config.label_smoothing
    )
    right = (logits.argmax(-1) == batch["labels"]).mean()
    return loss, ({"accuracy": right}, variables)

  return buckets.bucketed(loss_fn, splits.sizes(config))


def make_classify(config: ml_collections.ConfigDict, model: Classifier):
  """`classify(params, ids, lengths) -> logits (N, K)`, a few texts at a time."""
  apply = jax.jit(
      lambda params, ids, lengths: model.apply({"params": params}, ids, mask_of(ids, lengths))
  )

  def classify(params, ids, lengths) -> np.ndarray:
    return buckets.map_sorted(
        lambda *group: apply(params, *group), ids, lengths, splits.sizes(config), _ROWS
    )

  return classify


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Trains, or goes on training, in workdir."""
  check_config(config)
  data, held_out = splits.load_data(config, "train"), splits.load_data(config, "validation")
  check_parts(data, held_out, config.data.batch_size, "texts")
  sharding.check_batch_size(config.data.batch_size, sharding.make_mesh())
  tokenizer = splits.load_tokenizer(config, workdir, data)
  training, validation = (splits.encode(config, tokenizer, d) for d in (data, held_out))
  model = make_model(config, tokenizer.get_vocab_size(), len(data.classes))
  optimizer = optimizers.adamw(config.optimizer, config.training.total_steps)

  workdirs.open_(workdir, config)
  known_classes.record(workdir, data, "texts")
  tokenizer.save(str(workdir / splits.TOKENIZER))

  def init():
    ids = jnp.zeros((1, splits.sizes(config)[0]), jnp.int32)
    params = model.init(jax.random.key(config.seed), ids)["params"]
    return states.create(params, optimizer, averaged=config.training.ema_decay is not None)

  classify = make_classify(config, model)

  def validate(state):
    logits = classify(state.eval_params, validation.ids, validation.lengths)
    return {
        "loss": float(losses.cross_entropy(logits, validation.labels)),
        "accuracy": classification.accuracy(logits, validation.labels),
    }

  fit(
      workdir,
      config.training,
      seed=config.seed,
      init=init,
      loss_fn=make_loss(config, model),
      batch_fn=make_batch(config, tokenizer.token_to_id(tokens.UNKNOWN)),
      data={name: jnp.asarray(array) for name, array in training._asdict().items()},
      optimizer=optimizer,
      validate=validate,
  )
  report.curves(workdir, unit="nats per text")
  report.curves(workdir, metric="accuracy", best=max, name="accuracy.png")


def _classifier_of(run: runs.Run, num_classes: int):
  """`logits(texts) -> (N, K)` by a run's model and tokenizer."""
  tokenizer = tokens.load(run.workdir / splits.TOKENIZER)
  model = make_model(run.config, tokenizer.get_vocab_size(), num_classes)
  classify = make_classify(run.config, model)

  def logits(texts: Sequence[str]) -> np.ndarray:
    encoded = tokens.encode(tokenizer, texts, run.config.data.max_length)
    return classify(run.params, *encoded).astype(np.float64)

  return logits


def evaluate(run: runs.Run, split: str) -> dict[str, float]:
  """Accuracy, loss, F1 and calibration on a split; draws the confusion matrix.

  Args:
    run: an opened run.
    split: "train", "validation" or "test".
  """
  data = splits.load_data(run.config, split)
  known_classes.check(run.workdir, data, "texts")
  logits = _classifier_of(run, len(data.classes))(data.texts)
  probabilities = np.asarray(jax.nn.softmax(logits))
  matrix = classification.confusion_matrix(probabilities, data.labels)
  report.confusion_matrix(run.workdir / f"confusion_{split}.png", matrix, data.classes)
  return {
      "texts": len(data),
      "accuracy": classification.accuracy(probabilities, data.labels),
      "loss": float(losses.cross_entropy(logits, data.labels)),
      "F1": classification.f1(matrix),
      "calibration error": classification.calibration_error(probabilities, data.labels),
  }


def predict(
    run: runs.Run, texts: Iterable[str], top: int
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
  """Yields each text with its likeliest classes and their probabilities.

  A few hundred texts are read before the first of them is answered.

  Raises:
    UserError: a text is empty.
  """
  classes = known_classes.load(run.workdir)
  logits_of = _classifier_of(run, len(classes))
  texts, read = iter(texts), 0
  while some := list(itertools.islice(texts, _READ)):
    for place, text in enumerate(some, read + 1):
      if not text.strip():
        raise UserError(f"text {place} is empty; there is nothing to classify")
    read += len(some)
    for text, probabilities in zip(some, np.asarray(jax.nn.softmax(logits_of(some)))):
      yield text, known_classes.likeliest(probabilities, classes, top)
