"""The recurrent benchmark compares equal computations, and its program runs."""

import json

from absl.testing import flagsaver
import jax
import numpy as np
import pytest

from benchmarks import recurrent

TINY = recurrent.Size(batch=2, length=3, d=4, hidden=5, steps=2)


@pytest.fixture(autouse=True)
def one_torch_thread(monkeypatch):
  """Spinning OpenMP threads take minutes when another process shares the cores."""
  monkeypatch.setattr(recurrent.timing.doctor, "cores", lambda: 1)
  if recurrent.torch is not None:
    recurrent.torch.set_num_threads(1)


def test_flops_are_those_of_the_matrix_products():
  tokens = 2 * 3
  products = tokens * (4 * 15 + 5 * 15 + 5 * 65)
  assert recurrent.flops(TINY, "forward") == 2 * products
  assert recurrent.flops(TINY, "training") == 6 * products


@pytest.mark.full
def test_flax_computes_the_same_loss_and_gradients():
  params = recurrent.make_params(TINY)
  tokens = recurrent.make_tokens(TINY)[0]
  values = recurrent.check_equal(TINY, params)
  assert values["dlx"] == pytest.approx(values["Flax"], abs=1e-5)
  ours = recurrent.flax_params(jax.grad(recurrent.dlx_loss)(params, tokens))
  theirs = jax.grad(recurrent.flax_loss)(recurrent.flax_params(params), tokens)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, theirs)


def test_torch_computes_the_same_loss_and_gradients():
  torch = pytest.importorskip("torch")
  params = recurrent.make_params(TINY)
  tokens = recurrent.make_tokens(TINY)[0]
  values = recurrent.check_equal(TINY, params)
  assert values["dlx"] == pytest.approx(values["PyTorch"], abs=1e-5)
  ours = jax.grad(recurrent.dlx_loss)(params, tokens)
  model = recurrent.TorchModel(params)
  model.loss(torch.tensor(tokens, dtype=torch.long)).backward()
  lookup, unroll, out = model.layers
  for gradient, parameter in [
      (ours["embedding"]["embedding"], lookup.weight),
      (ours["gru"]["input"].T, unroll.weight_ih_l0),
      (ours["gru"]["hidden"].T, unroll.weight_hh_l0),
      (ours["gru"]["hidden_bias"], unroll.bias_hh_l0),
      (ours["out"]["kernel"].T, out.weight),
  ]:
    np.testing.assert_allclose(gradient, parameter.grad, atol=1e-6)


def test_different_weights_are_refused(monkeypatch):
  flax_params = recurrent.flax_params

  def wrong(params):
    params = flax_params(params)
    params["gru"]["hn"]["bias"] = params["gru"]["hn"]["bias"] + 1
    return params

  monkeypatch.setattr(recurrent, "flax_params", wrong)
  with pytest.raises(RuntimeError, match="losses of the same weights differ"):
    recurrent.check_equal(TINY, recurrent.make_params(TINY))


@pytest.mark.full
@pytest.mark.parametrize("with_torch", [True, False])
def test_main_prints_and_writes_the_rows(tmp_path, monkeypatch, capsys, with_torch):
  if with_torch:
    pytest.importorskip("torch")
  else:
    monkeypatch.setattr(recurrent, "torch", None)
  monkeypatch.setattr(recurrent, "SIZES", (TINY,))
  monkeypatch.setattr(recurrent.timing, "PEAK_SIZE", 64)
  output = tmp_path / "result.json"
  with flagsaver.as_parsed(rounds="1", output=str(output)):
    recurrent.main(["recurrent"])
  printed = capsys.readouterr()
  result = json.loads(output.read_text())
  libraries = ["dlx", "dlx, reset_after=False", "Flax"] + ["PyTorch"] * with_torch
  assert [row["library"] for row in result["rows"]] == 2 * libraries
  assert all(row["ms_per_step"] > 0 for row in result["rows"])
  assert all(library in printed.out for library in libraries)
  assert ("pip install" in printed.err) != with_torch
