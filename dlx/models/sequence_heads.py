"""Transformer heads: classification, (masked) language modelling, encoder-decoder."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dlx.layers import activations, embedding, linear, norm
from dlx.layers.dropout import dropout
from dlx.layers.pooling import pool
from dlx.models.transformer import Transformer


class Classifier(nn.Module):
  """A transformer encoder, pooling and a linear layer.

  Attributes:
    transformer: the encoder.
    num_classes: K.
    pooling: as for `dlx.layers.pooling.pool`.
  """

  transformer: Transformer
  num_classes: int
  pooling: str = "mean"

  @nn.compact
  def __call__(
      self, ids: Int[Array, "... T"], mask: Bool[Array, "... T"] | None = None, *, train=False
  ) -> Float[Array, "... K"]:
    """Logits `(..., K)` of ids `(..., T)`; mask and train as for Transformer."""
    x = pool(self.transformer(ids, mask, train=train), mask, how=self.pooling)
    if train:
      x = dropout(self.make_rng("dropout"), x, rate=self.transformer.dropout_rate)
    return linear.apply(self.param("head", linear.init, x.shape[-1], self.num_classes), x)


class LanguageModel(nn.Module):
  """A transformer and logits over the vocabulary at every position.

  With a causal transformer, position t has the logits of token t + 1. Otherwise this is a
  masked language model, which predicts the token at each position. The output layer is tied
  to the embedding.

  Attributes:
    transformer: an encoder or a decoder.
    mlm_transform: apply a linear layer, gelu and a norm before the output layer, as BERT.
    next_sentence: return (logits, next), too, with next `(...)` the logit of BERT's second task,
      that the segment 1 follows the segment 0: w tanh(W h_0 + b) + c, h_0 the state of [CLS].
  """

  transformer: Transformer
  mlm_transform: bool = False
  next_sentence: bool = False

  @nn.compact
  def __call__(
      self,
      ids: Int[Array, "... T"],
      mask: Bool[Array, "... T"] | None = None,
      context: Float[Array, "... T_context D_context"] | None = None,
      context_mask: Bool[Array, "... T_context"] | None = None,
      *,
      positions: Int[Array, "... M"] | None = None,
      segments: Int[Array, "... T"] | None = None,
      train: bool = False,
  ) -> Float[Array, "... T V"] | tuple[Float[Array, "... T V"], Float[Array, "..."]]:
    """Logits `(..., T, V)`, or `(..., M, V)` at M given positions; the rest as Transformer."""
    x = self.transformer(ids, mask, context, context_mask, segments=segments, train=train)
    first = x[..., 0, :]
    if positions is not None:  # The output layer dominates the cost.
      x = jnp.take_along_axis(x, positions[..., None], -2)
    if self.mlm_transform:
      d = x.shape[-1]
      x = linear.apply(self.param("transform", linear.init, d, d), x)
      x = activations.gelu(x, approximate=False)
      x = norm.layer_norm(self.param("transform_norm", norm.init, d), x, eps=self.transformer.eps)
    bias = self.param("bias", jax.nn.initializers.zeros, (self.transformer.vocab_size,))
    logits = embedding.logits(self.transformer.variables["params"]["embedding"], x) + bias
    if not self.next_sentence:
      return logits
    d = first.shape[-1]
    first = jnp.tanh(linear.apply(self.param("pooler", linear.init, d, d), first))
    return logits, linear.apply(self.param("next", linear.init, d, 1), first)[..., 0]


class EncoderDecoder(nn.Module):
  """A conditional language model, for translation and summarization.

  Attributes:
    encoder: encodes the source, without a causal mask.
    decoder: a causal language model whose blocks attend to the encoder's states.
  """

  encoder: Transformer
  decoder: LanguageModel

  def __call__(
      self,
      source: Int[Array, "... S"],
      ids: Int[Array, "... T"],
      source_mask: Bool[Array, "... S"] | None = None,
      mask: Bool[Array, "... T"] | None = None,
      *,
      train: bool = False,
  ) -> Float[Array, "... T V"]:
    """Logits `(..., T, V)` of the token after each of ids, given the source `(..., S)`."""
    states = self.encoder(source, source_mask, train=train)
    return self.decoder(ids, mask, states, source_mask, train=train)
