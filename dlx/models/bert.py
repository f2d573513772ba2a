"""Pretrained encoders: loads BERT checkpoints into dlx.models.transformer.Transformer.

  config.json         the shapes, with model_type "bert"
  model.safetensors   the parameters, under the names of the transformers library
  tokenizer.json      the vocabulary

PyTorch's linear layers store kernels as (d_out, d_in); they are transposed here.

Source: Devlin et al., "BERT" (2019); Wang et al., "MiniLM" (2020).
"""

import json
import math
import pathlib

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from dlx import paths
from dlx.errors import UserError

CONFIG, WEIGHTS = "config.json", "model.safetensors"

_KEYS = {
    "vocab_size": "vocab_size", "d_model": "hidden_size", "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads", "d_ff": "intermediate_size", "eps": "layer_norm_eps",
    "max_length": "max_position_embeddings", "num_segments": "type_vocab_size",
}  # fmt: skip
_SUPPORTED = {
    "model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute",
}  # fmt: skip
_EMBEDDINGS = {"embedding": "word", "positions": "position", "segments": "token_type"}
_LINEAR = {
    ("attention", "query"): "attention.self.query",
    ("attention", "key"): "attention.self.key",
    ("attention", "value"): "attention.self.value",
    ("attention", "out"): "attention.output.dense",
    ("feed_forward_in",): "intermediate.dense",
    ("feed_forward_out",): "output.dense",
}
_NORMS = {
    ("attention_norm",): "attention.output.LayerNorm", ("feed_forward_norm",): "output.LayerNorm",
}  # fmt: skip


def is_folder(directory: str | pathlib.Path) -> bool:
  """Whether a folder holds a pretrained encoder of some model type."""
  return "model_type" in (_read_json(pathlib.Path(paths.expand(directory)) / CONFIG) or {})


def read_options(directory: str | pathlib.Path) -> dict:
  """The attributes of Transformer for a folder's encoder.

  Raises:
    UserError: config.json is missing, corrupted, or of an unsupported network; or a size in it
      is not possible.
  """
  path = pathlib.Path(paths.expand(directory)) / CONFIG
  config = _read_json(path)
  if config is None:
    raise UserError(f"{path} is missing or not valid JSON; it should describe the encoder")
  for key, known in _SUPPORTED.items():
    if config.get(key, known) != known:
      raise UserError(f"{path}: {key} is {config[key]!r}; only {known!r} is supported")
  for ours, theirs in _KEYS.items():
    value = config.get(theirs)
    valid = type(value) is int and value > 0
    if ours == "eps":
      valid = type(value) in (int, float) and 0 <= value < math.inf
    if not valid:
      kind = "a number of at least 0" if ours == "eps" else "a positive integer"
      raise UserError(f"{path}: {theirs} is {value!r}; expected {kind}")
  options = {ours: config[theirs] for ours, theirs in _KEYS.items()}
  if options["d_model"] % options["num_heads"]:
    raise UserError(
        f"{path}: num_attention_heads is {options['num_heads']}; expected a divisor of "
        f"hidden_size, {options['d_model']}"
    )
  return {**options, "positions": "learned", "norm_first": False}


def read_params(directory: str | pathlib.Path) -> dict:
  """The params of Transformer with `read_options`; a pooler or a head is ignored.

  Raises:
    UserError: as for `read_options`, or the weights are missing or corrupted, or the named
      tensor is missing or does not have the shape that config.json implies.
  """
  options = read_options(directory)
  path = pathlib.Path(paths.expand(directory)) / WEIGHTS
  try:
    tensors = load_file(path)
  except FileNotFoundError:
    raise UserError(f"{path} does not exist; it should hold the encoder's weights") from None
  except (SafetensorError, OSError, ValueError, TypeError) as e:
    raise UserError(f"{path} cannot be read: {e}") from None
  # In a checkpoint with a head, the encoder's names have a prefix.
  tensors = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
  return _Reader(path, tensors).params(options)


class _Reader:
  """Reads tensors by their published names and checks their shapes."""

  def __init__(self, path: pathlib.Path, tensors: dict[str, np.ndarray]):
    self._path, self._tensors = path, tensors

  def params(self, options: dict) -> dict:
    d = options["d_model"]
    rows = (options["vocab_size"], options["max_length"], options["num_segments"])
    params = {
        ours: {"embedding": self._tensor(f"embeddings.{theirs}_embeddings.weight", (count, d))}
        for (ours, theirs), count in zip(_EMBEDDINGS.items(), rows)
    }
    params["embedding_norm"] = self._norm("embeddings.LayerNorm", d)
    for i in range(options["num_layers"]):
      params[f"block{i}"] = self._block(f"encoder.layer.{i}", d, options["d_ff"])
    return params

  def _block(self, prefix: str, d: int, d_ff: int) -> dict:
    block = {"attention": {}}
    sizes = {("feed_forward_in",): (d, d_ff), ("feed_forward_out",): (d_ff, d)}
    for (*folder, name), theirs in _LINEAR.items():
      d_in, d_out = sizes.get((*folder, name), (d, d))
      kernel = self._tensor(f"{prefix}.{theirs}.weight", (d_out, d_in)).T
      layer = {"kernel": kernel, "bias": self._tensor(f"{prefix}.{theirs}.bias", (d_out,))}
      (block[folder[0]] if folder else block)[name] = layer
    for (name,), theirs in _NORMS.items():
      block[name] = self._norm(f"{prefix}.{theirs}", d)
    return block

  def _norm(self, prefix: str, d: int) -> dict:
    return {
        ours: self._tensor(f"{prefix}.{theirs}", (d,))
        for ours, theirs in (("scale", "weight"), ("bias", "bias"))
    }

  def _tensor(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
    # Older checkpoints name a norm's scale and bias gamma and beta.
    old = name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta")
    tensor = self._tensors.get(name, self._tensors.get(old))
    if tensor is None:
      raise UserError(f"{self._path} has no tensor {name}")
    if tensor.shape != shape:
      raise UserError(f"{self._path}: {name} has the shape {tensor.shape}, expected {shape}")
    return np.float32(tensor)


def _read_json(path: pathlib.Path) -> dict | None:
  try:
    content = json.loads(path.read_text())
  except (OSError, ValueError, RecursionError):
    return None
  return content if isinstance(content, dict) else None
