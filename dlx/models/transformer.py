"""Transformers: an embedding with positions, then a stack of blocks, as encoder or decoder.

A mask of valid tokens excludes padding from every attention, so that a sequence's result
does not depend on its padding.

Source: Vaswani et al., "Attention is all you need" (2017).
"""

import flax.linen as nn
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dlx.layers import embedding, kv_cache, norm, positional
from dlx.layers.dropout import dropout
from dlx.models.transformer_block import Block

POSITIONS = ("sinusoidal", "learned", "rotary", "none")


class Transformer(nn.Module):
  """Maps token ids to hidden states: an embedding with positions, then blocks.

  Attributes:
    vocab_size: V.
    d_model: D.
    num_layers: number of blocks.
    num_heads, d_ff: see Block.
    positions: "sinusoidal" and "learned" embeddings are added to the token embedding,
      "rotary" ones are applied to queries and keys, "none" encodes no positions.
    max_length: number of learned positions, and of tokens in a cache.
    num_segments: size of BERT's segment embedding, 0 for none.
    norm_first, gated, is_causal, dropout_rate, eps, adapter_size, conv_width, prefix_length: see
      Block.
    dtype: the dtype that the blocks compute in, such as "bfloat16"; the embedding's if None.
  """

  vocab_size: int
  d_model: int
  num_layers: int
  num_heads: int
  d_ff: int
  positions: str = "sinusoidal"
  max_length: int = 512
  num_segments: int = 0
  norm_first: bool = True
  gated: bool = False
  is_causal: bool = False
  dropout_rate: float = 0.0
  eps: float = 1e-5
  adapter_size: int = 0
  conv_width: int = 1
  dtype: str | None = None
  prefix_length: int = 0

  @nn.compact
  def __call__(
      self,
      ids: Int[Array, "... T"],
      mask: Bool[Array, "... T"] | None = None,
      context: Float[Array, "... T_context D_context"] | list | None = None,
      context_mask: Bool[Array, "... T_context"] | None = None,
      *,
      segments: Int[Array, "... T"] | None = None,
      table: dict[str, Array] | None = None,
      cache: dict | None = None,
      train: bool = False,
  ) -> Float[Array, "... T D"] | tuple[Float[Array, "... T D"], dict]:
    """Maps ids `(..., T)` to hidden states `(..., T, D)`, at least float32.

    Args:
      ids: token ids.
      mask: True at valid tokens, `(..., T)`; invalid positions do not affect valid ones.
      context, context_mask: for the blocks' cross-attention; see `project_context`, too.
      segments: of the tokens, below num_segments; None if all belong to the first, 0.
      table: of another embedding (V, D), in place of one of its own.
      cache: of the tokens before ids, see `init_cache`; returned with ids added.
      train: draw dropout masks, from the key "dropout".

    Raises:
      ValueError: positions is not one of POSITIONS, there are more ids than learned
        positions, or segments for a transformer without their embedding.
    """
    if self.positions not in POSITIONS:
      raise ValueError(f"positions: expected {', '.join(POSITIONS)}, got {self.positions!r}")
    if segments is not None and not self.num_segments:
      raise ValueError("segments: expected None, since num_segments is 0")
    position = 0 if cache is None else cache["position"]
    allowed, caches, length = None, [], ids.shape[-1]
    if cache is not None and "ancestors" in cache:
      allowed, length = self._add_beams(cache["ancestors"], position), 1
      x = self._embed(ids[..., None], position, segments, table)[..., 0, :]
    else:
      x = self._embed(ids, position, segments, table)
    if not self.norm_first:
      x = norm.layer_norm(self.param("embedding_norm", norm.init, self.d_model), x, eps=self.eps)
    if train:
      x = dropout(self.make_rng("dropout"), x, rate=self.dropout_rate)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    x = x.astype(self.dtype or x.dtype)
    for i in range(self.num_layers):
      block = Block(
          self.num_heads,
          self.d_ff,
          self.norm_first,
          self.gated,
          self.positions == "rotary",
          self.is_causal,
          self.dropout_rate,
          self.eps,
          self.adapter_size,
          self.conv_width,
          self.prefix_length,
          name=f"block{i}",
      )
      memory = context[i] if isinstance(context, list) else context
      if cache is None:
        x = block(x, mask, memory, context_mask, train=train)
      else:
        blocks = cache["blocks"][i]
        at = {"cache": blocks, "position": position, "allowed": allowed}
        x, blocks = block(x, None, memory, context_mask, **at)
        caches.append(blocks)
    x = x.astype(wide)
    if self.norm_first:
      x = norm.layer_norm(self.param("final_norm", norm.init, self.d_model), x, eps=self.eps)
    if cache is None:
      return x
    cache = {"position": position + length, "blocks": caches}
    return x, cache if allowed is None else {**cache, "ancestors": allowed}

  def project_context(self, context: Float[Array, "... T_context D"]) -> list[dict[str, Array]]:
    """The keys and values of each block's cross-attention, which may replace the context.

    A decoder that reads one token after the other computes them once. Each is
    {"key", "value"}, `(..., N, T_context, D / N)`.
    """
    context = context.astype(self.dtype or context.dtype)
    params = [self.variables["params"][f"block{i}"] for i in range(self.num_layers)]
    return [
        kv_cache.project_context(p["cross_attention"], context, num_heads=self.num_heads)
        for p in params
    ]

  def init_cache(self, batch_shape: tuple[int, ...] = (), width: int | None = None) -> dict:
    """An empty cache for max_length tokens of a causal transformer; see dlx.layers.kv_cache.

    With a `width`, K, the ids of a call are the next tokens (..., K) of K beams. Each token stays
    where it was written, and "ancestors", True at the tokens of each beam (..., K, K max_length),
    is all that has to be reordered when beams are replaced.

    Raises:
      ValueError: the transformer is not causal, or has a token convolution and a width.
    """
    if not self.is_causal:
      raise ValueError("is_causal: expected True, since other tokens change with those after them")
    if width is not None and self.conv_width > 1:
      raise ValueError("width: expected None, since conv_width is above 1")
    dtype, length = self.dtype or jnp.float32, self.max_length * (width or 1)
    heads = {"num_heads": self.num_heads, "d_model": self.d_model, "dtype": dtype}

    def of_block():
      cache = {"attention": kv_cache.init(batch_shape, length, **heads)}
      if self.conv_width > 1:
        window = (*batch_shape, self.conv_width - 1, self.d_model)
        cache["window"] = jnp.zeros(window, dtype)
      return cache

    blocks = [of_block() for _ in range(self.num_layers)]
    cache = {"position": jnp.zeros((), jnp.int32), "blocks": blocks}
    if width is not None:
      cache["ancestors"] = jnp.zeros((*batch_shape, width, length), bool)
    return cache

  def _add_beams(self, ancestors, position):
    """The ancestors with the tokens that are read at `position`, one of each beam."""
    width, length = ancestors.shape[-2:]
    own = position * width + jnp.arange(width)
    return ancestors | (jnp.arange(length) == own[:, None])

  def _embed(self, ids, position, segments, table):
    if table is None:
      table = self.param("embedding", embedding.init, self.vocab_size, self.d_model)
    x = embedding.lookup(table, ids)
    if self.positions == "sinusoidal":
      positions = position + jnp.arange(ids.shape[-1])
      x = positional.add_sinusoidal(x, positions, scale=self.d_model**0.5)
    elif self.positions == "learned":
      if ids.shape[-1] > self.max_length:
        raise ValueError(
            f"ids: expected at most max_length={self.max_length} tokens, got {ids.shape[-1]}"
        )
      rows = self.param("positions", embedding.init, self.max_length, self.d_model)
      x = x + lax.dynamic_slice_in_dim(rows["embedding"], position, ids.shape[-1])
    if self.num_segments:
      rows = self.param("segments", embedding.init, self.num_segments, self.d_model)
      x = x + (rows["embedding"][0] if segments is None else embedding.lookup(rows, segments))
    return x
