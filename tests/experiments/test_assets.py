"""A run whose assets are not those of its variables: one line, from whatever reads them."""

import dataclasses

import numpy as np
import pytest

import dlx
from dlx.errors import UserError

ABSENT = object()
WRONG = (ABSENT, None, True, 3, "", "abc", [], [None], {}, [["a"]], -1.5, float("nan"))
SIZES = ([8, 8], [8, 8, 1, 1], [0, 8, 1], [-8, 8, 1], [10**9, 8, 1], [8.0, 8, 1], [[8], [8], [1]])
IMAGES = {"shape": (*WRONG, *SIZES), "classes": (*WRONG, {"0": "a", "1": "b"}, list(range(10)))}


def arrays(*shape):
  """Wrong values for an array of floats of this shape."""
  x = np.ones(shape, np.float32)
  return *WRONG, np.float32(1), x[None], x[:-1], np.r_[x, x], x.astype(int), x.astype(bool)


CASES = {
    "autoencoder": {**IMAGES, "mean": arrays(64)},
    "vae": {"shape": IMAGES["shape"]},
    "forecasting": {"mean": WRONG[:3] + WRONG[4:-2], "std": WRONG[:3] + WRONG[4:-2]},
    "gru_lm": {"characters": (*WRONG, ["a", 3], "abcabc")},
    "ngram_lm": {"characters": [value for value in WRONG if value != "abc"]},
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", CASES)
def test_wrong_assets_are_one_line(trained, name):
  run = dlx.load_run(trained(f"experiments.{name}:debug"))
  assert run.task
  for key, values in CASES[name].items():
    assert key in run.assets
    for value in values:
      assets = {**run.assets, key: value}
      if value is ABSENT:
        del assets[key]
      refused(dataclasses.replace(run, assets=assets), key, value)


def refused(run, key, value):
  with pytest.raises(UserError, match=f"{run.workdir} are not those of") as error:
    print(key, repr(value), run.task)
  assert "\n" not in str(error.value) and len(str(error.value)) < 500, (key, value)


@pytest.mark.full
@pytest.mark.parametrize("name", ["resnet_cifar10", "transformer_sentiment", "masked_lm"])
def test_wrong_assets_of_larger_models_are_one_line(trained, name):
  run = dlx.load_run(trained(f"experiments.{name}:debug"))
  other = {
      "classes": [ABSENT, {"0": "a", "1": "b"}, run.assets.get("classes", [])[:-1]],
      "shape": [None, [8.0, 8, 3]], "mean": [np.float32([[0, 0, 0]])], "std": ["abc"],
      "whitening": [3, np.ones((2, 2))], "tokenizer": [ABSENT, 3, "{}"],
      "encoder": [{}, {**run.assets.get("encoder", {}), "num_heads": 3},
                  {**run.assets.get("encoder", {}), "num_layers": 1.5}],
  }  # fmt: skip
  for key in run.assets.keys() & other.keys():
    for value in other[key]:
      assets = {k: v for k, v in {**run.assets, key: value}.items() if v is not ABSENT}
      with pytest.raises(UserError) as error:
        print(key, value, dataclasses.replace(run, assets=assets).task)
      assert "\n" not in str(error.value), (key, value)
