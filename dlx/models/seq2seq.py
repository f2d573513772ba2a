"""Sequence to sequence: p(y_1 ... y_n | x) = prod_t p(y_t | y_1 ... y_{t-1}, x).

An encoder reads the source x, a decoder the target, one token later than it is predicted. The
networks between the embeddings and the output layer are recurrent, convolutional or
transformers; they have the same three methods.

  encode(table, source, mask, train) -> (memory, carry)
  start(memory, carry, width) -> (memory, carry)                before reading token by token
  decode(table, memory, carry, ids, train) -> (carry, states)   of ids after those in the carry

The memory belongs to the source, (B, ...), the carry to a target; of several targets of a source
(beams) ids and the arrays of the carry have more dimensions after B. For a beam search `start` is
given its width, and `reorder` is that of `beam_search`: a transformer's beams share a cache.
"""

from collections.abc import Mapping
import functools
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Bool, Float, Int

from dlx.layers import beam_search, embedding, linear
from dlx.models.convolutional_seq2seq import ConvolutionalPair
from dlx.models.recurrent_seq2seq import RecurrentPair
from dlx.models.transformer import Transformer

ARCHITECTURES = {"recurrent": RecurrentPair, "convolutional": ConvolutionalPair}


class TransformerPair(nn.Module):
  """A transformer's encoder, and a decoder whose blocks attend to the encoder's states.

  Attributes:
    encoder, decoder: their attribute vocab_size is not used.

  Source: Vaswani et al., "Attention is all you need" (2017).
  """

  encoder: Transformer
  decoder: Transformer

  def encode(
      self, table: dict, source: Int[Array, "B S"], mask: Bool[Array, "B S"], train: bool = False
  ) -> tuple[dict, None]:
    """(memory, None): the encoder's states; a whole target needs no carry."""
    states = self.encoder(source, mask, table=table, train=train)
    return {"context": states, "mask": mask}, None

  def start(self, memory: dict, carry: None, width: int | None = None) -> tuple[dict, dict]:
    """The memory with keys and values in place of the states, and an empty cache."""
    context = self.decoder.project_context(memory["context"])
    return {**memory, "context": context}, self.decoder.init_cache(memory["mask"].shape[:1], width)

  def decode(
      self, table: dict, memory: dict, carry, ids: Int[Array, "B ... T"], train: bool = False
  ) -> tuple[Any, Float[Array, "B ... T D"]]:
    """(carry, states) of target tokens after those in the carry."""
    context, options = (memory["context"], memory["mask"]), {"table": table, "train": train}
    if carry is None:
      return None, self.decoder(ids, None, *context, **options)
    if "ancestors" in carry:  # ids (B, K, 1).
      states, carry = self.decoder(ids[..., 0], None, *context, cache=carry, **options)
      return carry, states[..., None, :]
    return self.decoder(ids, None, *context, cache=carry, **options)[::-1]

  @staticmethod
  def reorder(carry: dict, parents: Int[Array, "B K"]) -> dict:
    """The carry of the beams `parents`."""
    return {**carry, "ancestors": beam_search.pick(carry["ancestors"], parents)}


