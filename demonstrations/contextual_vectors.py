"""An ambiguous word has one embedding, but another vector in each context: by its sense.

For sentences with the word "bank", of a river or of money, the vectors of the word in every layer
of a masked language model, projected on the two directions of their largest variance, and the mean
cosine of two of them, within a sense and between the senses. The embedding is one point.

Without an encoder, a tiny one is trained on generated sentences, "the muddy bank lines the pond"
and "the local bank counts the cash". Those that are drawn are not among them, and no two of them
share a word besides "the" and "bank": what their vectors have in common is the sense.

Options: --encoder, a run with an encoder (of masked_lm, for example) or the folder of a published
one; --sentences, a table with the columns text and sense; --word.

Source: Peters et al., "Deep contextualized word representations" (2018); Ethayarajh, "How
  contextual are contextualized word representations?" (2019).
"""

from collections.abc import Sequence
import itertools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import ml_collections
import numpy as np
import optax
import tokenizers

from dlx.data import bucketing, masking, tables, tokens
from dlx.errors import UserError
from dlx.models.sequence_heads import LanguageModel
from dlx.models.transformer import Transformer
from dlx.models.transformer_block import Block
from dlx.reports import word_contexts
from dlx.training import encoders

WORD = "bank"
SENTENCES = (
    ("We pulled the canoe up on the bank and dried our shoes.", "river"),
    ("Willows grow along the bank of the stream.", "river"),
    ("A heron stood on the muddy bank, waiting for fish.", "river"),
    ("The flood washed away the left bank of the river.", "river"),
    ("They swam to the far bank before the current grew strong.", "river"),
    ("The children slid down the grassy bank into the water.", "river"),
    ("The bank raised the interest on our loan again.", "money"),
    ("She opened a savings account at the bank on Main Street.", "money"),
    ("My bank charges a fee for every transfer abroad.", "money"),
    ("The robbers left the bank with two bags of cash.", "money"),
    ("He works as a teller in a small bank.", "money"),
    ("The central bank sold gold to support the currency.", "money"),
)
# the ADJECTIVE NOUN VERB the NOUN, of each sense.
GRAMMAR = {
    "river": (
        "muddy grassy steep sandy mossy wooded", "bank shore slope ridge",
        "borders follows lines overlooks shades hugs", "river stream lake canal creek pond",
    ),
    "money": (
        "central private national large foreign local", "bank firm fund lender",
        "lends counts holds pays insures transfers", "money cash loans savings gold deposits",
    ),
}  # fmt: skip


class Encoder(NamedTuple):
  """A transformer with its params and its tokenizer."""

  model: Transformer
  params: dict
  tokenizer: tokenizers.Tokenizer


def generated() -> tuple[list[str], list[tuple[str, str]]]:
  """(sentences to train on, (sentence, sense) to draw, which share only "the" and "bank")."""
  train, drawn = [], []
  for sense, slots in GRAMMAR.items():
    adjectives, nouns, verbs, objects = map(str.split, slots)
    held_out = [(a, WORD, v, o) for a, v, o in zip(adjectives, verbs, objects)]
    write = "the {} {} {} the {}".format
    combined = itertools.product(adjectives, nouns, verbs, objects)
    train += [write(*words) for words in combined if words not in held_out]
    drawn += [(write(*words), sense) for words in held_out]
  return train, drawn


def train(texts: Sequence[str], *, steps: int = 400, seed: int = 0) -> Encoder:
  """A small encoder, trained to predict masked words of short texts."""
  tokenizer = tokens.train_bpe(texts, 2000)
  all_ids, all_lengths = map(jnp.asarray, tokens.encode(tokenizer, texts, 32))
  size, mask_id = tokenizer.get_vocab_size(), tokenizer.token_to_id(tokens.MASK)
  encoder = Transformer(size, d_model=32, num_layers=2, num_heads=2, d_ff=64, positions="learned")
  model, optimizer = LanguageModel(encoder), optax.adam(3e-3)

  def loss(params, rng):
    rows_rng, mask_rng = jax.random.split(rng)
    rows = jax.random.randint(rows_rng, (64,), 0, len(all_ids))
    ids, lengths = all_ids[rows], all_lengths[rows]
    masked, positions, selected = masking.mask_tokens(
        mask_rng, ids, lengths, rate=0.3, mask_id=mask_id, vocab_size=size,
        num_special=len(tokens.SPECIAL),
    )  # fmt: skip
    logits = model.apply(
        {"params": params}, masked, bucketing.token_mask(ids, lengths), positions=positions
    )
    targets = jnp.take_along_axis(ids, positions, 1)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return (losses * selected).sum() / selected.sum()

  def step(carry, rng):
    params, state = carry
    updates, state = optimizer.update(jax.grad(loss)(params, rng), state)
    return (optax.apply_updates(params, updates), state), None

  @jax.jit
  def run(rng):
    init_rng, rng = jax.random.split(rng)
    params = model.init(init_rng, all_ids[:1])["params"]
    start = params, optimizer.init(params)
    (params, _), _ = jax.lax.scan(step, start, jax.random.split(rng, steps))
    return params

  return Encoder(encoder, run(jax.random.key(seed))["transformer"], tokenizer)


