"""A block of a transformer: attention, cross-attention and a feed-forward layer.

  x -> x + attention(norm(x)) -> x + cross_attention(norm(x), context) -> x + f(norm(x))

Cross-attention is used only with a context. With `norm_first=False` the norm follows the
sum, norm(x + f(x)), as in the original transformer and in BERT; such a network needs a
warm-up of the learning rate. f is W2 gelu(W1 x), or gated, W2 (silu(W3 x) * W1 x).

With `conv_width=w > 1` a block starts with a convolution over tokens, x -> x + gelu(W y),
where y_t concatenates norm(x) at the w positions from t - w // 2 on. It encodes the order of
neighbouring tokens, so that the network works without position embeddings.

With an adapter, each residual f(x) becomes f(x) + U gelu(V f(x)), a bottleneck whose output
starts at 0. Training only the adapters fine-tunes a pretrained network for another task. So does
training only prefixes, learned keys and values before those of the tokens in self-attention.

A mask of valid tokens excludes padding from every attention, so that a sequence's result
does not depend on its padding.

Source: Vaswani et al., "Attention is all you need" (2017); Xiong et al., "On layer
  normalization in the transformer architecture" (2020) for the norm that comes first;
  Devlin et al., "BERT" (2019); Shazeer, "GLU variants improve transformer" (2020);
  Houlsby et al., "Parameter-efficient transfer learning for NLP" (2019) for adapters; Li and
  Liang, "Prefix-tuning" (2021).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dlx.layers import activations, attention, kv_cache, linear, norm, prefixes
from dlx.layers.dropout import dropout


class Block(nn.Module):
  """Self-attention, cross-attention if there is a context, and a feed-forward layer.

  Attributes:
    num_heads: N.
    d_ff: number of hidden features of the feed-forward layer.
    norm_first: apply the norm before each layer, or else after the sum.
    gated: use silu(W3 x) * W1 x instead of gelu(W1 x).
    rotary: use rotary position embeddings in the self-attention.
    is_causal: token t attends to tokens 0 to t only.
    dropout_rate: of each residual branch.
    eps: of the norms.
    adapter_size: number of features of the adapters' bottleneck, 0 for no adapters.
    conv_width: kernel size of the token convolution, which reads only tokens up to t if
      is_causal; 1 for no convolution.
    prefix_length: number of learned keys and values before those of the tokens in the
      self-attention, see dlx.layers.prefixes; 0 for none.
  """

  num_heads: int
  d_ff: int
  norm_first: bool = True
  gated: bool = False
  rotary: bool = False
  is_causal: bool = False
  dropout_rate: float = 0.0
  eps: float = 1e-5
  adapter_size: int = 0
  conv_width: int = 1
  prefix_length: int = 0

  @nn.compact
  def __call__(
      self,
      x: Float[Array, "... T D"],
      mask: Bool[Array, "..."] | None = None,
      context: Float[Array, "... T_context D_context"] | dict[str, Array] | None = None,
      context_mask: Bool[Array, "..."] | None = None,
      *,
      cache: dict[str, Array] | None = None,
      position: Int[Array, ""] | int = 0,
      allowed: Bool[Array, "... T S"] | None = None,
      train: bool = False,
  ) -> Float[Array, "... T D"] | tuple[Float[Array, "... T D"], dict[str, Array]]:
    """Maps x to the same shape.

    If the collection "attention" is mutable, it receives the attention weights of each head
    as "weights", without those of a prefix, and those of the cross-attention as "cross_weights".

    Args:
      x: `(..., T, D)`.
      mask: True at valid tokens, `(..., T)`.
      context: input of the cross-attention, `(..., T_context, D_context)`, or its keys and values;
        see `kv_cache.project_context`.
      context_mask: True at valid tokens of the context, `(..., T_context)`.
      cache: of a causal block, see `Transformer.init_cache`; returned with x added.
      position: the number of tokens in the cache.
      allowed: rows of the cache, see `kv_cache.attend`.
      train: draw dropout masks, from the key "dropout".
    """
    d = x.shape[-1]
    cache = None if cache is None else dict(cache)
    params = self._param(x, "attention", attention.init, d)
    keys = None if mask is None else mask[..., None, None, :]
    prefix = None
    if self.prefix_length:
      prefix = self._param(x, "attention_prefix", prefixes.init, self.prefix_length, d)

    def attend(x):
      heads = {"num_heads": self.num_heads, "rotary": self.rotary}
      options = {"mask": keys, "is_causal": self.is_causal}
      if cache is not None:
        y, cache["attention"] = kv_cache.attend(
            params, x, cache["attention"], position, prefix=prefix, allowed=allowed, **heads
        )
        return y
      if self.is_mutable_collection("attention") and not self.is_initializing():
        query, key, _ = attention.project(params, x, **heads)
        if prefix is None:
          a = attention.weights(query, key, **options)
        else:
          a = prefixes.weights(prefix, query, key, **options)
        self.sow("attention", "weights", a)
      if prefix is None:
        return attention.multi_head(params, x, **heads, **options)
      return prefixes.multi_head(params, prefix, x, **heads, **options)

    if self.conv_width > 1:
      x = self._add("window_norm", x, lambda x: self._convolve(x, mask, cache), train)
    x = self._add("attention_norm", x, attend, train)
    if context is not None:
      x = self._add("cross_norm", x, lambda x: self._cross(x, context, context_mask), train)
    x = self._add("feed_forward_norm", x, self._feed_forward, train)
    return x if cache is None else (x, cache)

  def _param(self, x, *args):
    """Parameters in the dtype of x."""
    return jax.tree.map(lambda p: p.astype(x.dtype), self.param(*args))

  def _add(self, name, x, f, train):
    """x + f(norm(x)), or norm(x + f(x))."""
    params = self._param(x, name, norm.init, x.shape[-1])
    y = f(norm.layer_norm(params, x, eps=self.eps) if self.norm_first else x)
    if self.adapter_size:
      y = self._adapt(name.replace("norm", "adapter"), y)
    if train:
      y = dropout(self.make_rng("dropout"), y, rate=self.dropout_rate)
    return x + y if self.norm_first else norm.layer_norm(params, x + y, eps=self.eps)

  def _cross(self, x, context, mask):
    """Cross-attention; x may have dimensions between those of the context's batch and T."""
    projected = isinstance(context, dict)
    d_context = x.shape[-1] if projected else context.shape[-1]
    params = self._param(
        x, "cross_attention", lambda r: attention.init(r, x.shape[-1], d_context=d_context)
    )
    valid = None if mask is None else mask[..., None, None, :]
    sown = self.is_mutable_collection("attention") and not self.is_initializing()
    if sown and not projected:
      query, key, _ = attention.project(params, x, context, num_heads=self.num_heads)
      self.sow("attention", "cross_weights", attention.weights(query, key, mask=valid))
    if projected:
      return kv_cache.attend_context(params, x, context, num_heads=self.num_heads, mask=valid)
    return attention.multi_head(params, x, context, num_heads=self.num_heads, mask=valid)

  def _adapt(self, name, y):
    """y + U gelu(V y), with U = 0 before training."""
    d = y.shape[-1]
    size = self.adapter_size
    down = self._param(y, f"{name}_in", linear.init, d, size)
    up = self._param(
        y, f"{name}_out", lambda r: jax.tree.map(jnp.zeros_like, linear.init(r, size, d))
    )
    inner = activations.gelu(linear.apply(down, y), approximate=False)
    return y + linear.apply(up, inner)

  def _convolve(self, x, mask, cache):
    """gelu(W y), y_t the tokens in the window around t, with zeros beyond both ends."""
    if mask is not None:
      x = jnp.where(mask[..., None], x, 0)
    length, d = x.shape[-2:]
    before = self.conv_width - 1 if self.is_causal else self.conv_width // 2
    if cache is not None:
      x = jnp.concatenate([cache["window"], x], -2)
      cache["window"] = x[..., length:, :]
    else:
      ends = [(0, 0)] * (x.ndim - 2) + [(before, self.conv_width - 1 - before), (0, 0)]
      x = jnp.pad(x, ends)
    # Not lax.conv_general_dilated: its gradients are slow in a loop over steps on CPUs. A step of
    # benchmarks.gpt took 9.7 s with it, and 1.0 s with this product.
    windows = jnp.concatenate([x[..., i : i + length, :] for i in range(self.conv_width)], -1)
    params = self._param(x, "window", linear.init, self.conv_width * d, d)
    return activations.gelu(linear.apply(params, windows), approximate=False)

  def _feed_forward(self, x):
    shape, d = x.shape, x.shape[-1]
    x = x.reshape(-1, d)  # As in linear.apply, and for the activation in between, too.
    y = linear.apply(self._param(x, "feed_forward_in", linear.init, d, self.d_ff), x)
    if self.gated:
      gate = self._param(x, "feed_forward_gate", linear.init, d, self.d_ff)
      y = nn.silu(linear.apply(gate, x)) * y
    else:
      y = activations.gelu(y, approximate=False)
    y = linear.apply(self._param(x, "feed_forward_out", linear.init, self.d_ff, d), y)
    return y.reshape(shape)
