"""Figures for other programs: --json."""

import json
import math
from typing import Any

from absl import flags

flags.disclaim_key_flags()  # The flag belongs to the module that calls `define_flag`.


def define_flag() -> None:
  """Defines --json, which is None where it is not given."""
  flags.DEFINE_bool("json", None, "Print JSON, one object per line; null is not a finite number.")


def print_json(value: Any) -> None:
  """Prints one line of strict JSON."""
  print(json.dumps(_finite(value), allow_nan=False), flush=True)


def _finite(value: Any) -> Any:
  if isinstance(value, dict):
    return {key: _finite(inner) for key, inner in value.items()}
  return None if isinstance(value, float) and not math.isfinite(value) else value
