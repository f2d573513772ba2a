"""Where the encoder of a run comes from: drawn anew, another run's, or a published one.

A run keeps the encoder's shapes beside its tokenizer, so that to evaluate it and to predict
the folder that it began from is not needed any more.
"""

import json
import pathlib
from typing import NamedTuple

import ml_collections
import tokenizers

import dlx
from dlx.data import tokens
from dlx.data.labelled_text import LabelledTexts
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.models import bert
from dlx.models.transformer import Transformer

SHAPES, TOKENIZER = "encoder.json", "tokenizer.json"


class Encoder(NamedTuple):
  """Shapes, tokenizer, and what is known of the params.

  Attributes:
    options: the attributes of Transformer that give its params their shapes.
    tokenizer: that of its vocabulary.
    params: {"transformer": ...}, with a "head" where a classifier's is known; None for an
      encoder that is drawn anew.
  """

  options: dict
  tokenizer: tokenizers.Tokenizer
  params: dict | None = None


def make(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, data: LabelledTexts
) -> Encoder:
  """The encoder that training begins with.

  Args:
    config: with `encoder` for one that is drawn anew, or init_from.
    workdir: of the run; a tokenizer that is there already is taken.
    data: the training texts, for a new tokenizer.

  Raises:
    UserError: init_from names no encoder, or one that cannot be read, or whose learned
      positions do not reach data.max_length.
  """
  if config.init_from:
    encoder = _published(config.init_from) or _of_run(config.init_from)
  else:
    path, options = workdir / TOKENIZER, config.data
    if path.exists():
      tokenizer = tokens.load(path)
    else:
      tokenizer = tokens.learn(data.texts, options.vocab_size, lowercase=options.lowercase)
    shapes = {"vocab_size": tokenizer.get_vocab_size(), "max_length": options.max_length}
    encoder = Encoder({**shapes, **config.encoder.to_dict()}, tokenizer)
  reach = encoder.options["max_length"]
  if encoder.options["positions"] == "learned" and config.data.max_length > reach:
    raise UserError(
        f"config.data.max_length is {config.data.max_length}, but the encoder has learned "
        f"{reach} positions only; use at most that"
    )
  return encoder


def _published(directory: str) -> Encoder | None:
  if not bert.is_folder(directory):
    return None
  options, tokenizer = bert.read_options(directory), tokens.load(f"{directory}/{TOKENIZER}")
  if tokenizer.get_vocab_size() != options["vocab_size"]:
    raise UserError(
        f"{directory}: {TOKENIZER} has {tokenizer.get_vocab_size()} tokens, but the encoder "
        f"has {options['vocab_size']}; they do not belong together"
    )
  return Encoder(options, tokenizer, {"transformer": bert.read_params(directory)})


def _of_run(directory: str) -> Encoder:
  run = dlx.load_run(directory)
  params = run.params.get("network", run.params)
  if "transformer" not in params:
    raise UserError(f"config.init_from={directory} is a run of {run.config.experiment}: no encoder")
  params = {name: params[name] for name in ("transformer", "head") if name in params}
  return Encoder(*load(run.workdir), params)


def save(encoder: Encoder, workdir: pathlib.Path) -> None:
  """Writes the shapes and the tokenizer, from the first process."""
  if processes.is_first():
    (workdir / SHAPES).write_text(json.dumps(encoder.options, indent=2) + "\n")
    encoder.tokenizer.save(str(workdir / TOKENIZER))


def load(workdir: pathlib.Path) -> tuple[dict, tokenizers.Tokenizer]:
  """The shapes and the tokenizer of a run."""
  return json.loads((workdir / SHAPES).read_text()), tokens.load(workdir / TOKENIZER)


def make_transformer(config: ml_collections.ConfigDict, options: dict) -> Transformer:
  """The network of these shapes, with the config's dropout, adapters and dtype."""
  names = ("dropout_rate", "adapter_size", "dtype")
  return Transformer(**options, **{name: config.model[name] for name in names})
