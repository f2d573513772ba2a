"""Masked language modelling: an encoder predicts masked tokens of documents without labels.

  loss = -1/|M| sum_{t in M} log p(x_t | the document with the positions M masked)

in nats per masked token. With data.next_sentence a document is [CLS] A [SEP] B [SEP], and

  loss += -log p(n | A, B masked),    p(n = 1 | A, B) = sigmoid(w tanh(W h_[CLS] + b) + c)

with n = 1 if B follows A. `--config.init_from=WORKDIR` starts a classifier from such a run.

Source: Devlin et al., "BERT" (2019), section 3.1.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlx.data import batches, bucketing, documents, masking, sentence_pairs, tokens
from dlx.errors import UserError
from dlx.experiment import Data, Loss, Task
from dlx.metrics import classification
from dlx.models.sequence_heads import LanguageModel
from dlx.training import encoders


def load(config, assets=None) -> Data:
  """Documents as rows of token ids, sorted by length, or pairs of their sentences; the encoder."""
  options = config.data
  parts = documents.load_texts(
      options.dataset, file=options.file, text_column=options.text_column,
      num_validation=options.num_validation,
  )  # fmt: skip
  num_segments = 2 if options.next_sentence else 0
  known = assets or encoders.make_assets(config, parts.train, num_segments=num_segments)
  tokenizer = encoders.tokenizer_of(known)

  def encode(texts):
    ids, lengths = tokens.encode(tokenizer, texts, options.max_length)
    return bucketing.sort_by_length({"ids": ids, "lengths": lengths})

  pretrained = None
  if config.init_from:
    pretrained = lambda: {"params": encoders.load_params(config.init_from)}  # noqa: E731
  if options.next_sentence:
    train, *held_out = (sentence_pairs.encode(tokenizer, p, options.max_length) for p in parts)
    fixed = [sentence_pairs.fixed(part, **pair_options(config, tokenizer)) for part in held_out]
    splits = train, *map(bucketing.sort_by_length, fixed)
  else:
    splits = map(encode, parts)
  return Data(*splits, assets=known, pretrained=pretrained)


def pair_options(config, tokenizer) -> dict:
  """The options of `sentence_pairs.draw`."""
  ends = {"first": tokenizer.token_to_id(tokens.FIRST), "last": tokenizer.token_to_id(tokens.LAST)}
  return {"max_length": config.data.max_length, **ends}


def make(config, assets) -> Task:
  """The encoder with BERT's output heads."""
  with_pairs = config.data.next_sentence
  transformer = encoders.make_transformer(config, assets)
  model = LanguageModel(transformer, mlm_transform=True, next_sentence=with_pairs)
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
    count, size = len(train["starts" if with_pairs else "ids"]), config.data.batch_size
    indices, _ = batches.by_length(rngs.run, step, num_examples=count, batch_size=size)
    if with_pairs:
      return sentence_pairs.draw(rngs.step, train, indices, **pair_options(config, tokenizer))
    return {name: train[name][indices] for name in ("ids", "lengths")}

  def apply_model(variables, ids, batch, positions, **options):
    """(the logits of the tokens at these positions, None or those that B follows A)."""
    mask, segments = bucketing.token_mask(ids, batch["lengths"]), None
    if "second" in batch:
      segments = jnp.int32(~bucketing.token_mask(ids, batch["second"]))
    found = model.apply(
        {"params": variables["params"]}, ids, mask, positions=positions, segments=segments,
        **options,
    )  # fmt: skip
    logits, following = found if with_pairs else (found, None)
    return logits[..., :vocab_size], following

  def metrics(variables, batch, rng, *, train=False):
    """{"loss", "accuracy"} of each document, (B,), over its masked tokens, and of its pair."""
    mask_rng, dropout_rng = jax.random.split(rng)
    ids, between = batch["ids"], None
    if with_pairs:
      between = jnp.arange(ids.shape[1]) == batch["second"][:, None] - 1
    masked, positions, selected = masking.mask_tokens(
        mask_rng, ids, batch["lengths"], rate=config.data.mask_rate, mask_id=mask_id,
        vocab_size=vocab_size, num_special=len(tokens.SPECIAL), excluded=between,
    )  # fmt: skip
    logits, following = apply_model(
        variables, masked, batch, positions, train=train, rngs={"dropout": dropout_rng}
    )
    targets = jnp.take_along_axis(ids, positions, 1)
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
    right = (logits.argmax(-1) == targets) & selected
    count = jnp.maximum(selected.sum(-1), 1)
    found = {"loss": -(log_p * selected).sum(-1) / count, "accuracy": right.sum(-1) / count}
    if with_pairs:
      is_next = batch["is_next"]
      loss = optax.sigmoid_binary_cross_entropy(following, is_next.astype(following.dtype))
      found |= {
          "loss": found["loss"] + loss, "masked loss": found["loss"],
          "next sentence loss": loss, "next sentence accuracy": (following > 0) == is_next,
      }  # fmt: skip
    return found

  def loss_fn(variables, batch, rng):
    found = {k: v.mean() for k, v in metrics(variables, batch, rng, train=True).items()}
    return Loss(found.pop("loss"), found)

  def fill(variables, batch, rng):
    """The probabilities of every token at one position, (B, V)."""
    positions = batch["positions"][:, None]
    logits, _ = apply_model(variables, batch["ids"], batch, positions)
    return jax.nn.softmax(logits[:, 0])

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
      batch_fn, predict=predict, unit="nats" if with_pairs else "nats per masked token",
  )  # fmt: skip
