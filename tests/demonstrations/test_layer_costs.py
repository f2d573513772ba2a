"""The counts of four kinds of layers, against the formulas of table 1 of Vaswani et al. (2017)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from demonstrations import layer_costs
from dlx.layers import attention
from dlx.reports.costs import cost

EXPECTED = {  # (operations, steps, longest path) by hand.
    "self-attention": lambda n, d, k: (2 * n * n * d, 2, 2),
    "recurrent": lambda n, d, k: (2 * n * d * d, n, n),
    "convolution": lambda n, d, k: (k * n * d * d, 1, {(16, 3): 3, (32, 3): 4, (16, 5): 2}[n, k]),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("n, d, k", [(16, 4, 3), (32, 4, 3), (16, 6, 5)])
def test_counts_are_those_of_the_table(name, n, d, k):
  counted = layer_costs.count(name, n=n, d=d, k=k)
  assert counted == EXPECTED[name](n, d, k) == layer_costs.KINDS[name].formula(n, d, k)


@pytest.mark.full
@pytest.mark.parametrize("n, d, k, blocks", [(32, 4, 3, 22), (48, 4, 9, 34), (32, 3, 33, 52)])
def test_a_window_costs_the_blocks_that_it_touches(n, d, k, blocks):
  """The diagonal's blocks of 4 x 4 and their neighbours, 3 n / 4 - 2; with w = 16 four of them."""
  counted = layer_costs.count("restricted self-attention", n=n, d=d, k=k)
  formula = layer_costs.KINDS["restricted self-attention"].formula(n, d, k)
  assert counted.operations == 2 * 4 * 4 * d * blocks
  assert counted[1:] == formula[1:] == (2, 2 * int(np.ceil((n - 1) / (k // 2))))
  assert formula.operations == 2 * k * n * d


def test_a_window_costs_linearly_in_n_and_its_mask_quadratically():
  kind, blocks, all_ = layer_costs.KINDS["restricted self-attention"], [], []
  for n in (16, 32, 64):
    x = jax.ShapeDtypeStruct((1, n, 4), jnp.float32)
    masked = lambda x: attention.dot_product_attention(  # noqa: E731
        x, x, x, local_window_size=4, implementation="autodiff")  # fmt: skip
    all_.append(cost(masked, x).multiplications)
    blocks.append(cost(lambda x: kind.counted(x, 9), jax.ShapeDtypeStruct((n, 4), jnp.float32))[0])
  assert np.diff(blocks, 2)[0] == 2 * 4 * 4 * 4 * 3 * 4  # 3 / 4 blocks a position, exactly.
  assert all_ == [2 * n * n * 4 for n in (16, 32, 64)]


def test_the_blocks_compute_restricted_attention(x64):
  x = jnp.asarray(np.random.default_rng(0).normal(size=(48, 4)))
  kind = layer_costs.KINDS["restricted self-attention"]
  np.testing.assert_allclose(kind.counted(x, 9), kind.layer(x, 9, 1), rtol=1e-12)
