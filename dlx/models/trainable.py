"""Which parameters of a transformer classifier are fine-tuned, and how deep they are."""

from collections.abc import Callable
import re

PATTERN = r"all|head|adapters|prefixes|bias|last_[1-9]\d*"


def is_trained(trainable: str, num_layers: int) -> Callable[[str], bool] | None:
  """Whether the parameter of a name is trained; the head always is.

  Args:
    trainable: "all", for which the result is None; "head"; "adapters", which trains the norms
      too; "prefixes", the keys and values of prefixes; "bias", every bias; or "last_N", the last
      N blocks and everything above them.
    num_layers: of the encoder.

  Source: Houlsby et al., "Parameter-efficient transfer learning for NLP" (2019); Li and
    Liang, "Prefix-tuning" (2021); Ben Zaken et al., "BitFit" (2022).
  """

  def trained(name: str) -> bool:
    if not name.startswith("transformer."):
      return True
    if trainable == "adapters":
      return "adapter" in name or "norm" in name
    if trainable == "prefixes":
      return "prefix" in name
    if trainable == "bias":
      return name.endswith(".bias")
    if trainable == "head":
      return False
    return blocks_above(name, num_layers) < int(trainable.removeprefix("last_"))

  return None if trainable == "all" else trained


def blocks_above(name: str, num_layers: int) -> int:
  """The number of blocks above a parameter: 0 in the last block and in the head.

  For an embedding it is num_layers.
  """
  block = re.search(r"transformer\.block(\d+)\.", name)
  if block:
    return num_layers - 1 - int(block[1])
  above = ("transformer.final_norm.", "head.")
  return 0 if name.startswith(above) else num_layers
