"""The simple recurrent layer against its equation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import rnn


def draw(dtype=np.float64):
  """(params, xs (2, 5, 3), carry (2, 4)) of unit scale, all nonzero."""
  rng = np.random.default_rng(0)
  params = {
      "input": rng.normal(size=(3, 4)).astype(dtype),
      "hidden": rng.normal(size=(4, 4)).astype(dtype),
      "bias": rng.normal(size=4).astype(dtype),
  }
  return params, rng.normal(size=(2, 5, 3)).astype(dtype), rng.normal(size=(2, 4)).astype(dtype)


def reference(params, xs, h, activation=np.tanh):
  """h'_j = f(sum_i x_i W_ij + sum_k h_k U_kj + b_j) for one sequence (T, D)."""
  ys = []
  for x in xs:
    h = np.array([
        activation(x @ params["input"][:, j] + h @ params["hidden"][:, j] + params["bias"][j])
        for j in range(4)
    ])
    ys.append(h)
  return h, np.array(ys)


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_scan_follows_the_equation(x64, dtype, tolerance, compile_):
  params, xs, carry = draw(dtype)
  last, ys = compile_(rnn.scan)(*jax.tree.map(jnp.asarray, (params, xs, carry)))
  assert ys.dtype == last.dtype == dtype
  for b in range(2):
    expected_last, expected_ys = reference(params, xs[b], carry[b])
    np.testing.assert_allclose(ys[b], expected_ys, atol=tolerance, rtol=0)
    np.testing.assert_allclose(last[b], expected_last, atol=tolerance, rtol=0)


