"""The state of a run, and the moving average of its params."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlx.training import state as states


@pytest.mark.parametrize("decay, steps", [(0.9, 200), (0.999, 50), (0.0, 5)])
def test_the_average_equals_a_loop_over_the_elements(x64, decay, steps):
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
  # The decay d is a float32.
  np.testing.assert_allclose(ema["w"], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_average_keeps_its_dtype(dtype):
  ema = states.update_ema(jnp.ones(2, dtype), jnp.zeros(2, dtype), jnp.zeros((), jnp.int32), 0.5)
  assert ema.dtype == dtype
  np.testing.assert_allclose(np.asarray(ema, np.float32), 0.1, rtol=1e-2)


def test_a_new_state_starts_at_step_0_with_a_copy_as_the_average():
  variables = {"params": {"w": jnp.arange(3.0)}, "seen": {"count": jnp.ones(())}}
  state = states.create(variables, optax.adam(1.0), averaged=True)
  assert state.step.dtype == jnp.int32 and int(state.step) == 0
  assert state.params is variables["params"] and state.collections == {"seen": variables["seen"]}
  np.testing.assert_array_equal(state.ema["w"], state.params["w"])
  # Not the same buffer: a donated state may not hold one twice.
  assert state.ema["w"].unsafe_buffer_pointer() != state.params["w"].unsafe_buffer_pointer()
  assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(state.opt_state))


def test_a_state_without_steps_has_no_optimizer_state():
  state = states.create({"params": {"w": jnp.ones(2)}}, None)
  assert state.opt_state == () and state.ema is None and state.collections == {}


def test_evaluation_uses_the_average_if_there_is_one():
  variables = {"params": {"w": jnp.zeros(2)}, "seen": jnp.ones(())}
  state = states.create(variables, optax.sgd(1.0))
  assert state.eval_variables == variables
  averaged = states.create(variables, optax.sgd(1.0), averaged=True)
  assert averaged.eval_variables == {"params": averaged.ema, "seen": variables["seen"]}


def test_params_that_are_not_trained_are_their_own_average_bit_for_bit():
  x = jnp.asarray(np.random.default_rng(0).normal(size=1000), jnp.float32)
  ema = params = {"word": x, "head": {"kernel": x}}
  update = jax.jit(states.update_ema, static_argnums=4)
  for step in range(3):
    ema = update(ema, params, jnp.asarray(step), 0.9, lambda name: name == "head.kernel")
  np.testing.assert_array_equal(ema["word"], x)
  assert np.any(ema["head"]["kernel"] != x)  # Rounded: the names tell them apart.
