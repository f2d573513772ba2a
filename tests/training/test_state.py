"""The state of a run and the average of its params."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlx.training import state as states


@pytest.mark.parametrize("decay, steps", [(0.9, 200), (0.999, 50), (0.0, 5)])
def test_the_average_follows_the_loop(x64, decay, steps):
  rng = np.random.default_rng(0)
  params = rng.normal(size=(steps + 1, 2, 3))
  expected = params[0].copy()
  ema = {"w": jnp.asarray(params[0])}
  update = jax.jit(states.update_ema)
  for step in range(steps):
    d = min(decay, (1 + step) / (10 + step))
    for i, j in np.ndindex(2, 3):
      expected[i, j] = d * expected[i, j] + (1 - d) * params[step + 1, i, j]
    ema = update(ema, {"w": jnp.asarray(params[step + 1])}, jnp.asarray(step, jnp.int32), decay)
  # d itself is a float32.
  np.testing.assert_allclose(ema["w"], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_average_keeps_its_dtype(dtype):
  ema = states.update_ema(jnp.ones(2, dtype), jnp.zeros(2, dtype), jnp.zeros((), jnp.int32), 0.5)
  assert ema.dtype == dtype
  np.testing.assert_allclose(np.asarray(ema, np.float32), 0.1, rtol=1e-2)


def test_a_new_state_starts_at_zero_with_the_average_a_copy():
  params = {"w": jnp.arange(3.0)}
  state = states.create(params, optax.adam(1.0), averaged=True)
  assert state.step.dtype == jnp.int32 and int(state.step) == 0 and state.variables == {}
  np.testing.assert_array_equal(state.ema["w"], params["w"])
  # Not the same buffer: a donated state may not hold one twice.
  assert state.ema["w"].unsafe_buffer_pointer() != state.params["w"].unsafe_buffer_pointer()
  assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(state.opt_state))


def test_evaluation_takes_the_average_where_there_is_one():
  params = {"w": jnp.zeros(2)}
  assert states.create(params, optax.sgd(1.0)).eval_params is params
  averaged = states.create(params, optax.sgd(1.0), averaged=True)
  assert averaged.eval_params is averaged.ema
