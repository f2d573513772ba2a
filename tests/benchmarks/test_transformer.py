"""The attention and encoder benchmarks compare equal computations, and their programs run."""

import functools
import json

from absl.testing import flagsaver
import jax
import numpy as np
import pytest

from benchmarks import attention, gradients, transformer

TINY = transformer.Size(batch=2, length=3, d_model=8, num_heads=2, d_ff=12, num_layers=2, steps=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  """Spinning OpenMP threads take minutes when another process shares the cores."""
  monkeypatch.setattr(transformer.timing.doctor, "cores", lambda: 1)
  monkeypatch.setattr(transformer.timing, "PEAK_SIZE", 64)
  if transformer.torch is not None:
    transformer.torch.set_num_threads(1)


def test_flops_are_those_of_the_matrix_products():
  tokens, projections, feed_forward = 2 * 3, 4 * 8 * 8, 2 * 8 * 12
  scores_and_mean = 2 * 3 * 8  # For each token: three keys, eight features, twice.
  products = 2 * tokens * (projections + feed_forward + scores_and_mean)
  assert TINY.flops("forward") == 2 * products
  assert TINY.flops("training") == 6 * products


@pytest.mark.full
def test_flax_computes_the_same_loss_and_gradients():
  params, batch = transformer.make_params(TINY), transformer.make_batches(TINY)[0]
  values = transformer.check_equal(TINY, params)
  assert values["dlx"] == pytest.approx(values["Flax"], abs=1e-5)
  ours = jax.grad(transformer.dlx_loss(TINY))(params, batch)
  theirs = jax.grad(transformer.flax_loss(TINY))(transformer.flax_params(TINY, params), batch)
  expected = transformer.flax_params(TINY, ours)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), theirs, expected)


def test_torch_computes_the_same_loss_and_gradients():
  torch = pytest.importorskip("torch")
  params, batch = transformer.make_params(TINY), transformer.make_batches(TINY)[0]
  assert transformer.check_equal(TINY, params)["PyTorch"] > 0
  ours = jax.grad(transformer.dlx_loss(TINY))(params, batch)
  model = transformer.torch_model(TINY, params)
  transformer.torch_loss(model, torch.tensor(batch)).backward()
  for layer, block in zip(model.layers, ours):
    for name, value in transformer._torch_values(block).items():
      np.testing.assert_allclose(layer.get_parameter(name).grad, value, atol=1e-5)


@pytest.mark.full
def test_the_encoder_program_prints_and_writes_rows(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(transformer, "Size", lambda: TINY)
  output = tmp_path / "rows.json"
  with flagsaver.as_parsed(rounds="1", output=str(output)):
    transformer.main(["transformer"])
  rows = json.loads(output.read_text())["rows"]
  assert {row["measurement"] for row in rows} == {"forward", "training"}
  assert all(row["ms_per_step"] > 0 for row in rows)
  assert "same loss" in capsys.readouterr().out


@pytest.mark.full
def test_the_attention_program_measures_both_masks(tmp_path, monkeypatch, capsys):
  problems = [functools.partial(p, *(2, 2, 5, 4)) for p in (
      functools.partial(gradients.scaled_dot_product, wanted={}, is_causal=causal)
      for causal in (True, False)
  )]  # fmt: skip
  monkeypatch.setattr(attention, "PROBLEMS", problems)
  output = tmp_path / "rows.json"
  with flagsaver.as_parsed(rounds="1", output=str(output), only=""):
    attention.main(["attention"])
  names = {row["problem"] for row in json.loads(output.read_text())["rows"]}
  assert names == {"causal attention 2x2x5x4", "padded attention 2x2x5x4"}
  assert "padded attention" in capsys.readouterr().out
