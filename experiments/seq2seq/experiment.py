"""Sequence to sequence: an encoder reads a text, a decoder predicts another one.

  loss = -1/T sum_t log p(y_t | y_1 ... y_{t-1}, x), in nats per token of the target
"""

import functools

import jax
import jax.numpy as jnp

import dlx
from dlx.data import batches, bucketing, pairs, spans
from dlx.distributed import processes
from dlx.experiment import Data, Loss, Task
from dlx.layers import losses
from dlx.metrics import translation
from dlx.models import generation, seq2seq
from dlx.reports import alignment
from dlx.training import finetuning, pair_networks

_SIDES = ("source", "target")


def load(config, assets=None) -> Data:
  """Pairs as rows of ids, or documents whose spans are hidden, sorted by length."""
  source, pretrained = spans if config.data.dataset == "spans" else pairs, None
  if config.init_from:
    assets = assets or pair_networks.assets_of(config)
    pretrained = lambda: {"params": dlx.load_run(config.init_from).params}  # noqa: E731
  return source.load(config.data, assets)._replace(pretrained=pretrained)


def make(config, assets) -> Task:
  """The network that config.model describes, and its searches."""
  source, target = pairs.tokens_of(assets)
  limit = config.data.max_length
  lengths = bucketing.lengths_up_to(limit, config.data.num_lengths)
  schedule = generation.make_schedule(config.sampled_inputs, config.training.total_steps)
  network = pair_networks.options(config, assets)
  longest = network.pop("max_length")
  model = seq2seq.make(network, len(source), len(target), longest)

  def init_fn(rng, data):
    ids = jnp.zeros((1, 2), jnp.int32)
    params = model.init(rng, ids, ids == 0, ids)["params"]
    if data.pretrained is not None:
      old = data.pretrained["params"]
      params = finetuning.load_pretrained(params, old, config.init_from, head="")
    return {"params": params}

  def batch_fn(train, step, rngs):
    count, size = len(train["lengths"]), config.data.batch_size
    indices, _ = batches.by_length(rngs.run, step, num_examples=count, batch_size=size)
    if config.data.dataset == "spans":
      drawn = train["ids"][indices], train["lengths"][indices]
      rates = spans.rates(config.data)
      return {**spans.draw(rngs.step, *drawn, tokens=source, **rates), "step": step}
    return {**{name: train[name][indices] for name in (*_SIDES, "lengths")}, "step": step}

  def apply_model(variables, *args, **options):
    return model.apply({"params": variables["params"]}, *args, **options)

  def read(variables, ids):
    """(memory, carry) after the source."""
    return apply_model(variables, ids, ids != pairs.PAD, method="encode")

  def inputs_of(target_ids):
    return jnp.pad(target_ids[:, :-1], ((0, 0), (1, 0)), constant_values=pairs.START)

  def loss_fn(variables, batch, rng):
    inputs, mask = inputs_of(batch["target"]), batch["source"] != pairs.PAD
    if config.sampled_inputs.rate:
      memory, carry = read(variables, batch["source"])
      decode = lambda v, ids, carry: apply_model(v, memory, carry, ids, method="decode")  # noqa: E731
      inputs = schedule(rng, decode, variables, carry, {**batch, "inputs": inputs})
    logits = apply_model(
        variables, batch["source"], mask, inputs, True, rngs={"dropout": rng}
    )
    return Loss(losses.cross_entropy(
        logits, batch["target"], batch["target"] != pairs.PAD,
        label_smoothing=config.label_smoothing,
    ))  # fmt: skip

  def eval_sums(variables, batch, rng):
    ids, valid = batch["target"], batch["target"] != pairs.PAD
    logits = apply_model(variables, batch["source"], batch["source"] != pairs.PAD, inputs_of(ids))
    each = jax.vmap(jax.vmap(losses.cross_entropy))(logits, ids)
    right, count = logits.argmax(-1) == ids, valid.sum(-1)
    found = {"loss": each, "token accuracy": right}
    return {k: (jnp.where(valid, x, 0).sum(-1) / count, count) for k, x in found.items()}

  @functools.cache
  def make_search(width):
    """The ids of the best translation and its score, by greedy search for width 0."""
    options = {
        "max_length": limit, "start": pairs.START, "end": pairs.END,
        "length_penalty": config.decoding.length_penalty,
    }  # fmt: skip

    def search(variables, batch, rng):
      inputs = variables["params"], batch["source"], batch["source"] != pairs.PAD
      return seq2seq.search(model, *inputs, width=width or None, **options)

    return search

  def translate(width, variables, examples, apply):
    found = apply(make_search(width), {"source": examples["source"]}, variables=variables)
    return [target.decode(ids) for ids in found.ids]

  def predict(variables, lines, apply, *, width=config.decoding.width, json=False):
    ids = [source.encode(pairs.normalized(line, config.data.lowercase)) for line in lines]
    if cut := sum(len(each) > limit for each in ids):
      processes.notice(
          f"{cut} of {len(lines)} lines have more than {limit} tokens, data.max_length, and are cut"
      )
    found = apply(make_search(width), {"source": pairs.rows(ids, limit)})
    texts = [target.decode(each) for each in found.ids]
    if not json:
      return texts
    return [{"output": text, "score": float(s)} for text, s in zip(texts, found.scores)]

  def alignments(variables, batch, rng):
    ids, mask = batch["source"], batch["source"] != pairs.PAD
    return seq2seq.alignment(model, variables["params"], ids, mask, inputs_of(batch["target"]))

  searches = {"greedy": 0, "beam": config.decoding.width}
  translators = {name: functools.partial(translate, width) for name, width in searches.items()}
  symbols = list if config.data.target_tokens == "characters" else str.split
  has_attention = network.get("attention") != "none"
  return Task(
      init_fn, bucketing.truncated_loss(loss_fn, lengths, _SIDES),
      bucketing.truncated(eval_sums, lengths, _SIDES), batch_fn,
      measure_fn=translation.make_measure(translators, symbols, with_bleu=config.bleu),
      predict=predict, unit="nats per token",
      plot=alignment.make_plot(alignments, translators["greedy"], source, target)
      if has_attention else None,
  )  # fmt: skip
