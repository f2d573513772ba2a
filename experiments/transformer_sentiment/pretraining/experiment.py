"""Masked language modelling: an encoder learns from texts alone what stood at hidden places.

`--config.init_from=WORKDIR` starts a classifier of texts from the run.
"""

from collections.abc import Iterable, Iterator
import pathlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from dlx.data import batches, bucketing, masking, tokens
from dlx.data.split import check_parts
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.models.sequence_heads import TokenModel
from dlx.reports import figures
from dlx.runs import run as runs
from dlx.runs import workdir as workdirs
from dlx.training import optimizers, sharding
from dlx.training import state as states
from dlx.training.fit import fit
from experiments.transformer_sentiment import checks, encoders, splits
from experiments.transformer_sentiment.evaluation import make_map, mask_of

check_config = checks.check_config


def make_model(config: ml_collections.ConfigDict, options: dict) -> TokenModel:
  """An encoder with the head that scores every token, as BERT has it."""
  return TokenModel(encoders.make_transformer(config, options), transform=True)


def make_scores(config: ml_collections.ConfigDict, model: TokenModel, mask_id: int):
  """`scores(params, ids, lengths, rng, train) -> (loss, right), each (B,)`, of hidden tokens."""
  vocab_size = model.transformer.vocab_size

  def scores(params, ids, lengths, rng, train: bool):
    hide_rng, dropout_rng = jax.random.split(rng)
    hidden, places, chosen = masking.hide(
        hide_rng, ids, lengths,
        rate=config.data.mask_rate, mask_id=mask_id, vocab_size=vocab_size,
        num_special=len(tokens.SPECIAL),
    )  # fmt: skip
    logits = model.apply(
        {"params": params}, hidden, mask_of(ids, lengths),
        places=places, train=train, rngs={"dropout": dropout_rng},
    )  # fmt: skip
    targets = jnp.take_along_axis(ids, places, 1)
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
    right = logits.argmax(-1) == targets
    count = jnp.maximum(chosen.sum(-1), 1)
    return -(log_p * chosen).sum(-1) / count, (right & chosen).sum(-1) / count

  return scores


def make_loss(config: ml_collections.ConfigDict, scores):
  """`loss(params, variables, batch, rng) -> (loss, (metrics, variables))`, in nats a token."""

  def loss_fn(params, variables, batch, rng):
    loss, right = scores(params, batch["ids"], batch["lengths"], rng, True)
    return loss.mean(), ({"accuracy": right.mean()}, variables)

  return bucketing.bucketed(loss_fn, splits.sizes(config))


def make_evaluate(config: ml_collections.ConfigDict, scores, mesh: jax.sharding.Mesh):
  """`evaluate(params, ids, lengths) -> (loss, accuracy)`; the same tokens are hidden each time."""

  def of_group(params, _, ids, lengths):
    rng = jax.random.key(lengths.sum())
    return jnp.stack(scores(params, ids, lengths, rng, False), -1)

  mapped = make_map(config, of_group, mesh)

  def evaluate(params, ids, lengths) -> tuple[float, float]:
    loss, right = mapped(params, {}, ids, lengths).mean(0)
    return float(loss), float(right)

  return evaluate


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Trains, or goes on training, in workdir."""
  check_config(config)
  data, held_out = splits.load_unlabelled(config), splits.load_data(config, "validation")
  check_parts(data, held_out, config.data.batch_size, "texts")
  mesh = sharding.make_mesh(config.training.fsdp)
  sharding.check_batch_size(config.data.batch_size, mesh)
  encoder = encoders.make(config, workdir, data)
  training, validation = (splits.encode(config, encoder.tokenizer, d) for d in (data, held_out))
  training = splits.sorted_by_length(training)
  model = make_model(config, encoder.options)
  optimizer = optimizers.adamw(config.optimizer, config.training.total_steps)
  order_rng = jax.random.fold_in(jax.random.key(config.seed), 2**31)

  def init():
    ids = jnp.zeros((1, splits.sizes(config)[0]), jnp.int32)
    params = dict(model.init(jax.random.key(config.seed), ids)["params"])
    if encoder.params is not None:
      params["transformer"] = encoder.params["transformer"]
    return states.create(params, optimizer, averaged=config.training.ema_decay is not None)

  def batch(data, step, rng):
    del rng
    indices, _ = batches.by_length(
        order_rng, step, num_examples=len(data["ids"]), batch_size=config.data.batch_size
    )
    return {name: data[name][indices] for name in ("ids", "lengths")}

  workdirs.open_(workdir, config)
  encoders.save(encoder, workdir)
  scores = make_scores(config, model, encoder.tokenizer.token_to_id(tokens.MASK))
  evaluate_on = make_evaluate(config, scores, mesh)

  def validate(state):
    loss, right = evaluate_on(state.eval_params, validation.ids, validation.lengths)
    return {"loss": loss, "accuracy": right}

  fit(
      workdir,
      config.training,
      seed=config.seed,
      init=init,
      loss_fn=make_loss(config, scores),
      batch_fn=batch,
      data={"ids": jnp.asarray(training.ids), "lengths": jnp.asarray(training.lengths)},
      optimizer=optimizer,
      validate=validate,
  )
  if processes.is_first():
    figures.curves(workdir, unit="nats per hidden token")


def evaluate(run: runs.Run, split: str) -> dict[str, float]:
  """Loss and accuracy at the hidden tokens of a split.

  Args:
    run: an opened run.
    split: "train", "validation" or "test".
  """
  data = splits.load_data(run.config, split)
  options, tokenizer = encoders.load(run.workdir)
  model = make_model(run.config, options)
  scores = make_scores(run.config, model, tokenizer.token_to_id(tokens.MASK))
  encoded = splits.encode(run.config, tokenizer, data)
  evaluate_on = make_evaluate(run.config, scores, sharding.make_mesh())
  loss, right = evaluate_on(run.params, encoded.ids, encoded.lengths)
  return {"texts": len(data), "loss": loss, "perplexity": float(np.exp(loss)), "accuracy": right}


def predict(
    run: runs.Run, texts: Iterable[str], top: int
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
  """Yields each text with the likeliest tokens for its first [MASK].

  Raises:
    UserError: a text has no [MASK] among the tokens that are read.
  """
  options, tokenizer = encoders.load(run.workdir)
  model, mask_id = make_model(run.config, options), tokenizer.token_to_id(tokens.MASK)

  @jax.jit
  def fill(params, ids, length, place):
    logits = model.apply({"params": params}, ids, mask_of(ids, length), places=place[None])
    return jax.nn.softmax(logits[0])

  for number, text in enumerate(texts, 1):
    ids, lengths = tokens.encode(tokenizer, [text], run.config.data.max_length)
    places = np.flatnonzero(ids[0] == mask_id)
    if not len(places):
      raise UserError(f"text {number} has no {tokens.MASK}; it is what the model fills in")
    wide = np.zeros(next(s for s in splits.sizes(run.config) if s >= lengths[0]), np.int32)
    wide[: lengths[0]] = ids[0]
    probabilities = np.asarray(fill(run.params, wide, lengths[0], places[0]))
    best = np.argsort(-probabilities)[:top]
    yield text, [(tokenizer.id_to_token(int(i)), float(probabilities[i])) for i in best]
