"""The encoder that a run starts from: randomly initialized, from a run, or a published one.

Assets keep the encoder's shapes and its tokenizer, so that the source is not needed for
evaluation.
"""

from collections.abc import Iterable, Mapping

import ml_collections
import tokenizers

import dlx
from dlx import paths
from dlx.data import tokens
from dlx.errors import UserError
from dlx.models import bert
from dlx.models.transformer import Transformer


def make_assets(
    config: ml_collections.ConfigDict, documents: Iterable[str], *, num_segments: int = 0
) -> dict:
  """{"encoder": shapes, "tokenizer": JSON} of the encoder that training starts from.

  Args:
    config: `init_from`, a run or the folder of a published encoder; or, when it is None,
      `encoder` with the shapes, and `data` with vocab_size, lowercase and max_length.
    documents: the training documents, for a new tokenizer.
    num_segments: that documents have; a new encoder gets an embedding of them, if there are any.

  Raises:
    UserError: init_from names no encoder, or one that cannot be read, or whose learned
      positions are fewer than data.max_length, or that has fewer segments.
  """
  options = config.data
  if not config.init_from:
    tokenizer = tokens.train_bpe(documents, options.vocab_size, lowercase=options.lowercase)
    shapes = {"vocab_size": tokenizer.get_vocab_size(), "max_length": options.max_length}
    shapes |= config.encoder.to_dict()
    if num_segments:
      shapes["num_segments"] = num_segments
    return {"encoder": shapes, "tokenizer": tokens.to_json(tokenizer)}
  if bert.is_folder(config.init_from):
    tokenizer = tokens.load(f"{paths.expand(config.init_from)}/tokenizer.json")
    assets = {
        "encoder": bert.read_options(config.init_from), "tokenizer": tokens.to_json(tokenizer)
    }  # fmt: skip
    try:
      tokenizer_of(assets)
    except UserError as e:
      raise UserError(f"{config.init_from}: {e}") from None
  else:
    run = dlx.load_run(config.init_from)
    _params(run)
    assets = {name: run.assets[name] for name in ("encoder", "tokenizer")}
  shapes = assets["encoder"]
  if shapes["positions"] == "learned" and options.max_length > shapes["max_length"]:
    raise UserError(
        f"max_length: expected at most {shapes['max_length']}, the encoder's learned positions, "
        f"got {options.max_length}"
    )
  if shapes.get("num_segments", 0) < num_segments:
    raise UserError(
        f"{config.init_from}: its encoder has an embedding of {shapes.get('num_segments', 0)} "
        f"segments, but the documents have {num_segments}; start from another one, or from none"
    )
  return assets


def tokenizer_of(assets: Mapping) -> tokenizers.Tokenizer:
  """The tokenizer of the assets that `make_assets` returns.

  Published encoders often have more embeddings than tokens: their number is rounded up.

  Raises:
    UserError: it is not a tokenizer, or the encoder has fewer embeddings than it has tokens.
  """
  tokenizer, rows = tokens.from_json(assets["tokenizer"]), assets["encoder"]["vocab_size"]
  if tokens.num_ids(tokenizer) > rows:
    raise UserError(
        f"the tokenizer has {tokens.num_ids(tokenizer)} tokens, but the encoder {rows}; they do "
        f"not belong together"
    )
  return tokenizer


def load_params(source: str) -> dict:
  """{"transformer": ...} of a run or of a published encoder, with a classifier's "head"."""
  if bert.is_folder(source):
    return {"transformer": bert.read_params(source)}
  return _params(dlx.load_run(source))


def _params(run) -> dict:
  params = run.params if isinstance(run.params, dict) else {}
  if "transformer" not in params or "encoder" not in run.assets:
    raise UserError(f"{run.workdir} is a run of {run.config.experiment}, which has no encoder")
  return {name: params[name] for name in ("transformer", "head") if name in params}


def make_transformer(
    config: ml_collections.ConfigDict, assets: dict, **options
) -> Transformer:
  """The network of these shapes, with the dropout, adapters and dtype of config.model.

  Args:
    config: of an experiment.
    assets: see `make_assets`.
    **options: other attributes of Transformer.
  """
  names = ("dropout_rate", "adapter_size", "dtype")
  return Transformer(**assets["encoder"], **{name: config.model[name] for name in names}, **options)
