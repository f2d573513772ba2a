"""The frozen states of a bidirectional language model, as features of another model's words.

The other run's variables have the language model's params as a collection, LANGUAGE_MODEL, which
no optimizer changes, and its assets have the words, so that the source is not needed for
evaluation.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from dlx.data import tagged_arrays
from dlx.models.bidirectional_lm import BidirectionalLM
from dlx.training import finetuning

LANGUAGE_MODEL = "language_model"  # The collection, and the key of the assets.
_EXPERIMENT = "experiments.bidirectional_lm"
_SHAPES = ("d", "num_layers", "cell")


def of_config(config, words: Sequence[str]) -> dict:
  """The assets of a language model: its words, how they are read, and its shapes."""
  shapes = {name: config.model[name] for name in _SHAPES}
  return {"words": list(words), "lowercase": config.data.lowercase, "shapes": shapes}


def make_model(assets: Mapping, **options) -> BidirectionalLM:
  """The model with the shapes of `of_config`; options replace attributes."""
  return BidirectionalLM(len(assets["words"]) + 1, **{**assets["shapes"], **options})


def make_reader(assets: Mapping, max_length: int) -> Callable:
  """`read(words of sentences) -> {"ids", "lengths"}` in the language model's words."""
  id_of = tagged_arrays.word_ids(assets["words"], lowercase=assets["lowercase"])

  def read(words):
    found = tagged_arrays.encode(words, max_length=max_length, id_of=id_of, seen=frozenset())
    return {name: found[name] for name in ("ids", "lengths")}

  return read


def make_assets(source: str | None) -> dict:
  """{LANGUAGE_MODEL: assets} of a run; {} for None.

  Raises:
    UserError: the source is not a run, or one of another experiment.
  """
  return {LANGUAGE_MODEL: dict(open_run(source).assets)} if source else {}


def load_params(source: str) -> dict:
  """The params of a run; errors as for `make_assets`."""
  return open_run(source).params


def open_run(source: str):
  """The run of a bidirectional language model; errors as for `make_assets`."""
  return finetuning.open_run(source, _EXPERIMENT)


def with_ids(read: Callable, assets: Mapping, max_length: int) -> Callable:
  """`read(words of sentences) -> arrays`, with "context_ids" of the language model, if any."""
  if LANGUAGE_MODEL not in assets:
    return read
  ids_of = make_reader(assets[LANGUAGE_MODEL], max_length)
  return lambda words: {**read(words), "context_ids": ids_of(words)["ids"]}


def start(assets: Mapping, rng: jax.Array, params: dict | None) -> dict:
  """{LANGUAGE_MODEL: params}, in the model's dtypes; random ones for None; {} without a model."""
  if LANGUAGE_MODEL not in assets:
    return {}
  model, ids = make_model(assets[LANGUAGE_MODEL]), jnp.zeros((1, 2), jnp.int32)
  drawn = model.init(rng, ids, jnp.array([2]))["params"]
  if params is None:
    return {LANGUAGE_MODEL: drawn}
  return {LANGUAGE_MODEL: jax.tree.map(lambda p, like: jnp.asarray(p, like.dtype), params, drawn)}


def make_states(assets: Mapping) -> Callable:
  """`states(variables, batch) -> (B, L + 1, T, 2D)`, see `Outputs.layers`; None without a model.

  T is that of batch["ids"], which may be truncated.
  """
  if LANGUAGE_MODEL not in assets:
    return lambda variables, batch: None
  model = make_model(assets[LANGUAGE_MODEL])

  def states(variables, batch):
    ids = batch["context_ids"][:, : batch["ids"].shape[1]]
    return model.apply({"params": variables[LANGUAGE_MODEL]}, ids, batch["lengths"]).layers

  return states
