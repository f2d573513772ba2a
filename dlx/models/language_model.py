"""A recurrent language model: embedding, a stack of recurrent layers, output layer."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float, Int

from dlx.layers import embedding, gru, linear, recurrent
from dlx.layers.dropout import dropout


class RecurrentLanguageModel(nn.Module):
  """Logits of the next token after each token of a sequence.

  Attributes:
    vocab_size: V.
    d_embed: D, the size of the embedding.
    d_hidden: H, the size of a layer's state.
    num_layers: L.
    cell: "rnn", "gru" or "lstm".
    reset_after: the form of the GRU; ignored by the other cells.
    dropout_rate: between the layers and before the output layer.
    recurrent_dropout_rate: on the hidden kernels.
    residual: add each layer's input to its output, except in the first layer.
    tied: the output layer has the embedding's transpose as its kernel, so that D = H. A word's
      vector is then trained by every prediction too: with large vocabularies and little text,
      half the parameters and a lower perplexity.
    embedding_dropout_rate: on the embeddings of the inputs.
  """

  vocab_size: int
  d_embed: int
  d_hidden: int
  num_layers: int
  cell: str = "gru"
  reset_after: bool = True
  dropout_rate: float = 0.0
  recurrent_dropout_rate: float = 0.0
  residual: bool = False
  tied: bool = False
  embedding_dropout_rate: float = 0.0

  @nn.compact
  def __call__(
      self, ids: Int[Array, "... T"], carries: list | None = None, *, train: bool = False
  ) -> tuple[Float[Array, "... T V"], list]:
    """Maps ids `(..., T)` to (logits `(..., T, V)`, the last carry of each layer).

    Args:
      ids: token ids.
      carries: the initial carry of each layer, zeros if None.
      train: draw dropout masks, from the key "dropout".
    """
    cell = recurrent.CELLS[self.cell]
    options = {"reset_after": self.reset_after} if cell is gru else {}
    table = self.param("embedding", embedding.init, self.vocab_size, self.d_embed)
    layers = self.param(
        "recurrent",
        lambda rng: recurrent.init(
            rng, self.d_embed, self.d_hidden, self.num_layers, cell=cell, **options
        ),
    )
    if self.tied:
      bias = self.param("bias", nn.initializers.zeros, (self.vocab_size,))
    else:
      output = self.param("output", linear.init, self.d_hidden, self.vocab_size)

    stack_rng, output_rng = jax.random.split(self.make_rng("dropout")) if train else (None, None)
    drop_inputs = train and self.embedding_dropout_rate > 0
    xs = ids
    if ids.size >= self.vocab_size and not drop_inputs:
      layers = [embedding.fold(table, layers[0]), *layers[1:]]
    else:
      xs = embedding.lookup(table, ids)
    if drop_inputs:
      xs = dropout(self.make_rng("dropout"), xs, rate=self.embedding_dropout_rate)

    carries, ys = recurrent.scan(
        layers,
        xs,
        carries,
        cell=cell,
        dropout_rate=self.dropout_rate,
        recurrent_dropout_rate=self.recurrent_dropout_rate,
        residual=self.residual,
        rng=stack_rng,
        **options,
    )
    if train:
      ys = dropout(output_rng, ys, rate=self.dropout_rate)
    if self.tied:
      return embedding.logits(table, ys) + bias, carries
    return linear.apply(output, ys), carries