ACTIVATIONS = {  # The activation, the same in numpy, and whether dlx has a rule for it.
    "tanh": (jnp.tanh, np.tanh, True),
    "relu": (jax.nn.relu, lambda a: max(a, 0.0), True),
    "softplus": (jax.nn.softplus, lambda a: np.log1p(np.exp(a)), False),
    "lambda": (lambda a: a / 2, lambda a: a / 2, False),
}


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_step_applies_the_activation(x64, name, compile_):
  params, xs, carry = draw()
  f, by_hand, _ = ACTIVATIONS[name]
  args = jax.tree.map(jnp.asarray, (params, xs, carry))
  for implementation in ("auto", "autodiff"):
    run = functools.partial(rnn.scan, activation=f, implementation=implementation)
    last, ys = compile_(run)(*args)
    for b in range(2):
      expected_last, expected_ys = reference(params, xs[b], carry[b], by_hand)
      np.testing.assert_allclose(ys[b], expected_ys, atol=1e-12, rtol=1e-12)
      np.testing.assert_allclose(last[b], expected_last, atol=1e-12, rtol=1e-12)
  new, y = compile_(functools.partial(rnn.cell, activation=f))(args[0], args[2], args[1][:, 0])
  np.testing.assert_array_equal(new, y)
  np.testing.assert_allclose(new, ys[:, 0], atol=1e-14, rtol=1e-14)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_has_the_gradient_of_steps_written_out(x64, name, reverse):
  args, f = jax.tree.map(jnp.asarray, draw()), ACTIVATIONS[name][0]

  def by_steps(params, xs, h):
    ys = [None] * 5
    for t in reversed(range(5)) if reverse else range(5):
      h = ys[t] = f(xs[:, t] @ params["input"] + h @ params["hidden"] + params["bias"])
    return h, jnp.stack(ys, axis=1)

  @jax.jit
  def slopes(args):
    runs = functools.partial(rnn.scan, activation=f, reverse=reverse), by_steps
    total = lambda args, run: sum((jnp.cos(y) * y).sum() for y in run(*args))  # noqa: E731
    return [jax.grad(total)(args, run) for run in runs]

  for a, b in zip(*map(jax.tree.leaves, slopes(args))):
    np.testing.assert_allclose(a, b, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_only_activations_with_a_rule_give_up_forward_mode(name):
  params, xs, carry = jax.tree.map(jnp.asarray, draw(np.float32))
  f, _, has_rule = ACTIVATIONS[name]
  along = lambda: jax.jvp(lambda xs: rnn.scan(params, xs, carry, activation=f), (xs,), (xs,))  # noqa: E731
  if has_rule:
    with pytest.raises(TypeError, match="no forward mode"):
      along()
  else:
    assert np.isfinite(along()[1][1]).all()


@pytest.mark.parametrize("wrong, message", [
    ("relu", "activation: expected a function such as jax.nn.relu, got 'relu'"),
    (None, "activation: expected a function such as jax.nn.relu, got None"),
    (jnp.sum, "activation: expected an elementwise function, got <.*sum"),
    (jnp.isnan, "activation: expected an elementwise function, got <.*isnan"),
    (jnp.modf, "activation: expected an elementwise function, got <.*modf"),
])  # fmt: skip
def test_a_wrong_activation_is_named(wrong, message):
  params, xs, carry = jax.tree.map(jnp.asarray, draw(np.float32))
  with pytest.raises(ValueError, match=message):
    rnn.scan(params, xs, activation=wrong)
  with pytest.raises(ValueError, match=message):
    rnn.cell(params, carry, xs[:, 0], activation=wrong)


def test_the_initial_carry_defaults_to_zero(x64):
  params, xs, _ = jax.tree.map(jnp.asarray, draw())
  _, ys = rnn.scan(params, xs)
  np.testing.assert_allclose(ys[0], reference(params, xs[0], np.zeros(4))[1], atol=1e-12)


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_cell_is_one_step_and_its_output_is_the_state(x64, compile_):
  params, xs, carry = draw()
  new, y = compile_(rnn.cell)(*jax.tree.map(jnp.asarray, (params, carry, xs[:, 0])))
  np.testing.assert_array_equal(new, y)
  expected = [reference(params, xs[b, :1], carry[b])[0] for b in range(2)]
  np.testing.assert_allclose(y, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_values_and_gradients_match_torch(x64, name):
  torch = pytest.importorskip("torch")
  params, xs, carry = draw()
  other = torch.nn.RNN(3, 4, batch_first=True, nonlinearity=name).double()
  with torch.no_grad():
    other.weight_ih_l0.copy_(torch.tensor(params["input"].T))
    other.weight_hh_l0.copy_(torch.tensor(params["hidden"].T))
    other.bias_ih_l0.copy_(torch.tensor(params["bias"]))
    other.bias_hh_l0.zero_()
  ys, last = other(torch.tensor(xs), torch.tensor(carry)[None])
  d_ys = np.random.default_rng(1).normal(size=ys.shape)
  ((ys * torch.tensor(d_ys)).sum() + last.sum()).backward()
  scan = functools.partial(rnn.scan, activation=ACTIVATIONS[name][0])
  (ours_last, ours), vjp = jax.vjp(scan, *jax.tree.map(jnp.asarray, (params, xs, carry)))
  d_params, _, _ = vjp((jnp.ones((2, 4)), jnp.asarray(d_ys)))
  np.testing.assert_allclose(ours, ys.detach(), atol=1e-12)
  np.testing.assert_allclose(ours_last, last[0].detach(), atol=1e-12)
  np.testing.assert_allclose(d_params["input"], other.weight_ih_l0.grad.T, atol=1e-11)
  np.testing.assert_allclose(d_params["hidden"], other.weight_hh_l0.grad.T, atol=1e-11)
  np.testing.assert_allclose(d_params["bias"], other.bias_ih_l0.grad, atol=1e-11)


def test_init_has_an_orthogonal_hidden_kernel_and_a_zero_bias():
  params = rnn.init(jax.random.key(0), 400, 40)
  assert jax.tree.map(jnp.shape, params) == {"input": (400, 40), "hidden": (40, 40), "bias": (40,)}
  np.testing.assert_allclose(params["hidden"] @ params["hidden"].T, np.eye(40), atol=1e-5)
  assert 400 * np.var(params["input"]) == pytest.approx(1, rel=0.06)
  np.testing.assert_array_equal(params["bias"], 0)


def test_bfloat16_stays_bfloat16():
  params, xs, _ = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), draw(np.float32))
  last, ys = rnn.scan(params, xs)
  assert last.dtype == ys.dtype == jnp.bfloat16


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
  params = rnn.init(jax.random.key(0), 3, 4)
  carry = None if carry is None else jnp.zeros(carry)
  lengths = None if lengths is None else jnp.ones(lengths, jnp.int32)
  with pytest.raises(ValueError, match=message):
    rnn.scan(params, jnp.zeros(xs), carry, lengths=lengths)


def test_cell_names_a_carry_that_does_not_fit():
  with pytest.raises(ValueError, match=r"carry: expected a last dimension of 4, got shape \(5,\)"):
    rnn.cell(rnn.init(jax.random.key(0), 3, 4), jnp.zeros(5), jnp.zeros(3))
