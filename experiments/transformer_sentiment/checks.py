"""Which values a config may have, and which parameters its `trainable` means."""

from collections.abc import Callable
import re

import jax
import ml_collections

from dlx.errors import UserError
from dlx.models import transformer
from dlx.runs import workdir as workdirs

DTYPES = ("float32", "bfloat16", "float64")
POOLING = ("mean", "max", "first")
TRAINABLE = ("all", "head", "adapters", "bias", "last_N")
_LEAST = {
    "data.max_length": 4, "data.buckets": 1, "data.batch_size": 1, "encoder.d_model": 1,
    "encoder.num_layers": 1, "encoder.num_heads": 1, "encoder.d_ff": 1, "encoder.window": 1,
    "model.adapter_size": 0, "model.ngrams": 0, "model.ngram_rows": 1,
}  # fmt: skip


def check_config(config: ml_collections.ConfigDict) -> None:
  """Raises UserError for a choice that is none, or a number out of its range."""
  values = workdirs.flatten(config.to_dict())
  choices = {
      "encoder.positions": transformer.POSITIONS, "model.pooling": POOLING, "model.dtype": DTYPES,
  }  # fmt: skip
  for key, known in choices.items():
    if values[key] not in known:
      raise UserError(f"config.{key} is {values[key]!r}; use {', '.join(known)}")
  for key, bound in _LEAST.items():
    if values[key] < bound:
      raise UserError(f"config.{key} is {values[key]}; it must be at least {bound}")
  for key in ("data.word_dropout", "model.dropout_rate", "label_smoothing"):
    if not 0 <= values[key] < 1:
      raise UserError(f"config.{key} is {values[key]}; use 0 <= rate < 1")
  for key in ("optimizer.layer_decay", "data.mask_rate"):
    if not 0 < values[key] <= 1:
      raise UserError(f"config.{key} is {values[key]}; it must be above 0 and at most 1")
  if config.model.dtype == "float64" and not jax.config.jax_enable_x64:
    raise UserError("config.model.dtype is float64, which jax has only with JAX_ENABLE_X64=1 set")
  encoder = config.encoder
  if encoder.d_model % (2 * encoder.num_heads):
    raise UserError(
        f"config.encoder.d_model is {encoder.d_model}; it must be a multiple of twice num_heads, "
        f"{2 * encoder.num_heads}"
    )
  if not re.fullmatch(r"all|head|adapters|bias|last_[1-9]\d*", config.trainable):
    raise UserError(
        f"config.trainable is {config.trainable!r}; use {', '.join(TRAINABLE)} with a number as N"
    )
  if config.trainable == "adapters" and not config.model.adapter_size:
    raise UserError("config.trainable is adapters; give them a --config.model.adapter_size, say 64")


def is_trained(trainable: str, num_layers: int) -> Callable[[str], bool]:
  """Whether a parameter of that name is trained; the head and the n-grams always are.

  "adapters" trains the norms, too, "bias" every bias, and "last_N" the last N blocks with
  what stands behind them.

  Args:
    trainable: "all", "head", "adapters", "bias" or "last_N".
    num_layers: of the encoder.

  Source: Houlsby et al., "Parameter-efficient transfer learning for NLP" (2019); Ben
    Zaken et al., "BitFit" (2022).
  """

  def trained(name: str) -> bool:
    if trainable == "all" or not name.startswith("network.transformer."):
      return True
    if trainable == "adapters":
      return "adapter" in name or "norm" in name
    if trainable == "bias":
      return name.endswith(".bias")
    if trainable == "head":
      return False
    return blocks_above(name, num_layers) < int(trainable.removeprefix("last_"))

  return trained


def blocks_above(name: str, num_layers: int) -> int:
  """How many blocks stand above a parameter: 0 in the last one and in the head.

  That of an embedding is one more than that of the first block.
  """
  block = re.search(r"transformer\.block(\d+)\.", name)
  if block:
    return num_layers - 1 - int(block[1])
  above = ("network.transformer.final_norm.", "network.head.", "ngrams.")
  return 0 if name.startswith(above) else num_layers
