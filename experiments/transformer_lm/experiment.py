"""A language model: a decoder-only transformer (GPT).

  loss = -1/T sum_t log p(x_{t+1} | x_1 ... x_t), in nats per character, word or byte pair

Source: Radford et al., "Improving language understanding by generative pre-training" (2018).
"""

import jax
import jax.numpy as jnp

from dlx.data import batches, language
from dlx.data import vocabulary as vocabularies
from dlx.experiment import Data, Loss, Task
from dlx.layers import linear, losses
from dlx.metrics import language_model
from dlx.models import generation
from dlx.models.transformer import Transformer


def load(config, assets=None) -> Data:
  """The corpus as ids; validation and test in non-overlapping sequences."""
  return language.load(config.data, assets)


def make(config, assets) -> Task:
  """The network that config.model describes."""
  vocabulary = vocabularies.of(assets)
  sizes = {"batch_size": config.data.batch_size, "seq_len": config.data.seq_len}
  context = max(config.data.seq_len, config.data.eval_seq_len)
  model = Transformer(len(vocabulary), is_causal=True, max_length=context, **config.model)

  def init_fn(rng, data):
    model_rng, output_rng = jax.random.split(rng)
    transformer = model.init(model_rng, jnp.zeros((1,), jnp.int32))["params"]
    output = linear.init(output_rng, config.model.d_model, len(vocabulary))
    return {"params": {"transformer": transformer, "output": output}}

  def hidden(variables, ids, **options):
    return model.apply({"params": variables["params"]["transformer"]}, ids, **options)

  def logits(variables, states):
    return linear.apply(variables["params"]["output"], states)

  def batch_fn(train, step, rngs):
    inputs, targets = batches.random_windows(train["ids"], rngs.step, **sizes)
    return {"inputs": inputs, "targets": targets}

  def loss_fn(variables, batch, rng):
    states = hidden(variables, batch["inputs"], train=True, rngs={"dropout": rng})
    return Loss(losses.cross_entropy(logits(variables, states), batch["targets"]))

  def eval_fn(variables, batch, rng):
    found = logits(variables, hidden(variables, batch["inputs"]))
    return {"loss": jax.vmap(losses.cross_entropy)(found, batch["targets"])}

  def extend(variables, cache, ids):
    states, cache = hidden(variables, ids, cache=cache)
    return cache, logits(variables, states[-1])

  return Task(
      init_fn, loss_fn, eval_fn, batch_fn,
      measure_fn=language_model.make_measure(eval_fn, vocabulary),
      sample=generation.make_sample(
          vocabulary,
          read=lambda variables, ids: extend(variables, model.init_cache(), ids),
          step=lambda variables, cache, id: extend(variables, cache, id[None]),
          context=context,
      ),
      unit=f"nats per {vocabulary.unit}",
  )  # fmt: skip
