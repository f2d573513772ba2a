"""The convolutional encoder and decoder.

  x -> sqrt(1/2) (x + glu(W [x_{t-k/2} ... x_{t+k/2}]))                       encoder
  y = glu(W [x_{t-k+1} ... x_t]),  a = softmax(q . z),  q = U y + g
  x -> sqrt(1/2) (x + sqrt(1/2) (y + V sum_s a_s (z_s + e_s)))                decoder

with glu [u, v] = u * s(v), e and g the embeddings of source and target with learned positions,
and z the encoder's result.

Source: Gehring et al., "Convolutional sequence to sequence learning" (2017).
"""

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dlx.layers import attention, embedding, linear
from dlx.layers.dropout import dropout

_HALF = 0.5**0.5


class ConvolutionalPair(nn.Module):
  """An encoder and a decoder of convolutions over tokens.

  Attributes:
    d_model: D.
    num_layers: of the encoder, and of the decoder.
    kernel_size: k, tokens in a convolution.
    max_length: number of learned positions.
    dropout_rate: of the embeddings and of the input of each layer.
  """

  d_model: int
  num_layers: int = 3
  kernel_size: int = 3
  max_length: int = 512
  dropout_rate: float = 0.0

  reorder = None  # Beams are arrays (B, K, ...) of the carry.

  def setup(self):
    """Draws all parameters; the two methods share them."""
    d, width = self.d_model, self.kernel_size * self.d_model
    positions = lambda name: self.param(name, embedding.init, self.max_length, d)  # noqa: E731
    self.source_positions, self.positions = positions("source_positions"), positions("positions")
    layers = range(self.num_layers)
    self.encoder = [self.param(f"encoder{i}", linear.init, width, 2 * d) for i in layers]
    self.decoder = [self.param(f"decoder{i}", linear.init, width, 2 * d) for i in layers]
    self.queries = [self.param(f"query{i}", linear.init, d, d) for i in layers]
    self.contexts = [self.param(f"context{i}", linear.init, d, d) for i in layers]

  def encode(
      self, table: dict, source: Int[Array, "B S"], mask: Bool[Array, "B S"], train: bool = False
  ) -> tuple[dict, dict]:
    """(memory, carry): the encoder's states, and the zeros before the target."""
    rows = self.source_positions["embedding"][: source.shape[-1]]
    e = x = self._drop(embedding.lookup(table, source) + rows, train)
    before = (self.kernel_size - 1) // 2
    for layer in self.encoder:
      inputs = jnp.where(mask[..., None], self._drop(x, train), 0)
      inputs = jnp.pad(inputs, ((0, 0), (before, self.kernel_size - 1 - before), (0, 0)))
      x = _HALF * (x + self._convolve(layer, inputs))
    memory = {"keys": x, "values": x + e, "mask": mask}
    zeros = jnp.zeros((len(source), self.kernel_size - 1, self.d_model), x.dtype)
    carry = {"position": jnp.zeros((), jnp.int32), "windows": [zeros] * self.num_layers}
    return memory, carry

  def start(self, memory: dict, carry: dict, width: int | None = None) -> tuple[dict, dict]:
    """(memory, carry) for reading one token after the other: the same, also for beams."""
    return memory, carry

  def decode(
      self, table: dict, memory: dict, carry: dict, ids: Int[Array, "B ... T"], train: bool = False
  ) -> tuple[dict, Float[Array, "B ... T D"]]:
    """(carry, states) of target tokens after those in the carry."""
    length, position, windows = ids.shape[-1], carry["position"], []
    rows = lax.dynamic_slice_in_dim(self.positions["embedding"], position, length)
    g = x = self._drop(embedding.lookup(table, ids) + rows, train)
    for i, layer in enumerate(self.decoder):
      inputs = jnp.concatenate([carry["windows"][i], self._drop(x, train)], -2)
      windows.append(inputs[..., length:, :])
      y = self._convolve(layer, inputs)
      query = (linear.apply(self.queries[i], y) + g).reshape(len(ids), -1, self.d_model)
      a = attention.weights(query, memory["keys"], mask=memory["mask"][:, None], scale=1.0)
      self.sow("attention", "alignment", a)
      context = linear.apply(self.contexts[i], a @ memory["values"])
      x = _HALF * (x + _HALF * (y + context.reshape(y.shape)))
    return {"position": position + length, "windows": windows}, self._drop(x, train)

  def _convolve(self, params, x):
    """glu(W [x_t ... x_{t+k-1}]), with k - 1 fewer steps than x."""
    length = x.shape[-2] - self.kernel_size + 1
    windows = [x[..., i : i + length, :] for i in range(self.kernel_size)]
    u, v = jnp.split(linear.apply(params, jnp.concatenate(windows, -1)), 2, -1)
    return u * jax.nn.sigmoid(v)

  def _drop(self, x, train):
    return dropout(self.make_rng("dropout"), x, rate=self.dropout_rate) if train else x
