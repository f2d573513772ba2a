"""The recurrent encoder and decoder, with and without attention.

  m = bidirectional(x)                                   the encoder's states
  h_t = cell(h_{t-1}, y_{t-1}),  h_0 = tanh(W [m_S, m_1])  the decoder's, of the last forward and
                                                         the last backward state
  s_t = h_t, or with attention tanh(W_c [c_t, h_t]),  c_t = sum_s a_ts m_s

Attention follows the recurrence, as in Luong et al., so that the decoder reads a whole target in
one scan, and all its attention is one product.

Source: Sutskever, Vinyals, Le, "Sequence to sequence learning with neural networks" (2014); Cho
  et al. (2014); see dlx.layers.alignment for attention.
"""

from flax import core
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dlx.layers import alignment, embedding, linear, recurrent
from dlx.layers.dropout import dropout


class RecurrentPair(nn.Module):
  """An encoder and a decoder of recurrent layers.

  Attributes:
    d_model: D, features of a target's state; an encoder's direction has D / 2.
    num_layers: of the encoder, and of the decoder.
    cell: "gru", "lstm" or "rnn".
    attention: "none", "additive" or "multiplicative".
    dropout_rate: of the embeddings, between layers and of the result.
  """

  d_model: int
  num_layers: int = 1
  cell: str = "gru"
  attention: str = "additive"
  dropout_rate: float = 0.0

  reorder = None  # Beams are arrays (B, K, ...) of the carry.

  def setup(self):
    """Draws all parameters; the two methods share them."""
    cell, d = recurrent.CELLS[self.cell], self.d_model
    self.encoder = [
        self.param(f"encoder{i}", recurrent.init_bidirectional, d, d // 2, cell=cell)
        for i in range(self.num_layers)
    ]
    self.decoder = self.param("decoder", recurrent.init, d, d, self.num_layers, cell=cell)
    parts = 2 if self.cell == "lstm" else 1
    self.bridge = self.param("bridge", linear.init, parts * d, self.num_layers * parts * d)
    if self.attention != "none":
      self.align = self.param("attention", lambda r: alignment.init(r, self.attention, d, d))
      self.combine = self.param("combine", linear.init, 2 * d, d)

  def encode(
      self, table: dict, source: Int[Array, "B S"], mask: Bool[Array, "B S"], train: bool = False
  ) -> tuple[dict, list]:
    """(memory, carry): the encoder's states with their keys, and the decoder's first states."""
    cell = recurrent.CELLS[self.cell]
    xs = embedding.lookup(table, source)
    for layer in self.encoder:
      xs = self._drop(xs, train)
      ends, xs = recurrent.bidirectional(core.unfreeze(layer), xs, cell=cell, lengths=mask.sum(-1))
    first = jnp.concatenate(jax.tree.leaves(ends), -1)  # [forward, backward], of the LSTM c and h.
    first = jnp.tanh(linear.apply(self.bridge, first))
    states = jnp.split(first, first.shape[-1] // self.d_model, -1)
    carry = list(zip(states[::2], states[1::2])) if self.cell == "lstm" else states
    memory = {"states": xs, "mask": mask}
    if self.attention != "none":
      memory["keys"] = alignment.project(self.align, xs)
    return memory, carry

  def start(self, memory: dict, carry: list, width: int | None = None) -> tuple[dict, list]:
    """(memory, carry) for reading one token after the other: the same, also for beams."""
    return memory, carry

  def decode(
      self, table: dict, memory: dict, carry: list, ids: Int[Array, "B ... T"], train: bool = False
  ) -> tuple[list, Float[Array, "B ... T D"]]:
    """(carry, states) of target tokens after those in the carry."""
    xs = self._drop(embedding.lookup(table, ids), train)
    options = {"rng": self.make_rng("dropout")} if train else {}
    layers = [core.unfreeze(layer) for layer in self.decoder]  # Linen freezes attributes.
    carry, states = recurrent.scan(
        layers, xs, carry, cell=recurrent.CELLS[self.cell], dropout_rate=self.dropout_rate,
        **options,
    )  # fmt: skip
    if self.attention != "none":
      rows = states.reshape(len(states), -1, self.d_model)
      a = alignment.weights(self.align, rows, memory["keys"], memory["mask"])
      self.sow("attention", "alignment", a)
      rows = jnp.concatenate([a @ memory["states"], rows], -1)
      states = jnp.tanh(linear.apply(self.combine, rows)).reshape(states.shape)
    return carry, self._drop(states, train)

  def _drop(self, x, train):
    return dropout(self.make_rng("dropout"), x, rate=self.dropout_rate) if train else x
