"""Tables of word vectors, of which a step reads and changes some rows only.

The tables are a collection of a task's variables: its loss_fn computes the gradients of the rows
and updates them by dlx.training.sparse, so that the time of a step does not grow with the
vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlx.data import huffman, word_windows
from dlx.layers import word_losses
from dlx.training import sparse

NOISE_POWER = 0.75  # Noise words are drawn from the counts to this power (Mikolov et al. 2013).
_MOST_USES = 8  # Of a row in a step, before its learning rate is lowered.


class Tables(NamedTuple):
  """A method to learn word vectors.

  Attributes:
    init: `init(rng, vectors) -> collections`; `vectors` (V, D) replaces the random ones.
    step: `step(collections, batch, rng, rate) -> (loss, changed collections)`.
    losses: `losses(collections, batch, rng) -> (values, weights)` of the batch's pairs.
    vectors: `vectors(collections) -> (V, D)`, the result.
    training_only: the collections that only `step` reads.
  """

  init: Callable
  step: Callable
  losses: Callable
  vectors: Callable
  training_only: tuple[str, ...] = ()


def windowed(
    counts: np.ndarray, keep: np.ndarray, *, d: int, method: str, output: str, window: int,
    negatives: int, noise_words: int, seq_len: int, batch_size: int,
) -> Tables:  # fmt: skip
  """Skip-gram or CBOW, with negative sampling or hierarchical softmax.

  Batches are {"ids": (B, T)} with END between documents. Collection "vectors": `input` (V, D),
  the word vectors, and `output` (V, D), or (V - 1, D) of the inner nodes of the tree.

  Args:
    counts: of the words, (V,).
    keep: the probability of each word to survive subsampling, (V,).
    d: D.
    method: "skip_gram" or "cbow".
    output: "noise" or "tree".
    window: the largest distance of a pair.
    negatives: noise words per pair; they are replaced by noise_words with the same total weight.
    noise_words: drawn for each sequence.
    seq_len, batch_size: T and B.
  """
  shares = counts * keep / (counts * keep).sum()
  words_of_step = batch_size * seq_len * (counts * keep).sum() / counts.sum()
  if output == "tree":
    tree = huffman.paths(counts)
    uses = words_of_step * huffman.uses(tree, shares)
  else:
    noise = counts**NOISE_POWER
    alias = word_windows.alias_table(noise)
    # A pair has 1 + negatives terms, of which a word is the target or noise.
    uses = words_of_step * (shares + negatives * noise / noise.sum()) / (1 + negatives)
  damping = {
      "input": sparse.damping(words_of_step * shares, _MOST_USES),
      "output": sparse.damping(uses, _MOST_USES),
  }

  def init(rng, vectors=None):
    if vectors is None:
      vectors = (jax.random.uniform(rng, (len(counts), d)) - 0.5) / d
    return {"vectors": {"input": vectors, "output": jnp.zeros((len(uses), d), vectors.dtype)}}

  def draw(batch, rng):
    """(the words and their pairs, ids of output rows, signs of paths)."""
    if output == "tree":
      drawn = word_windows.draw(rng, batch["ids"], keep, window)
      return drawn, *(jnp.asarray(x)[drawn.words] for x in tree)
    drawn = word_windows.draw(rng, batch["ids"], keep, window, alias, noise_words)
    return drawn, jnp.concatenate([drawn.words, drawn.noise], 1), None

  def of_rows(inputs, outputs, pairs, signs):
    """The loss of each word, (B, T), summed over its pairs."""
    if output == "tree":
      loss = {"skip_gram": word_losses.skip_gram_paths, "cbow": word_losses.cbow_paths}[method]
      return loss(inputs, outputs, signs, pairs)
    loss = {"skip_gram": word_losses.skip_gram, "cbow": word_losses.cbow}[method]
    targets, noise = outputs[:, : pairs.shape[1]], outputs[:, pairs.shape[1] :]
    return loss(inputs, targets, noise, pairs, negatives=negatives)

  def weights(pairs):
    """The predictions of each word: its pairs, or 1 if it has any."""
    return pairs.sum(-1) if method == "skip_gram" else pairs.any(-1).astype(jnp.int32)

  def step(collections, batch, rng, rate):
    tables = collections["vectors"]
    drawn, outputs, signs = draw(batch, rng)
    ids = {"input": drawn.words, "output": outputs}
    rows = [tables[name][ids[name]] for name in ids]
    total, gradients = jax.value_and_grad(
        lambda rows: of_rows(*rows, drawn.pairs, signs).sum()
    )(rows)  # fmt: skip
    changed = {
        name: sparse.sgd(tables[name], ids[name], g, rate * jnp.asarray(damping[name])[ids[name]])
        for name, g in zip(ids, gradients)
    }
    return total / jnp.maximum(weights(drawn.pairs).sum(), 1), {"vectors": changed}

  def losses(collections, batch, rng):
    tables = collections["vectors"]
    drawn, outputs, signs = draw(batch, rng)
    rows = tables["input"][drawn.words], tables["output"][outputs]
    count = weights(drawn.pairs)
    return of_rows(*rows, drawn.pairs, signs) / jnp.maximum(count, 1), count

  return Tables(init, step, losses, lambda collections: collections["vectors"]["input"])


def glove(vocab_size: int, *, d: int, largest_count: float) -> Tables:
  """GloVe: two tables with biases, fitted to the counts of pairs by Adagrad.

  Batches are {"words", "contexts", "counts"}, (B,) each. Collection "vectors": `words`,
  `contexts` (V, D), `word_biases`, `context_biases` (V,); "squares", of Adagrad, the same. The
  result is the sum of the two tables.

  Args:
    vocab_size: V.
    d: D.
    largest_count: x_max of `word_losses.glove`.
  """

  def init(rng, vectors=None):
    shapes = {
        "words": (vocab_size, d), "contexts": (vocab_size, d),
        "word_biases": (vocab_size,), "context_biases": (vocab_size,),
    }  # fmt: skip
    rngs = dict(zip(shapes, jax.random.split(rng, len(shapes))))
    tables = {k: (jax.random.uniform(rngs[k], shape) - 0.5) / d for k, shape in shapes.items()}
    if vectors is not None:  # The result is their sum.
      tables |= {"words": vectors / 2, "contexts": vectors / 2}
    return {"vectors": tables, "squares": jax.tree.map(jnp.ones_like, tables)}

  def ids_of(batch):
    words, contexts = batch["words"], batch["contexts"]
    return {
        "words": words, "contexts": contexts, "word_biases": words, "context_biases": contexts
    }  # fmt: skip

  def of_rows(rows, batch):
    return word_losses.glove(
        rows["words"], rows["contexts"], rows["word_biases"], rows["context_biases"],
        batch["counts"], largest=largest_count,
    )  # fmt: skip

  def step(collections, batch, rng, rate):
    del rng
    tables, ids = collections["vectors"], ids_of(batch)
    rows = {name: tables[name][ids[name]] for name in ids}
    total, gradients = jax.value_and_grad(lambda rows: of_rows(rows, batch).sum())(rows)
    moved = {
        name: sparse.adagrad(tables[name], collections["squares"][name], ids[name], g, rate)
        for name, g in gradients.items()
    }
    names = ("vectors", "squares")
    changed = {which: {k: pair[i] for k, pair in moved.items()} for i, which in enumerate(names)}
    return total / len(batch["counts"]), changed

  def losses(collections, batch, rng):
    del rng
    tables = collections["vectors"]
    found = of_rows({name: tables[name][ids] for name, ids in ids_of(batch).items()}, batch)
    return found, jnp.ones_like(found)

  def vectors(collections):
    return collections["vectors"]["words"] + collections["vectors"]["contexts"]

  return Tables(init, step, losses, vectors, ("squares",))
