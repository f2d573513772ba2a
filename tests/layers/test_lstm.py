"""Long short-term memory against its equations and against torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import lstm

H = 4


def draw(dtype=np.float64):
  """(params, xs (2, 5, 3), carry (c, h) of (2, 4)) of unit scale, all nonzero."""
  rng = np.random.default_rng(0)
  params = {
      "input": rng.normal(size=(3, 4 * H)),
      "hidden": rng.normal(size=(H, 4 * H)),
      "bias": rng.normal(size=4 * H),
  }
  carry = rng.normal(size=(2, H)), rng.normal(size=(2, H))
  return jax.tree.map(lambda a: a.astype(dtype), (params, rng.normal(size=(2, 5, 3)), carry))


def sigmoid(a):
  return 1 / (1 + np.exp(-a))


def reference(params, xs, carry):
  """The equations, gate by gate, for one sequence (T, D): ((c, h), ys)."""
  columns = {gate: slice(k * H, (k + 1) * H) for k, gate in enumerate("ifgo")}
  c, h = carry
  ys = []
  for x in xs:
    a = {
        gate: x @ params["input"][:, s] + h @ params["hidden"][:, s] + params["bias"][s]
        for gate, s in columns.items()
    }
    c = sigmoid(a["f"]) * c + sigmoid(a["i"]) * np.tanh(a["g"])
    h = sigmoid(a["o"]) * np.tanh(c)
    ys.append(h)
  return (c, h), np.array(ys)


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_scan_follows_the_equations(x64, dtype, tolerance, compile_):
  params, xs, (c, h) = draw(dtype)
  last, ys = compile_(lstm.scan)(*jax.tree.map(jnp.asarray, (params, xs, (c, h))))
  assert ys.dtype == last[0].dtype == last[1].dtype == dtype
  for b in range(2):
    (expected_c, expected_h), expected_ys = reference(params, xs[b], (c[b], h[b]))
    np.testing.assert_allclose(ys[b], expected_ys, atol=tolerance, rtol=0)
    np.testing.assert_allclose(last[0][b], expected_c, atol=tolerance, rtol=0)
    np.testing.assert_allclose(last[1][b], expected_h, atol=tolerance, rtol=0)


def test_the_initial_carry_defaults_to_zero(x64):
  params, xs, _ = draw()
  _, ys = lstm.scan(*jax.tree.map(jnp.asarray, (params, xs)))
  expected = reference(params, xs[0], (np.zeros(H), np.zeros(H)))[1]
  np.testing.assert_allclose(ys[0], expected, atol=1e-12)


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_cell_is_one_step_and_its_output_is_h(x64, compile_):
  params, xs, (c, h) = draw()
  (new_c, new_h), y = compile_(lstm.cell)(*jax.tree.map(jnp.asarray, (params, (c, h), xs[:, 0])))
  np.testing.assert_array_equal(new_h, y)
  for b in range(2):
    (expected_c, expected_h), _ = reference(params, xs[b, :1], (c[b], h[b]))
    np.testing.assert_allclose(new_c[b], expected_c, atol=1e-12)
    np.testing.assert_allclose(new_h[b], expected_h, atol=1e-12)


def test_values_and_gradients_match_torch(x64):
  torch = pytest.importorskip("torch")
  params, xs, (c, h) = draw()
  other = torch.nn.LSTM(3, H, batch_first=True).double()
  with torch.no_grad():
    other.weight_ih_l0.copy_(torch.tensor(params["input"].T))
    other.weight_hh_l0.copy_(torch.tensor(params["hidden"].T))
    other.bias_ih_l0.copy_(torch.tensor(params["bias"]))
    other.bias_hh_l0.zero_()
  inputs = [torch.tensor(a, requires_grad=True) for a in (xs, c, h)]
  ys, (last_h, last_c) = other(inputs[0], (inputs[2][None], inputs[1][None]))
  rng = np.random.default_rng(1)
  d_c, d_h, d_ys = (rng.normal(size=s) for s in ((2, H), (2, H), (2, 5, H)))
  pairs = (last_c[0], d_c), (last_h[0], d_h), (ys, d_ys)
  sum((value * torch.tensor(d)).sum() for value, d in pairs).backward()
  ours, vjp = jax.vjp(lstm.scan, *jax.tree.map(jnp.asarray, (params, xs, (c, h))))
  for value, (expected, _) in zip((*ours[0], ours[1]), pairs):
    np.testing.assert_allclose(value, expected.detach(), atol=1e-12)
  d_params, d_xs, d_carry = vjp(jax.tree.map(jnp.asarray, ((d_c, d_h), d_ys)))
  np.testing.assert_allclose(d_params["input"], other.weight_ih_l0.grad.T, atol=1e-11)
  np.testing.assert_allclose(d_params["hidden"], other.weight_hh_l0.grad.T, atol=1e-11)
  np.testing.assert_allclose(d_params["bias"], other.bias_ih_l0.grad, atol=1e-11)
  for d, tensor in zip((d_xs, *d_carry), inputs):
    np.testing.assert_allclose(d, tensor.grad, atol=1e-11)


def test_an_open_forget_gate_and_a_closed_input_gate_keep_the_cell_exactly(x64):
  params, xs, carry = jax.tree.map(jnp.asarray, draw())
  bias = params["bias"].at[:H].set(-1e4).at[H : 2 * H].set(1e4)
  (c, _), _ = lstm.scan({**params, "bias": bias}, xs, carry)
  np.testing.assert_array_equal(c, carry[0])


def test_init_opens_the_forget_gate():
  params = lstm.init(jax.random.key(0), 300, 40)
  assert jax.tree.map(jnp.shape, params) == {
      "input": (300, 160), "hidden": (40, 160), "bias": (160,)
  }
  np.testing.assert_array_equal(params["bias"].reshape(4, 40), np.eye(4)[1][:, None] * np.ones(40))
  gates = np.split(np.asarray(params["hidden"]), 4, axis=-1)
  for gate in gates:
    np.testing.assert_allclose(gate @ gate.T, np.eye(40), atol=1e-5)
  assert not np.any(gates[0] == gates[1])
  assert 300 * np.var(params["input"]) == pytest.approx(1, rel=0.05)


def test_bfloat16_stays_bfloat16():
  params, xs, _ = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), draw(np.float32))
  (c, h), ys = lstm.scan(params, xs)
  assert c.dtype == h.dtype == ys.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    "xs, carry, lengths, message",
    [
        ((3,), None, None, r"xs: expected shape \(\.\.\., T, D\), got \(3,\)"),
        ((2, 5, 4), None, None, r"xs: expected a last dimension of 3, got shape \(2, 5, 4\)"),
        ((2, 5, 3), [(4,), (2, 4)], None, r"carry's c: expected shape \(2, 4\), got \(4,\)"),
        ((2, 5, 3), [(2, 4), (2, 3)], None, r"carry's h: expected shape \(2, 4\), got \(2, 3\)"),
        ((2, 5, 3), None, (3,), r"lengths: expected shape \(2,\), got \(3,\)"),
    ],
)
def test_a_shape_that_does_not_fit_is_named(xs, carry, lengths, message):
  params = lstm.init(jax.random.key(0), 3, H)
  carry = None if carry is None else tuple(jnp.zeros(shape) for shape in carry)
  lengths = None if lengths is None else jnp.ones(lengths, jnp.int32)
  with pytest.raises(ValueError, match=message):
    lstm.scan(params, jnp.zeros(xs), carry, lengths=lengths)


def test_cell_names_the_part_of_the_carry_that_does_not_fit():
  params = lstm.init(jax.random.key(0), 3, H)
  with pytest.raises(ValueError, match=r"carry's h: expected a last dimension of 4, got .*\(5,\)"):
    lstm.cell(params, (jnp.zeros(4), jnp.zeros(5)), jnp.zeros(3))
