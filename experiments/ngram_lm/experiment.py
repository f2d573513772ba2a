"""A language model that counts n-grams.

  loss = -1/T sum_t log p(x_{t+1} | x_{t-n+2} ... x_t), in nats per character, word or byte pair

The contexts of a split's tokens cross the boundaries of its sequences. dlx.models.ngram_smoothing
has the probabilities.

Source: Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1999).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dlx.data import language, ngram_counts
from dlx.data import vocabulary as vocabularies
from dlx.errors import UserError
from dlx.experiment import Data, Task
from dlx.metrics import language_model
from dlx.models import generation, ngram_smoothing
from dlx.models import ngram_language_model as ngrams
from dlx.reports import figures


def load(config, assets=None) -> Data:
  """The corpus as ids; sequences of validation and test with the tokens before them."""
  options, order = config.data, config.model.order
  encoded, assets = language.encode(options, assets)
  ids, _ = encoded["train"]
  if len(ids) < order:
    raise UserError(
        f"the training text has {len(ids)} tokens, but config.model.order is {order}; give a "
        f"longer text, or lower it"
    )
  held_out = {
      split: with_context(language.windows(split, *encoded[split], options.eval_seq_len), order)
      for split in ("validation", "test")
  }
  vocab_size = len(vocabularies.of(assets))

  def count():
    return tables(ngram_counts.count(ids, order, vocab_size), config.model)

  return Data({"ids": ids}, **held_out, assets=assets, pretrained=count)


def with_context(sequences: dict[str, np.ndarray], order: int) -> dict[str, np.ndarray]:
  """Sequences (W, T) of a text with the tokens "before" each (W, n - 2): contexts of n - 1."""
  inputs = sequences["inputs"]
  width = max(order - 2, 0)
  text = np.concatenate([np.full(width, ngrams.BEFORE, np.int32), inputs.ravel()])
  starts = np.arange(len(inputs))[:, None] * inputs.shape[1]
  return {**sequences, "before": text[starts + np.arange(width)]}


def tables(levels, options) -> list[dict[str, np.ndarray]]:
  """The model's arrays in float32."""
  found = ngram_smoothing.tables(levels, options.smoothing, k=options.get("k"))
  return jax.tree.map(lambda x: x.astype(np.float32) if x.dtype == float else x, found)


def make(config, assets) -> Task:
  """The n-grams up to config.model.order."""
  vocabulary = vocabularies.of(assets)
  order, method = config.model.order, config.model.smoothing

  def init_fn(rng, data):
    del rng
    return {"params": {}, "ngrams": data.pretrained}

  def counted(variables):
    """The n-grams' tables, which are of this vocabulary."""
    found = variables["ngrams"]
    if (count := len(found[0]["probabilities"])) != len(vocabulary):
      raise UserError(
          f"the n-grams are of {count} tokens, the vocabulary of assets.json has "
          f"{len(vocabulary)}; restore that of this run"
      )
    return found

  def eval_fn(variables, batch, rng):
    del rng
    ids = jnp.concatenate([batch["before"], batch["inputs"], batch["targets"][:, -1:]], -1)
    log_p = ngrams.log_probabilities(counted(variables), ids, method=method)
    losses = -log_p[:, -batch["targets"].shape[1] :]
    return {"loss": (losses, jnp.ones_like(losses))}

  def measure_fn(variables, data, split, apply):
    examples = data.split(split)
    loss = float(apply(eval_fn, examples)["loss"][0].mean())
    return {
        **language_model.per_unit(loss, examples, vocabulary),
        "perplexity": np.exp(loss),
        **size(variables),
    }

  def network(variables, ids, state):
    """(logits, state) of ids (..., T)."""
    counts = counted(variables)
    states = ngrams.read(counts, ids, state)
    return ngrams.next_logits(counts, states, method=method), states[..., -1, :]

  def plot(variables, data, split, apply):
    """Models of all orders, counted anew."""
    del variables
    levels = ngram_counts.count(data.train["ids"], order, len(vocabulary))
    measured = []
    for n in range(1, order + 1):
      model = {"params": {}, "ngrams": tables(levels[:n], config.model)}
      loss = apply(eval_fn, data.split(split), variables=model)["loss"][0].mean()
      measured.append({"perplexity": np.exp(loss), **size(model)})
    return {f"orders_{split}": by_order(measured, vocabulary.unit)}

  return Task(
      init_fn, eval_fn=eval_fn, measure_fn=measure_fn, plot=plot,
      sample=generation.make_sample(vocabulary, network, functools.partial(ngrams.empty, order)),
      unit=f"nats per {vocabulary.unit}",
  )  # fmt: skip


def size(variables) -> dict[str, float]:
  """The number of n-grams of all orders, and the memory of the model."""
  arrays = jax.tree.leaves(variables["ngrams"])
  return {
      "n-grams": sum(len(table["probabilities"]) for table in variables["ngrams"]),
      "MB": sum(x.nbytes for x in arrays) / 1e6,
  }


def by_order(measured: list[dict[str, float]], unit: str):
  """Perplexity and memory of models of the orders 1, 2, ..."""
  figure = figures.figure(9, 3.4)
  orders = range(1, len(measured) + 1)
  labels = {"perplexity": f"perplexity per {unit}", "MB": "MB (number of n-grams)"}
  for axes, name in zip(figure.subplots(1, 2), labels):
    axes.plot(orders, [row[name] for row in measured], marker="o", color="#08519c")
    for order, row in zip(orders, measured):
      text = f"{row[name]:.4g}" if name == "perplexity" else f"{row['n-grams']:,}"
      at = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "fontsize": 7}
      axes.annotate(text, (order, row[name]), **at)
    axes.set_xticks(orders)
    axes.set_xlabel("order")
    axes.set_ylabel(labels[name])
    axes.set_ylim(0, 1.08 * max(row[name] for row in measured))
    axes.spines[["top", "right"]].set_visible(False)
  figure.set_layout_engine("tight")
  return figure
