"""What the experiments' tests share."""

import json

import ml_collections
import pytest


@pytest.fixture
def whole_preset():
  """`whole_preset(configs, experiment, preset)`: a config that has every key, locked and valid."""

  def check(configs, experiment, preset: str) -> ml_collections.ConfigDict:
    config, base = configs.get_config(preset), configs.get_config()

    def keys(c):
      return {k: keys(c[k]) if isinstance(c[k], ml_collections.ConfigDict) else None for k in c}

    assert keys(config) == keys(base) and config.is_locked and config.preset == preset
    assert experiment.__name__ == f"{config.experiment}.experiment"
    experiment.check_config(config)
    assert json.loads(json.dumps(config.to_dict())) == config.to_dict()
    return config

  return check
