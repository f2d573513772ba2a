"""The rules of the conditional random field: counts by hand, dtypes, invalid input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import crf as gradients

eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
ZEROS = {"start": np.zeros(2), "transitions": np.zeros((2, 2)), "end": np.zeros(2)}


@eager_and_jit
def test_equal_scores_expect_equal_counts(x64, compile_):
  params, emissions = jax.tree.map(jnp.asarray, (ZEROS, np.zeros((3, 2))))
  rule = compile_(gradients.log_partition_vjp)
  d_params, d_emissions = rule(params, emissions, d_out=jnp.ones(()))
  np.testing.assert_allclose(d_emissions, 1 / 2, rtol=1e-13)
  np.testing.assert_allclose(d_params["transitions"], 2 / 4, rtol=1e-13)  # Two transitions.
  np.testing.assert_allclose(d_params["start"], 1 / 2, rtol=1e-13)
  np.testing.assert_allclose(d_params["end"], 1 / 2, rtol=1e-13)


@eager_and_jit
def test_observed_counts_are_those_of_the_path(x64, compile_):
  params, emissions = jax.tree.map(jnp.asarray, (ZEROS, np.zeros((2, 4, 2))))
  tags, lengths = jnp.asarray([[0, 1, 1, 1], [1, 0, 9, 9]]), jnp.asarray([4, 2])
  d_params, d_emissions = compile_(gradients.score_vjp)(
      params, emissions, tags=tags, lengths=lengths, d_out=jnp.asarray([1.0, 10.0])
  )
  np.testing.assert_array_equal(d_params["transitions"], [[0, 1], [10, 2]])
  np.testing.assert_array_equal(d_params["start"], [1, 10])
  np.testing.assert_array_equal(d_params["end"], [10, 1])
  np.testing.assert_array_equal(d_emissions[0], [[1, 0], [0, 1], [0, 1], [0, 1]])
  np.testing.assert_array_equal(d_emissions[1], [[0, 10], [10, 0], [0, 0], [0, 0]])


@eager_and_jit
def test_products_and_logarithms_have_the_same_counts(x64, compile_):
  rng = np.random.default_rng(0)
  params = {name: jnp.asarray(rng.normal(size=x.shape)) for name, x in ZEROS.items()}
  emissions, lengths = jnp.asarray(rng.normal(size=(3, 5, 2))), jnp.asarray([5, 0, 3])

  def counts(in_logarithms):
    return compile_(
        lambda *args: gradients.log_partition_vjp(
            *args, lengths=lengths, d_out=jnp.ones(3), in_logarithms=in_logarithms
        )
    )(params, emissions)

  found, expected = map(jax.tree.leaves, (counts(None), counts(True)))
  for a, b in zip(found, expected):
    np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.full
def test_cotangents_have_the_dtypes_of_the_inputs_and_the_loss_is_float32():
  params = {name: jnp.asarray(x, jnp.bfloat16) for name, x in ZEROS.items()}
  emissions, tags = jnp.zeros((3, 2), jnp.float16), jnp.zeros(3, int)
  one = jnp.ones((), jnp.float32)
  for d_params, d_emissions in (
      gradients.log_partition_vjp(params, emissions, d_out=one),
      gradients.negative_log_likelihood_vjp(params, emissions, tags=tags, d_out=one),
  ):
    assert {d.dtype for d in d_params.values()} == {jnp.dtype("bfloat16")}
    assert d_emissions.dtype == jnp.float16


def test_invalid_input_is_reported():
  params, emissions = jax.tree.map(jnp.asarray, (ZEROS, np.zeros((2, 3, 2))))
  with pytest.raises(ValueError, match=r"d_out: expected shape \(2,\), got \(\)"):
    gradients.log_partition_vjp(params, emissions, d_out=jnp.ones(()))
  with pytest.raises(ValueError, match="d_out: expected dtype float32, got bfloat16"):
    gradients.score_vjp(
        params, emissions, tags=jnp.zeros((2, 3), int), d_out=jnp.ones(2, jnp.bfloat16)
    )
  with pytest.raises(ValueError, match=r"tags: expected shape \(2, 3\), got \(3,\)"):
    gradients.score_vjp(params, emissions, tags=jnp.zeros(3, int), d_out=jnp.ones(2))
