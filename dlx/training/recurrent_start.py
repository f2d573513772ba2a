"""A recurrent classifier that starts from the first layer of a bidirectional language model.

Its embedding and its first layer are those of the language model, which has learned from documents
without labels; all params are trained on.

Source: Dai and Le, "Semi-supervised sequence learning" (2015), with a language model of each
  direction.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dlx.data import tokens, word_vectors
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.models import word_start
from dlx.settings import Rule, run
from dlx.training import contextual

SETTINGS = {"init_from": run("experiments.bidirectional_lm:debug_documents", optional=True)}
RULE = Rule(
    lambda c: c.init_from is None or c.init_vectors is None,
    "init_from and init_vectors both name what the words start from; give one of them",
    {"init_from": "runs/lm", "init_vectors": "vectors.txt"},
)
_LAYER = "layer_0"


def load(config, words: Sequence[str]) -> dict:
  """The params that a classifier takes from the run config.init_from.

  Args:
    config: `init_from`, `seed`, and `model` with d_word, d_hidden and cell.
    words: of the classifier, without special tokens.

  Raises:
    UserError: the run is none of a bidirectional language model, its layer has another shape, or
      it has none of the words.
  """
  source, model = config.init_from, config.model
  other = contextual.open_run(source)
  shapes, params = other.assets["shapes"], other.params
  expected = {"cell": shapes["cell"], "d_word": shapes["d"], "d_hidden": shapes["d"]}
  for name, value in expected.items():
    if model[name] != value:
      raise UserError(
          f"config.model.{name} is {model[name]}, the layer of {source} needs {value}; set "
          + ", ".join(f"--config.model.{n}={v}" for n, v in expected.items())
      )
  table, known = np.asarray(params[word_start.NAME]["embedding"]), other.assets["words"]
  found = word_vectors.WordVectors(known, table[1:-1])
  rows, count = word_vectors.table_of(found, words, np.random.default_rng(config.seed), source)
  processes.notice(f"{source} has {count:,} of the {len(words):,} words")
  # The language model's unknown word, and its boundary before and after a text.
  special = {tokens.UNKNOWN: table[0], tokens.FIRST: table[-1], tokens.LAST: table[-1]}
  first = [special.get(token, np.zeros_like(table[0])) for token in tokens.SPECIAL]
  rows = np.concatenate([first, rows])
  directions = {name: params[f"{name}_0"] for name in ("forward", "backward")}
  return {word_start.NAME: {"embedding": rows}, _LAYER: directions}


def start(params: dict, pretrained: dict | None) -> dict:
  """The params with those of `load`, in their dtypes; unchanged without them."""
  given = pretrained or {}
  own = {name: params[name] for name in given}
  return {**params, **jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), given, own)}
