"""The network of pairs that a run starts from: the one of its config, or that of another run.

Assets keep the vocabularies and, of another run, the sizes, so that it is not needed for
evaluation.
"""

from collections.abc import Mapping

import ml_collections

import dlx
from dlx import presets
from dlx.errors import UserError

_OWN = ("dropout_rate", "dtype")  # Of a new run; the other options are those of its parameters.
_EQUAL = ("data.source_tokens", "data.target_tokens", "data.joint_vocabulary", "model.architecture")


def assets_of(config: ml_collections.ConfigDict) -> dict:
  """The vocabularies and the "network", its options, of the run config.init_from.

  Raises:
    UserError: it is a run of another experiment, of another kind of tokens or network, or of
      shorter texts.
  """
  run = dlx.load_run(config.init_from)
  if run.config.experiment != config.experiment:
    raise UserError(
        f"{config.init_from} is a run of {run.config.experiment}; expected {config.experiment}"
    )
  for key in _EQUAL:
    here, there = (presets.get(c, key) for c in (config, run.config))
    if here != there:
      raise UserError(f"config.{key} is {here}, but {there} in {config.init_from}; give it {there}")
  network = run.assets.get("network") or of_config(run.config)
  if config.data.max_length > network["max_length"]:
    raise UserError(
        f"config.data.max_length is {config.data.max_length}; expected at most "
        f"{network['max_length']}, that of {config.init_from}"
    )
  names = ("source", "target", "sentinels")
  return {**{name: run.assets[name] for name in names if name in run.assets}, "network": network}


def of_config(config: ml_collections.ConfigDict) -> dict:
  """The options of dlx.models.seq2seq.make, with "max_length"."""
  lengths = {"max_length": config.data.max_length, "shared": config.data.joint_vocabulary}
  return {**config.model.to_dict(), **lengths}


def options(config: ml_collections.ConfigDict, assets: Mapping) -> dict:
  """`of_config`, with the sizes of the run that the assets are from."""
  own = of_config(config)
  kept = {name: own[name] for name in _OWN if name in own}
  return {**assets.get("network", own), **kept}
