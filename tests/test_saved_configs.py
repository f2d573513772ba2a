"""Configs of runs from before their experiment gained or lost a setting."""

import sys
import types

import ml_collections
import pytest

from dlx import presets
from dlx.settings import count, number, one_of

EXPERIMENT = "table_of_test_saved_configs"
SETTINGS = {
    "data.batch_size": count(8),
    "model.cell": one_of("gru", "lstm"),
    "model.width": number(2.0),
    "model.forget_bias": number(1.0)._replace(when=("model.cell", ("lstm",))),
}


@pytest.fixture
def module():
  """The config module of an experiment that has given up two settings."""
  module = types.ModuleType(f"{EXPERIMENT}.config")
  module.SETTINGS, module.RETIRED = SETTINGS, ("data.column", "width")
  module.get_config = presets.make(EXPERIMENT, SETTINGS, {"small": {}})
  package = types.ModuleType(EXPERIMENT)
  package.__path__ = []
  sys.modules |= {EXPERIMENT: package, module.__name__: module}
  yield module
  del sys.modules[EXPERIMENT], sys.modules[module.__name__]


def saved(**values):
  config = {"experiment": EXPERIMENT, "preset": "small", "seed": 3, "data": {"batch_size": 4}}
  return ml_collections.ConfigDict({**config, **values})


def test_a_new_setting_has_its_default_where_it_is_used(module):
  config = saved(model={"cell": "gru"})
  found = presets.completed(config)
  presets.check(found)
  assert found.model == ml_collections.ConfigDict({"cell": "gru", "width": 2.0})
  assert (found.seed, found.data.batch_size) == (3, 4), "the run's own"
  assert presets.completed(saved(model={"cell": "lstm"})).model.forget_bias == 1.0
  assert "width" not in config.model, "a copy"


def test_a_retired_setting_is_dropped_from_a_run_and_refused_in_a_new_one(module):
  data = {"batch_size": 4, "column": "label"}
  config = saved(model={"cell": "gru"}, data=data, width=3)
  found = presets.completed(config)
  presets.check(found)
  assert "column" not in found.data and "width" not in found
  assert config.data.column == "label", "a copy"
  with pytest.raises(presets.UserError, match="data.column is not a key of this config"):
    module.get_config("small", {"data.column": "label"})


def test_the_experiments_give_up_no_setting_that_they_have():
  for experiment in ("masked_lm", "bidirectional_lm", "seq2seq"):
    module = presets.module_of(
        ml_collections.ConfigDict({"experiment": f"experiments.{experiment}"}), "config"
    )
    assert module.RETIRED and not set(module.RETIRED) & set(module.SETTINGS)