def load(source: str) -> Encoder:
  """The encoder of a run, or a published one.

  Raises:
    UserError: there is none, or it has adapters or prefixes.
  """
  # An encoder of any length.
  config = ml_collections.ConfigDict({"init_from": source, "data": {"max_length": 1}})
  assets = encoders.make_assets(config, ())
  params = encoders.load_params(source)["transformer"]
  if any("adapter" in name or "prefix" in name for name in params["block0"]):
    raise UserError(f"{source} has adapters or prefixes; name the encoder that it started from")
  return Encoder(Transformer(**assets["encoder"]), params, encoders.tokenizer_of(assets))


def layer_vectors(encoder: Encoder, texts: Sequence[str], word: str) -> list[np.ndarray]:
  """The vectors of a word in N texts: its embeddings (N, D), then the outputs of each block.

  A word of several tokens has the mean of their vectors.

  Raises:
    UserError: a text does not have the word, or is longer than the encoder's positions.
  """
  model, params, tokenizer = encoder
  longest = model.max_length if model.positions == "learned" else 2**30
  weights = []
  for number, text in enumerate(texts, 1):
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)
    if not found:
      raise UserError(f"sentence {number}, {text!r:.60}, does not have the word {word!r}")
    offsets = np.array(tokenizer.encode(text).offsets)
    if len(offsets) > longest:
      raise UserError(f"sentence {number} has {len(offsets)} tokens; the encoder reads {longest}")
    weights.append((offsets[:, 0] < found.end()) & (offsets[:, 1] > found.start()))
  ids, lengths = tokens.encode(tokenizer, texts, longest)
  at = np.stack([np.pad(w, (0, ids.shape[1] - len(w))) for w in weights])
  at = at / at.sum(-1, keepdims=True)

  @jax.jit
  def states(params):
    _, found = model.apply(
        {"params": params}, ids, bucketing.token_mask(ids, lengths),
        capture_intermediates=lambda module, _: isinstance(module, Block),
        mutable=["intermediates"],
    )  # fmt: skip
    blocks = found["intermediates"]
    return [blocks[f"block{i}"]["__call__"][0] for i in range(model.num_layers)]

  embedded = np.asarray(params["embedding"]["embedding"])[ids]
  return [np.einsum("nt,ntd->nd", at, x) for x in (embedded, *map(np.asarray, states(params)))]


def cosines(x: np.ndarray, senses: Sequence[str]) -> tuple[float, float]:
  """The mean cosine of two rows of x (N, D): of one sense, and of two senses."""
  unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
  same = np.equal.outer(np.array(senses), np.array(senses))
  pairs = unit @ unit.T
  return float(pairs[same & ~np.eye(len(x), dtype=bool)].mean()), float(pairs[~same].mean())


def read(path: str) -> list[tuple[str, str]]:
  """(sentence, sense) of the rows of a table.

  Raises:
    UserError: it cannot be read, or does not have two senses, one of them in two sentences.
  """
  columns, _ = tables.read(path, ("text", "sense"))
  tables.expect_filled(path, ("text", "sense"), columns)
  if not 1 < len(set(columns[1])) < len(columns[1]):
    raise UserError(f"{path}: expected two senses or more, one of them in two sentences")
  return list(zip(*columns))


def draw(
    encoder: str | None = None, sentences: str | None = None, word: str = WORD
) -> tuple[Figure, list[str]]:
  """The vectors of each layer, and their cosines."""
  if encoder is None:
    if sentences is not None or word != WORD:
      raise UserError("other sentences and words need an encoder that knows them; give --encoder")
    texts, chosen = generated()
    known = train(texts)
  else:
    chosen = SENTENCES if sentences is None else read(sentences)
    known = load(encoder)
  texts, senses = zip(*chosen)
  layers = layer_vectors(known, texts, word)
  names = ["embedding", *(f"layer {i}" for i in range(1, len(layers)))]
  means = [cosines(x, senses) for x in layers]
  lines = [
      f"{name}: mean cosine {within:.3f} within a sense, {between:.3f} between senses"
      for name, (within, between) in zip(names, means)
  ]
  return word_contexts.draw(word, chosen, dict(zip(names, layers)), means), lines
