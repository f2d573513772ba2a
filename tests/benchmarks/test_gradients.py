"""The benchmark of gradients only compares equal computations."""

import functools
import json

from absl.testing import flagsaver
import numpy as np
import pytest

from benchmarks import gradients
from dlx.layers import gru, lstm

PROBLEMS = {
    "convolution": functools.partial(gradients.convolution, 2, 6, 3, 4),
    "strides of an even size": functools.partial(gradients.convolution, 2, 6, 3, 4, strides=2),
    "window 1": functools.partial(gradients.convolution, 2, 4, 3, 4, window=1),
    "max-pool": functools.partial(gradients.max_pooling, 2, 5, 3),
    "gru": functools.partial(gradients.recurrent, gru, (2, 3, 4, 5), wanted={}, reset_after=True),
    "gru, other form": functools.partial(
        gradients.recurrent, gru, (2, 3, 4, 5), wanted={}, reset_after=False
    ),
    "lstm": functools.partial(gradients.recurrent, lstm, (2, 3, 4, 5), wanted={}),
    "causal": functools.partial(gradients.scaled_dot_product, 1, 2, 7, 4, wanted={}),
    "padded": functools.partial(
        gradients.scaled_dot_product, 3, 2, 7, 4, wanted={}, is_causal=False
    ),
}


@pytest.fixture(autouse=True)
def one_torch_thread(monkeypatch):
  """OpenMP threads that spin take minutes when another process uses the cores."""
  monkeypatch.setattr(gradients.timing.doctor, "cores", lambda: 1)
  if gradients.layers_torch.torch is not None:
    gradients.layers_torch.torch.set_num_threads(1)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", PROBLEMS)
def test_all_implementations_compute_the_same_cotangents(name):
  calls = gradients.calls_of(PROBLEMS[name]())
  assert {"dlx", "autodiff"} <= set(calls)
  gradients.check_equal(calls, tolerance=1e-5)


def test_different_results_are_not_compared():
  calls = {name: (lambda v=v: (np.ones(3), v), 0.0) for name, v in (("dlx", 1.0), ("other", 1.1))}
  with pytest.raises(RuntimeError, match="other: the results differ from those of dlx"):
    gradients.check_equal(calls)


def test_causal_attention_counts_flops_below_the_diagonal_only():
  problem = gradients.scaled_dot_product(1, 1, 3, 2, wanted={})
  # Six pairs, two products of 2 * 2 FLOPs for each, three times with the backward pass.
  assert problem.flops == 3 * 2 * 6 * 2 * 2


def test_the_program_prints_and_writes_rows(monkeypatch, capsys, tmp_path):
  monkeypatch.setattr(gradients, "PROBLEMS", (PROBLEMS["gru"], PROBLEMS["causal"]))
  monkeypatch.setattr(gradients.timing, "PEAK_SIZE", 64)
  output = tmp_path / "rows.json"
  with flagsaver.as_parsed(rounds="1", output=str(output), only="gru"):
    gradients.main(["gradients"])
  rows = json.loads(output.read_text())["rows"]
  assert {row["problem"] for row in rows} == {"gru B2 T3 D4 H5"}
  assert [row["dlx_divided_by_this"] for row in rows if row["library"] == "dlx"] == [1.0]
  assert "gru B2 T3 D4 H5" in capsys.readouterr().out
