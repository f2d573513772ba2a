"""Masked language modelling: an encoder predicts masked tokens of documents without labels.

  loss = -1/|M| sum_{t in M} log p(x_t | the document with the positions M masked)

in nats per masked token. `--config.init_from=WORKDIR` starts a classifier from such a run.

Source: Devlin et al., "BERT" (2019), section 3.1.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlx.data import batches, bucketing, documents, masking, tokens
from dlx.errors import UserError
from dlx.experiment import Data, Loss, Task
from dlx.metrics import classification
from dlx.models.sequence_heads import LanguageModel
from dlx.training import encoders


def load(config, assets=None) -> Data:
  """Documents as rows of token ids, sorted by length; the encoder's shapes and tokenizer."""
  options = config.data
  parts = documents.from_options(options)
  unlabelled = () if options.file else documents.unlabelled(options.dataset)
  texts = parts.train.texts + unlabelled
  known = assets or encoders.make_assets(config, texts)
  tokenizer = encoders.tokenizer_of(known)

  def encode(texts):
    ids, lengths = tokens.encode(tokenizer, texts, options.max_length)
    return bucketing.sort_by_length({"ids": ids, "lengths": lengths})

  pretrained = None
  if config.init_from:
    pretrained = lambda: {"params": encoders.load_params(config.init_from)}  # noqa: E731
  splits = [encode(part) for part in (texts, parts.validation.texts, parts.test.texts)]
  return Data(*splits, assets=known, pretrained=pretrained)


def make(config, assets) -> Task:
  """The encoder with BERT's output head."""
  model = LanguageModel(encoders.make_transformer(config, assets), mlm_transform=True)
  tokenizer = encoders.tokenizer_of(assets)
  vocab_size = tokens.num_ids(tokenizer)  # A published encoder can have more embeddings.
  mask_id = tokenizer.token_to_id(tokens.MASK)
  lengths = bucketing.lengths_up_to(config.data.max_length, config.data.num_lengths)

  def init_fn(rng, data):
    params = dict(model.init(rng, jnp.zeros((1, lengths[0]), jnp.int32))["params"])
    if data.pretrained is not None:
      params["transformer"] = data.pretrained["params"]["transformer"]
    return {"params": params}

  def batch_fn(train, step, rngs):
    count, size = len(train["ids"]), config.data.batch_size
    indices, _ = batches.by_length(rngs.run, step, num_examples=count, batch_size=size)
    return {name: train[name][indices] for name in ("ids", "lengths")}

  def logits_at(variables, ids, lengths, positions, **options):
    mask = bucketing.token_mask(ids, lengths)
    logits = model.apply(
        {"params": variables["params"]}, ids, mask, positions=positions, **options
    )
    return logits[..., :vocab_size]

  def metrics(variables, batch, rng, *, train=False):
    """{"loss", "accuracy"} of each document, (B,), over its masked tokens."""
    mask_rng, dropout_rng = jax.random.split(rng)
    ids = batch["ids"]
    masked, positions, selected = masking.mask_tokens(
        mask_rng, ids, batch["lengths"], rate=config.data.mask_rate, mask_id=mask_id,
        vocab_size=vocab_size, num_special=len(tokens.SPECIAL),
    )  # fmt: skip
    logits = logits_at(
        variables, masked, batch["lengths"], positions, train=train, rngs={"dropout": dropout_rng}
    )
    targets = jnp.take_along_axis(ids, positions, 1)
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
    right = (logits.argmax(-1) == targets) & selected
    count = jnp.maximum(selected.sum(-1), 1)
    return {"loss": -(log_p * selected).sum(-1) / count, "accuracy": right.sum(-1) / count}

  def loss_fn(variables, batch, rng):
    found = metrics(variables, batch, rng, train=True)
    return Loss(found["loss"].mean(), {"accuracy": found["accuracy"].mean()})

  def fill(variables, batch, rng):
    """The probabilities of every token at one position, (B, V)."""
    positions = batch["positions"][:, None]
    return jax.nn.softmax(logits_at(variables, batch["ids"], batch["lengths"], positions)[:, 0])

  def predict(variables, lines, apply, *, top=3, json=False):
    ids, sizes = tokens.encode(tokenizer, lines, config.data.max_length)
    found = ids == mask_id
    if not found.any(-1).all():
      line = int(np.argmin(found.any(-1)))
      raise UserError(f"{lines[line]!r} has no {tokens.MASK} among the tokens that are read")
    batch = {"ids": ids, "lengths": sizes, "positions": np.int32(found.argmax(-1))}
    names = [tokenizer.id_to_token(i) for i in range(vocab_size)]
    probabilities = apply(bucketing.truncated(fill, lengths), batch)
    return classification.predictions(lines, probabilities, names, top=top, json=json)

  return Task(
      init_fn, bucketing.truncated_loss(loss_fn, lengths), bucketing.truncated(metrics, lengths),
      batch_fn, predict=predict, unit="nats per masked token",
  )  # fmt: skip
