"""The gated recurrent unit, both forms, against their equations and against torch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import gru

H = 4
both_forms = pytest.mark.parametrize("reset_after", [False, True], ids=["before", "after"])
eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def draw(reset_after, dtype=np.float64):
  """(params, xs (2, 5, 3), carry (2, 4)) of unit scale, all nonzero."""
  rng = np.random.default_rng(0)
  shapes = {"input": (3, 3 * H), "hidden": (H, 3 * H), "bias": (3 * H,)}
  if reset_after:
    shapes["hidden_bias"] = (3 * H,)
  params = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
  return params, rng.normal(size=(2, 5, 3)).astype(dtype), rng.normal(size=(2, H)).astype(dtype)


def sigmoid(a):
  return 1 / (1 + np.exp(-a))


def reference(params, xs, h, reset_after):
  """The equations, gate by gate, for one sequence (T, D): (h, ys)."""
  r_, z_, n_ = slice(0, H), slice(H, 2 * H), slice(2 * H, 3 * H)
  w, u, b = params["input"], params["hidden"], params["bias"]
  ys = []
  for x in xs:
    if reset_after:
      c = params["hidden_bias"]
      r = sigmoid(x @ w[:, r_] + b[r_] + h @ u[:, r_] + c[r_])
      z = sigmoid(x @ w[:, z_] + b[z_] + h @ u[:, z_] + c[z_])
      n = np.tanh(x @ w[:, n_] + b[n_] + r * (h @ u[:, n_] + c[n_]))
      h = (1 - z) * n + z * h
    else:
      r = sigmoid(x @ w[:, r_] + h @ u[:, r_] + b[r_])
      z = sigmoid(x @ w[:, z_] + h @ u[:, z_] + b[z_])
      n = np.tanh(x @ w[:, n_] + (r * h) @ u[:, n_] + b[n_])
      h = (1 - z) * h + z * n
    ys.append(h)
  return h, np.array(ys)


@eager_and_jit
@both_forms
@pytest.mark.parametrize(
    "implementation, dtype, tolerance",
    [("auto", np.float64, 1e-12), ("autodiff", np.float64, 1e-12), ("auto", np.float32, 1e-5)],
)
def test_scan_follows_the_equations(
    x64, implementation, dtype, tolerance, reset_after, compile_
):
  params, xs, carry = draw(reset_after, dtype)
  scan = functools.partial(gru.scan, reset_after=reset_after, implementation=implementation)
  last, ys = compile_(scan)(*jax.tree.map(jnp.asarray, (params, xs, carry)))
  assert ys.dtype == last.dtype == dtype
  for b in range(2):
    expected_last, expected_ys = reference(params, xs[b], carry[b], reset_after)
    np.testing.assert_allclose(ys[b], expected_ys, atol=tolerance, rtol=0)
    np.testing.assert_allclose(last[b], expected_last, atol=tolerance, rtol=0)


@both_forms
def test_the_initial_carry_defaults_to_zero(x64, reset_after):
  params, xs, _ = jax.tree.map(jnp.asarray, draw(reset_after))
  _, ys = gru.scan(params, xs, reset_after=reset_after)
  expected = reference(jax.tree.map(np.asarray, params), xs[0], np.zeros(H), reset_after)[1]
  np.testing.assert_allclose(ys[0], expected, atol=1e-12)


@eager_and_jit
@both_forms
def test_cell_is_one_step_and_its_output_is_the_state(x64, reset_after, compile_):
  params, xs, carry = draw(reset_after)
  cell = compile_(functools.partial(gru.cell, reset_after=reset_after))
  new, y = cell(*jax.tree.map(jnp.asarray, (params, carry, xs[:, 0])))
  np.testing.assert_array_equal(new, y)
  expected = [reference(params, xs[b, :1], carry[b], reset_after)[0] for b in range(2)]
  np.testing.assert_allclose(y, expected, atol=1e-12)


@pytest.mark.parametrize("implementation", ["auto", "autodiff"])
def test_reset_after_matches_the_values_and_gradients_of_torch(x64, implementation):
  torch = pytest.importorskip("torch")
  params, xs, carry = draw(True)
  other = torch.nn.GRU(3, H, batch_first=True).double()
  with torch.no_grad():
    other.weight_ih_l0.copy_(torch.tensor(params["input"].T))
    other.weight_hh_l0.copy_(torch.tensor(params["hidden"].T))
    other.bias_ih_l0.copy_(torch.tensor(params["bias"]))
    other.bias_hh_l0.copy_(torch.tensor(params["hidden_bias"]))
  x, h = torch.tensor(xs, requires_grad=True), torch.tensor(carry, requires_grad=True)
  ys, last = other(x, h[None])
  rng = np.random.default_rng(1)
  d_last, d_ys = rng.normal(size=(2, H)), rng.normal(size=(2, 5, H))
  ((ys * torch.tensor(d_ys)).sum() + (last[0] * torch.tensor(d_last)).sum()).backward()
  scan = functools.partial(gru.scan, reset_after=True, implementation=implementation)
  (ours_last, ours), vjp = jax.vjp(scan, *jax.tree.map(jnp.asarray, (params, xs, carry)))
  np.testing.assert_allclose(ours, ys.detach(), atol=1e-12)
  np.testing.assert_allclose(ours_last, last[0].detach(), atol=1e-12)
  d_params, d_xs, d_carry = vjp((jnp.asarray(d_last), jnp.asarray(d_ys)))
  np.testing.assert_allclose(d_params["input"], other.weight_ih_l0.grad.T, atol=1e-11)
  np.testing.assert_allclose(d_params["hidden"], other.weight_hh_l0.grad.T, atol=1e-11)
  np.testing.assert_allclose(d_params["bias"], other.bias_ih_l0.grad, atol=1e-11)
  np.testing.assert_allclose(d_params["hidden_bias"], other.bias_hh_l0.grad, atol=1e-11)
  np.testing.assert_allclose(d_xs, x.grad, atol=1e-11)
  np.testing.assert_allclose(d_carry, h.grad, atol=1e-11)


@pytest.mark.parametrize("reset_after, keep", [(False, -1e4), (True, 1e4)])
def test_a_closed_update_gate_keeps_the_state_exactly(x64, reset_after, keep):
  params, xs, carry = jax.tree.map(jnp.asarray, draw(reset_after))
  params["bias"] = params["bias"].at[H : 2 * H].set(keep)
  last, ys = gru.scan(params, xs, carry, reset_after=reset_after)
  np.testing.assert_array_equal(last, carry)
  np.testing.assert_array_equal(ys, np.broadcast_to(carry[:, None], ys.shape))


@pytest.mark.full
@both_forms
def test_autodiff_has_forward_mode_and_it_is_the_transpose_of_auto(x64, reset_after):
  inputs = jax.tree.map(jnp.asarray, draw(reset_after))
  tangents = jax.tree.map(jnp.cos, inputs)
  auto = functools.partial(gru.scan, reset_after=reset_after)
  autodiff = functools.partial(auto, implementation="autodiff")
  out, d_out = jax.jvp(autodiff, inputs, tangents)
  cotangents = jax.tree.map(jnp.sin, out)
  forward = sum(jnp.vdot(a, b) for a, b in zip(cotangents, d_out))
  backward = jax.tree.map(jnp.vdot, jax.vjp(auto, *inputs)[1](cotangents), tangents)
  np.testing.assert_allclose(forward, sum(jax.tree.leaves(backward)), rtol=1e-12)


@both_forms
def test_init_has_orthogonal_gates_and_zero_biases(reset_after):
  params = gru.init(jax.random.key(0), 300, 40, reset_after=reset_after)
  shapes = {"input": (300, 120), "hidden": (40, 120), "bias": (120,)}
  if reset_after:
    shapes["hidden_bias"] = (120,)
    np.testing.assert_array_equal(params["hidden_bias"], 0)
  assert jax.tree.map(jnp.shape, params) == shapes
  np.testing.assert_array_equal(params["bias"], 0)
  gates = np.split(np.asarray(params["hidden"]), 3, axis=-1)
  for gate in gates:
    np.testing.assert_allclose(gate @ gate.T, np.eye(40), atol=1e-5)
  assert not np.any(gates[0] == gates[1]) and not np.any(gates[1] == gates[2])
  assert 300 * np.var(params["input"]) == pytest.approx(1, rel=0.06)


@both_forms
def test_bfloat16_stays_bfloat16(reset_after):
  params, xs, _ = jax.tree.map(
      lambda a: jnp.asarray(a, jnp.bfloat16), draw(reset_after, np.float32)
  )
  last, ys = gru.scan(params, xs, reset_after=reset_after)
  assert last.dtype == ys.dtype == jnp.bfloat16


@pytest.mark.parametrize("reset_after, have, wants", [(True, "no", "a"), (False, "a", "no")])
def test_a_mismatch_of_reset_after_and_params_is_named(reset_after, have, wants):
  params = gru.init(jax.random.key(0), 3, H, reset_after=not reset_after)
  message = (
      f"reset_after: params have {have} hidden_bias, but reset_after={reset_after} "
      f"means {wants} hidden_bias"
  )
  with pytest.raises(ValueError, match=message):
    gru.scan(params, jnp.zeros((5, 3)), reset_after=reset_after)
  with pytest.raises(ValueError, match=message):
    gru.cell(params, jnp.zeros(H), jnp.zeros(3), reset_after=reset_after)


@pytest.mark.parametrize(
    "xs, carry, lengths, message",
    [
        ((3,), None, None, r"xs: expected shape \(\.\.\., T, D\), got \(3,\)"),
        ((2, 5, 4), None, None, r"xs: expected a last dimension of 3, got shape \(2, 5, 4\)"),
        ((2, 5, 3), (4,), None, r"carry: expected shape \(2, 4\), got \(4,\)"),
        ((2, 5, 3), None, (3,), r"lengths: expected shape \(2,\), got \(3,\)"),
    ],
)
def test_a_shape_that_does_not_fit_is_named(xs, carry, lengths, message):
  params = gru.init(jax.random.key(0), 3, H)
  carry = None if carry is None else jnp.zeros(carry)
  lengths = None if lengths is None else jnp.ones(lengths, jnp.int32)
  with pytest.raises(ValueError, match=message):
    gru.scan(params, jnp.zeros(xs), carry, lengths=lengths)


def test_cell_names_a_carry_that_does_not_fit():
  with pytest.raises(ValueError, match=r"carry: expected a last dimension of 4, got shape \(5,\)"):
    gru.cell(gru.init(jax.random.key(0), 3, H), jnp.zeros(5), jnp.zeros(3))