class Seq2Seq(nn.Module):
  """Embeddings, an encoder with its decoder, and logits over the target's vocabulary.

  Attributes:
    pair: the networks between.
    source_size, target_size: the sizes of the vocabularies.
    d_model: D.
    shared: source and target have one vocabulary and one embedding.
    tied: the output layer has the target's embedding as kernel.
  """

  pair: nn.Module
  source_size: int
  target_size: int
  d_model: int
  shared: bool = False
  tied: bool = True

  def setup(self):
    """Draws the embeddings and the output layer."""
    self.embedding = self.param("embedding", embedding.init, self.target_size, self.d_model)
    self.source_embedding = self.embedding
    if not self.shared:
      self.source_embedding = self.param(
          "source_embedding", embedding.init, self.source_size, self.d_model
      )
    self.output = self.param("output", self._init_output)

  def __call__(
      self,
      source: Int[Array, "B S"],
      mask: Bool[Array, "B S"],
      ids: Int[Array, "B T"],
      train: bool = False,
  ) -> Float[Array, "B T V"]:
    """The logits of the token after each of ids, given the source (teacher forcing).

    Args:
      source: ids of the source.
      mask: True at its tokens, False at padding.
      ids: the start token and the target without its last token.
      train: draw dropout masks, from the key "dropout".
    """
    memory, carry = self.pair.encode(self.source_embedding, source, mask, train)
    return self._logits(self.pair.decode(self.embedding, memory, carry, ids, train)[1])

  def encode(
      self, source: Int[Array, "B S"], mask: Bool[Array, "B S"], width: int | None = None
  ) -> tuple[dict, Any]:
    """(memory, carry), from which `decode` continues; the carry of a beam search of this width."""
    return self.pair.start(*self.pair.encode(self.source_embedding, source, mask), width)

  def decode(
      self, memory: dict, carry, ids: Int[Array, "B ... T"]
  ) -> tuple[Float[Array, "B ... T V"], Any]:
    """(logits, carry) after target tokens that follow those in the carry."""
    carry, states = self.pair.decode(self.embedding, memory, carry, ids)
    return self._logits(states), carry

  def _init_output(self, rng):
    layer = linear.init(rng, self.d_model, self.target_size)
    return {"bias": layer["bias"]} if self.tied else layer

  def _logits(self, states):
    if not self.tied:
      return linear.apply(self.output, states)
    rows = states.reshape(-1, self.d_model)
    logits = embedding.logits(self.embedding, rows) + self.output["bias"]
    return logits.reshape(*states.shape[:-1], self.target_size)


def make(
    options: Mapping[str, Any], source_size: int, target_size: int, max_length: int
) -> Seq2Seq:
  """The model of these options.

  Args:
    options: "architecture", "transformer" or a key of ARCHITECTURES; "d_model", "tied", "shared",
      and the attributes of its networks.
    source_size, target_size: the sizes of the vocabularies.
    max_length: the maximum number of tokens of a source, and of a target.
  """
  options = dict(options)
  names = ("architecture", "tied", "shared")
  architecture, tied, shared = (options.pop(name) for name in names)
  if architecture == "transformer":
    layers = options.pop("num_encoder_layers"), options.pop("num_layers")
    lengths = {"max_length": max_length, **options}
    pair = TransformerPair(
        Transformer(source_size, num_layers=layers[0], **lengths),
        Transformer(target_size, num_layers=layers[1], is_causal=True, **lengths),
    )
  else:
    if architecture == "convolutional":
      options["max_length"] = max_length
    pair = ARCHITECTURES[architecture](**options)
  return Seq2Seq(pair, source_size, target_size, options["d_model"], shared, tied)


def search(
    model: Seq2Seq,
    params,
    source: Int[Array, "B S"],
    mask: Bool[Array, "B S"],
    *,
    width: int | None = None,
    **options,
) -> beam_search.Found:
  """The targets of `beam_search.greedy_search`, or the best ones of `width` beams.

  Args:
    model, params: the network.
    source: ids of the sources.
    mask: True at their tokens.
    width: K, or None for greedy search.
    **options: max_length, start, end, pad and length_penalty of the search.

  Returns:
    ids (B, max_length) and scores (B,).
  """
  apply = functools.partial(model.apply, {"params": params})
  memory, carry = apply(source, mask, width, method="encode")

  def step(carry, ids):
    logits, carry = apply(memory, carry, ids[..., None], method="decode")
    return carry, logits[..., 0, :]

  options["batch_size"] = len(source)
  if width is None:
    return beam_search.greedy_search(step, carry, **options)
  beams = {"width": width, "num_results": 1, "reorder": model.pair.reorder}
  found = beam_search.beam_search(step, carry, **beams, **options)
  return jax.tree.map(lambda x: x[:, 0], found)


def alignment(
    model: Seq2Seq, params, source: Int[Array, "B S"], mask, ids: Int[Array, "B T"]
) -> Float[Array, "B T S"] | None:
  """The decoder's attention, averaged over its layers and heads; None without attention."""
  _, found = model.apply({"params": params}, source, mask, ids, mutable=["attention"])
  kept = [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(found)]
  weights = [leaf for name, leaf in kept if "cross_weights" in name or "alignment" in name]
  weights = [leaf.mean(1) if leaf.ndim == 4 else leaf for leaf in weights]
  return sum(weights) / len(weights) if weights else None
