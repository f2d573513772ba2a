"""The feed-forward neural language model: the next token from the n - 1 tokens before it.

  x = [C(w_{t-n+2}) ... C(w_t)],   p(w_{t+1} | x) = softmax(b + W x + U tanh(d + H x))

Source: Bengio, Ducharme, Vincent, Jauvin, "A neural probabilistic language model" (2003).
"""

import jax
import jax.numpy as jnp

from dlx.data import batches, language
from dlx.data import vocabulary as vocabularies
from dlx.experiment import Data, Loss, Task
from dlx.layers import embedding, linear, losses
from dlx.layers.dropout import dropout
from dlx.metrics import language_model
from dlx.models import generation
from dlx.reports import exposure

NONE = -1  # Stands for a token before the text; its embedding is 0.


def load(config, assets=None) -> Data:
  """The corpus as ids; validation and test in non-overlapping sequences."""
  return language.load(config.data, assets)


def contexts(table, ids, before):
  """The embeddings of the n - 1 tokens up to each one, (..., T, (n - 1) m), and the last n - 2.

  Args:
    table: of `embedding.init`, (V, m).
    ids: `(..., T)`.
    before: the n - 2 ids before them, `(..., n - 2)`, NONE where there are none.
  """
  length, all_ids = ids.shape[-1], jnp.concatenate([before, ids], -1)
  vectors = embedding.lookup(table, jnp.maximum(all_ids, 0))
  vectors = jnp.where((all_ids == NONE)[..., None], 0, vectors)
  windows = [vectors[..., i : i + length, :] for i in range(before.shape[-1] + 1)]
  return jnp.concatenate(windows, -1), all_ids[..., length:]


def make(config, assets) -> Task:
  """The network that config.model describes."""
  vocabulary, model = vocabularies.of(assets), config.model
  unit = f"nats per {vocabulary.unit}"
  sizes = {"batch_size": config.data.batch_size, "seq_len": config.data.seq_len}
  schedule = generation.make_schedule(config.sampled_inputs, config.training.total_steps)

  def init_fn(rng, data):
    d_context = (model.order - 1) * model.d_embed
    d_output = model.d_hidden + model.direct * d_context
    rngs = jax.random.split(rng, 3)
    return {"params": {
        "embedding": embedding.init(rngs[0], len(vocabulary), model.d_embed),
        "hidden": linear.init(rngs[1], d_context, model.d_hidden),
        "output": linear.init(rngs[2], d_output, len(vocabulary)),  # [U, W] and b.
    }}  # fmt: skip

  def empty(batch_shape):
    return jnp.full((*batch_shape, model.order - 2), NONE, jnp.int32)

  def network(variables, ids, before=None, rng=None):
    """(logits, the last ids) of ids (..., T) after the ids `before`; dropout with an rng."""
    params = variables["params"]
    before = empty(ids.shape[:-1]) if before is None else before
    x, last = contexts(params["embedding"], ids, before)
    h = jnp.tanh(linear.apply(params["hidden"], x))
    features = jnp.concatenate([h, x], -1) if model.direct else h
    if rng is not None:
      features = dropout(rng, features, rate=model.dropout_rate)
    logits = linear.apply(params["output"], features)
    return language_model.calibrated(variables, logits), last

  def loss_fn(variables, batch, rng):
    inputs = schedule(rng, network, variables, empty((config.data.batch_size,)), batch)
    logits, _ = network(variables, inputs, rng=rng)
    return Loss(losses.cross_entropy(logits, batch["targets"]))

  def eval_fn(variables, batch, rng):
    logits, _ = network(variables, batch["inputs"])
    return language_model.token_losses(logits, batch["targets"])

  return Task(
      init_fn, loss_fn, eval_fn, batches.make_windows(**sizes),
      measure_fn=language_model.make_measure(eval_fn, vocabulary),
      sample=generation.make_sample(vocabulary, network, empty),
      plot=exposure.make_plot(network, empty, unit=unit) if config.exposure_curve else None,
      unit=unit,
  )  # fmt: skip
