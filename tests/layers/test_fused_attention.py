"""The wrapper of cuDNN's attention, tested with jax.nn's XLA implementation in its place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx import platform
from dlx.layers import attention, fused_attention


def draw(*shape):
  return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def some_keys(*shape):
  """A mask that is False for all keys of one query."""
  mask = np.random.default_rng(1).random(shape) < 0.6
  mask[..., -1, :] = False
  return jnp.asarray(mask)


@pytest.mark.full
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("kind", ["none", "padding", "pairs", "heads"])
def test_values_and_gradients_match_the_plain_form(leading, is_causal, kind):
  *args, d_out = draw(4, *leading, 2, 5, 4)
  mask = {
      "none": None,
      "padding": jnp.broadcast_to(jnp.arange(5) >= 2, (*leading, 1, 1, 5)),
      "pairs": some_keys(5, 5),
      "heads": some_keys(*leading, 2, 5, 5),
  }[kind]

  def plain(*args):
    return attention.dot_product_attention(
        *args, mask=mask, is_causal=is_causal, implementation="autodiff"
    )

  def fused(*args):
    return fused_attention.attend(
        *args, mask=mask, is_causal=is_causal, scale=None, implementation="xla"
    )

  ours, ours_vjp = jax.vjp(fused, *args)
  expected, expected_vjp = jax.vjp(plain, *args)
  for a, b in zip((ours, *ours_vjp(d_out)), (expected, *expected_vjp(d_out))):
    np.testing.assert_allclose(a, b, atol=2e-6)
  if kind in ("pairs", "heads"):
    assert not np.asarray(ours)[..., -1, :].any()


@pytest.mark.full
@pytest.mark.parametrize("heads", [1, 2])
def test_grouped_queries_match_the_plain_form(heads):
  x, keys = draw(3, 4, 5, 8), draw(3, heads, 5, 8)
  options = {"mask": some_keys(3, 4, 5, 5), "is_causal": True, "scale": None}
  found = fused_attention.attend(x, keys, keys, **options, implementation="xla")
  expected = attention.dot_product_attention(x, keys, keys, **options, implementation="autodiff")
  np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("shape", [(5,), (1, 1, 5), (5, 5), (3, 1, 5, 5), (3, 2, 5, 5)])
def test_the_kernel_gets_a_mask_over_all_pairs(monkeypatch, shape):
  seen = []

  def attend(query, key, value, *, mask, **options):
    seen.append((query.shape, mask.shape, options["implementation"]))
    return query

  monkeypatch.setattr(jax.nn, "dot_product_attention", attend)
  x = jnp.ones((3, 2, 5, 8))
  mask = jnp.ones(shape, bool)
  out = fused_attention.attend(x, x, x, mask=mask, is_causal=False, scale=None)
  heads = 2 if shape == (3, 2, 5, 5) else 1
  assert seen == [((3, 5, 2, 8), (3, heads, 5, 5), "cudnn")] and out.shape == x.shape


@pytest.mark.parametrize(
    "dtype, d, chosen",
    [
        (jnp.bfloat16, 64, "cudnn"),
        (jnp.float16, 128, "cudnn"),
        (jnp.float32, 64, "autodiff"),  # The kernel does not support full precision,
        (jnp.bfloat16, 136, "autodiff"),  # large heads,
        (jnp.bfloat16, 60, "autodiff"),  # or head sizes that are not a multiple of eight.
    ],
)
def test_auto_is_cudnn_on_gpu_where_its_kernel_applies(monkeypatch, dtype, d, chosen):
  shape = (2, 8, 512, d)
  assert attention.choose(shape, shape, dtype) != "cudnn"
  with platform.lowering_for("gpu"):
    assert attention.choose(shape, shape, dtype) == chosen
  called = []

  def attend(query, key, value, **options):
    called.append(options)
    return query

  monkeypatch.setattr(fused_attention, "attend", attend)
  x = jnp.ones((1, 2, 3, d), dtype)
  with platform.lowering_for("gpu"):
    attention.dot_product_attention(x, x, x, is_causal=True)
  assert called == ([{"mask": None, "is_causal": True, "scale": None}] if chosen == "cudnn" else [])
