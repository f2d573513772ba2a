"""Stacked and bidirectional layers: against single layers, against torch, and dropout."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import gru, lstm, recurrent, rnn

B, T, D, H = 3, 4, 2, 3
LENGTHS = np.array([4, 2, 1])

each_cell = pytest.mark.parametrize(
    "cell, options",
    [(gru, {"reset_after": True}), (lstm, {})],
    ids=["gru_reset_after", "lstm"],
)


def noise(tree):
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), tree)


def sequences():
  return jnp.asarray(np.random.default_rng(1).normal(size=(B, T, D)))


def assert_close(actual, expected):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12, rtol=0), actual, expected)


@pytest.mark.full
@each_cell
def test_a_stack_applies_its_layers_in_order_eager_and_jitted(x64, cell, options):
  params = noise(recurrent.init(jax.random.key(0), D, H, 3, cell=cell, **options))
  first = noise([cell.initial_carry(layer, (B,)) for layer in params])
  lengths, ys, lasts = jnp.asarray(LENGTHS), sequences(), []
  one = jax.jit(lambda *args: cell.scan(*args, lengths=lengths, **options))
  for layer, carry in zip(params, first):
    last, ys = one(layer, ys, carry)
    lasts.append(last)

  def stack(*args):
    return recurrent.scan(*args, cell=cell, lengths=lengths, **options)

  for run in (stack, jax.jit(stack)):
    assert_close(run(params, sequences(), first), (lasts, ys))


@pytest.mark.full
@each_cell
def test_a_stack_continues_from_its_carries(x64, cell, options):
  params = noise(recurrent.init(jax.random.key(0), D, H, 2, cell=cell, **options))
  run = jax.jit(lambda *args: recurrent.scan(*args, cell=cell, **options))
  last, ys = run(params, sequences())
  middle, one = run(params, sequences()[:, :2])
  end, two = run(params, sequences()[:, 2:], middle)
  assert_close((end, jnp.concatenate([one, two], axis=1)), (last, ys))


def test_a_stack_of_lstms_matches_torch(x64):
  torch = pytest.importorskip("torch")
  params = noise(recurrent.init(jax.random.key(0), D, H, 2, cell=lstm))
  other = torch.nn.LSTM(D, H, num_layers=2, batch_first=True).double()
  with torch.no_grad():
    for i, layer in enumerate(params):
      getattr(other, f"weight_ih_l{i}").copy_(torch.tensor(np.array(layer["input"].T)))
      getattr(other, f"weight_hh_l{i}").copy_(torch.tensor(np.array(layer["hidden"].T)))
      getattr(other, f"bias_ih_l{i}").copy_(torch.tensor(np.array(layer["bias"])))
      getattr(other, f"bias_hh_l{i}").zero_()
    expected, (h, c) = other(torch.tensor(np.array(sequences())))
  carries, ys = recurrent.scan(params, sequences(), cell=lstm)
  assert_close(ys, expected.numpy())
  assert_close(carries, [(c[i].numpy(), h[i].numpy()) for i in range(2)])


def test_init_draws_layers_independently_and_in_their_sizes():
  params = recurrent.init(jax.random.key(0), D, H, 3, cell=gru, reset_after=True)
  assert [layer["input"].shape for layer in params] == [(D, 9), (H, 9), (H, 9)]
  assert all("hidden_bias" in layer for layer in params)
  assert not np.any(params[1]["input"] == params[2]["input"])


def test_init_refuses_zero_layers():
  with pytest.raises(ValueError, match="num_layers: expected at least 1, got 0"):
    recurrent.init(jax.random.key(0), D, H, 0, cell=rnn)


def test_a_wrong_number_of_carries_is_named():
  params = recurrent.init(jax.random.key(0), D, H, 2, cell=rnn)
  with pytest.raises(ValueError, match="carries: expected one for each of 2 layers, got 1"):
    recurrent.scan(params, sequences(), [jnp.zeros((B, H))], cell=rnn)


@pytest.mark.full
def test_dropout_is_off_without_a_key_and_on_with_one():
  params = recurrent.init(jax.random.key(0), D, H, 2, cell=rnn)
  xs = jnp.asarray(sequences(), jnp.float32)
  _, plain = recurrent.scan(params, xs, cell=rnn)
  rng = jax.random.key(1)
  for rates in ({"dropout_rate": 0.5}, {"recurrent_dropout_rate": 0.5}):
    np.testing.assert_array_equal(recurrent.scan(params, xs, cell=rnn, **rates)[1], plain)
    _, dropped = recurrent.scan(params, xs, cell=rnn, rng=rng, **rates)
    assert not np.allclose(dropped, plain)
    _, again = recurrent.scan(params, xs, cell=rnn, rng=rng, **rates)
    np.testing.assert_array_equal(again, dropped)
  np.testing.assert_array_equal(recurrent.scan(params, xs, cell=rnn, rng=rng)[1], plain)


# A layer that returns its input as ys and its hidden kernel as its carry.
transparent = types.SimpleNamespace(
    scan=lambda params, xs, carry, *, lengths=None: (params["hidden"], xs)
)


def test_dropout_between_layers_is_independent_at_every_step():
  xs, layer = jnp.ones((5, 7, 64)), {"hidden": jnp.ones((2, 2))}
  options = {"cell": transparent, "dropout_rate": 0.5, "rng": jax.random.key(0)}
  hidden, ys = recurrent.scan([layer] * 2, xs, **options)
  assert set(np.unique(ys)) == {0.0, 2.0}
  masks = np.asarray(ys).reshape(35, 64)
  assert len(np.unique(masks, axis=0)) == 35, "each step of each sequence has its own mask"
  assert abs((masks != 0).mean() - 0.5) < 0.06  # Five standard deviations of 2,240 draws.
  np.testing.assert_array_equal(hidden, np.ones((2, 2, 2)))
  _, above = recurrent.scan([layer] * 3, xs, **options)
  assert set(np.unique(above)) == {0.0, 4.0}, "each layer has its own mask"


def test_no_dropout_before_the_first_or_after_the_last_layer():
  xs = jnp.ones((5, 7, 64))
  _, ys = recurrent.scan(
      [{"hidden": jnp.ones((2, 2))}], xs, cell=transparent, dropout_rate=0.5, rng=jax.random.key(0)
  )
  np.testing.assert_array_equal(ys, xs)


def test_recurrent_dropout_applies_only_to_hidden_kernels():
  xs, kernel = jnp.ones((5, 7, 64)), 1 + jnp.arange(1200.0).reshape(20, 60)
  kernels, ys = recurrent.scan(
      [{"hidden": kernel}] * 2,
      xs,
      cell=transparent,
      recurrent_dropout_rate=0.25,
      rng=jax.random.key(0),
  )
  np.testing.assert_array_equal(ys, xs)
  kept = [np.asarray(k) != 0 for k in kernels]
  for keep, k in zip(kept, kernels):
    np.testing.assert_allclose(k, np.where(keep, kernel / 0.75, 0), rtol=1e-6)
    assert abs(keep.mean() - 0.75) < 0.06  # Five standard deviations of 1,200 draws.
  assert np.any(kept[0] != kept[1])


@each_cell
def test_bidirectional_scans_each_valid_prefix_eager_and_jitted(x64, cell, options):
  params = noise(recurrent.init_bidirectional(jax.random.key(0), D, H, cell=cell, **options))
  lengths, xs = jnp.asarray(LENGTHS), sequences()
  one = jax.jit(lambda *args: cell.scan(*args, lengths=lengths, **options))

  def flip(a):
    return jnp.stack([jnp.concatenate([x[:n][::-1], x[n:]]) for x, n in zip(a, LENGTHS)])

  forward, ahead = one(params["forward"], xs)
  backward, back = one(params["backward"], flip(xs))
  expected = (forward, backward), jnp.concatenate([ahead, flip(back)], axis=-1)

  def both(*args):
    return recurrent.bidirectional(*args, cell=cell, lengths=lengths, **options)

  for run in (both, jax.jit(both)):
    assert_close(run(params, xs), expected)


def test_bidirectional_matches_torch_on_packed_sequences(x64):
  torch = pytest.importorskip("torch")
  rnn_utils = torch.nn.utils.rnn
  params = noise(
      recurrent.init_bidirectional(jax.random.key(0), D, H, cell=gru, reset_after=True)
  )
  other = torch.nn.GRU(D, H, batch_first=True, bidirectional=True).double()
  names = {"input": "weight_ih", "hidden": "weight_hh", "bias": "bias_ih", "hidden_bias": "bias_hh"}
  with torch.no_grad():
    for direction, suffix in (("forward", "_l0"), ("backward", "_l0_reverse")):
      for ours, theirs in names.items():
        value = torch.tensor(np.array(params[direction][ours].T))
        getattr(other, theirs + suffix).copy_(value)
    packed = rnn_utils.pack_padded_sequence(
        torch.tensor(np.array(sequences())), LENGTHS, batch_first=True
    )
    expected, last = other(packed)
    expected, _ = rnn_utils.pad_packed_sequence(expected, batch_first=True)
  carries, ys = recurrent.bidirectional(
      params, sequences(), cell=gru, lengths=jnp.asarray(LENGTHS), reset_after=True
  )
  assert_close(ys, expected.numpy())
  assert_close(jnp.stack(carries), last.numpy())


def test_bidirectional_outputs_depend_on_exactly_the_valid_steps(x64):
  params = noise(recurrent.init_bidirectional(jax.random.key(0), D, H, cell=lstm))

  @jax.jit
  @jax.jacrev
  def jacobian(xs):
    return recurrent.bidirectional(params, xs, cell=lstm, lengths=jnp.asarray(3))[1]

  depends = np.any(np.asarray(jacobian(sequences()[0])) != 0, axis=(1, 3))
  valid = np.arange(T) < 3
  np.testing.assert_array_equal(depends, valid[:, None] & valid)
