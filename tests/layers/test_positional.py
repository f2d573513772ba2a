"""Sinusoidal and rotary encodings: known values, rotations, relative positions, errors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import positional

compiled = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def draw(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


@compiled
def test_the_table_has_the_sines_and_cosines_of_the_paper(x64, compile_):
  table = compile_(lambda: positional.sinusoidal(5, 4))()
  expected = [
      [math.sin(p), math.cos(p), math.sin(p / 100), math.cos(p / 100)] for p in range(5)
  ]
  np.testing.assert_allclose(table, expected, rtol=1e-12)


def test_known_values_of_the_table():
  table = positional.sinusoidal(3, 512)
  assert table.shape == (3, 512) and table.dtype == jnp.float32
  np.testing.assert_array_equal(table[0], np.tile([0.0, 1.0], 256))
  np.testing.assert_allclose(table[1, :2], [0.841471, 0.540302], atol=1e-6)
  np.testing.assert_allclose(table[2, -2:], [2.0733e-4, 1.0], rtol=1e-3)  # 2 / 10000^(510/512)
  np.testing.assert_allclose(positional.sinusoidal(2, 2, base=7.0)[1], table[1, :2])


def test_a_shift_of_positions_is_a_rotation(x64):
  table = positional.sinusoidal(20, 6).reshape(20, 3, 2)
  for k in (1, 7):
    angles = k * 10_000.0 ** (-np.arange(3) / 3)
    sin, cos = np.sin(angles), np.cos(angles)
    ahead = np.stack([
        table[:-k, :, 0] * cos + table[:-k, :, 1] * sin,
        table[:-k, :, 1] * cos - table[:-k, :, 0] * sin,
    ], axis=-1)
    np.testing.assert_allclose(table[k:], ahead, atol=1e-12)


@compiled
def test_positions_are_added_to_scaled_vectors(x64, compile_):
  [x] = draw((2, 3, 5, 4))
  table = positional.sinusoidal(9, 4)
  add = compile_(lambda x, p=None: positional.add_sinusoidal(x, p, scale=3.0))
  np.testing.assert_allclose(add(x), 3 * x + table[:5], rtol=1e-12)
  np.testing.assert_allclose(add(x, 4 + jnp.arange(5)), 3 * x + table[4:], rtol=1e-12)
  each = jnp.asarray(np.random.default_rng(1).integers(0, 9, size=(2, 1, 5)))
  np.testing.assert_allclose(add(x, each), 3 * x + table[each], rtol=1e-12)


def rotated(x, position, base):
  """Rotates one vector, one pair at a time."""
  half, y = len(x) // 2, np.zeros(len(x))
  for i in range(half):
    angle = position / base ** (2 * i / len(x))
    turned = complex(x[i], x[i + half]) * complex(math.cos(angle), math.sin(angle))
    y[i], y[i + half] = turned.real, turned.imag
  return y


@compiled
def test_rotary_rotates_pairs_of_features(x64, compile_):
  [x] = draw((2, 3, 6))
  rotary = compile_(lambda x, p=None: positional.rotary(x, p, base=100.0))
  expected = [[rotated(row, p, 100.0) for p, row in enumerate(rows)] for rows in np.asarray(x)]
  np.testing.assert_allclose(rotary(x), expected, rtol=1e-12)
  positions = jnp.array([[5, 0, 2], [1, 1, 7]])
  expected = [
      [rotated(row, int(p), 100.0) for p, row in zip(ps, rows)]
      for ps, rows in zip(positions, np.asarray(x))
  ]
  np.testing.assert_allclose(rotary(x, positions), expected, rtol=1e-12)
  np.testing.assert_allclose(jax.vmap(rotary)(x), rotary(x), rtol=1e-12)


def test_rotary_preserves_norms_and_the_first_position(x64):
  [x] = draw((4, 7, 8))
  y = positional.rotary(x)
  np.testing.assert_allclose(
      np.linalg.norm(y, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-12
  )
  np.testing.assert_array_equal(y[:, 0], x[:, 0])
  assert np.abs(y - x)[:, 1:].max(-1).min() > 0.1


def test_products_of_rotated_queries_and_keys_depend_only_on_relative_positions(x64):
  query, key = draw((8,), (8,))
  queries, keys = (jnp.broadcast_to(v, (30, 8)) for v in (query, key))
  products = np.asarray(positional.rotary(queries) @ positional.rotary(keys).T)
  for distance in range(-29, 30):
    diagonal = np.diagonal(products, distance)
    np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-11, atol=1e-12)
  assert len(np.unique(products[0].round(6))) == 30, "distances must differ"
  shifted = [positional.rotary(v, 1000 + jnp.arange(30)) for v in (queries, keys)]
  np.testing.assert_allclose(shifted[0] @ shifted[1].T, products, rtol=1e-10, atol=1e-10)


def test_negative_positions_undo_a_rotation(x64):
  [x] = draw((5, 4))
  there = positional.rotary(x, jnp.arange(5) * 3)
  np.testing.assert_allclose(positional.rotary(there, -jnp.arange(5) * 3), x, rtol=1e-12)


def test_float32_is_accurate_at_large_positions():
  [x] = draw((1, 64))
  y = positional.rotary(x, jnp.array([100_000]))
  np.testing.assert_allclose(y[0], rotated(np.asarray(x[0]), 100_000, 10_000.0), atol=0.03)
  table = positional.add_sinusoidal(jnp.zeros((1, 64)), jnp.array([100_000]))
  assert abs(table[0, 0] - math.sin(100_000)) < 0.01


@pytest.mark.parametrize("layer", [positional.rotary, positional.add_sinusoidal])
def test_bfloat16_stays_and_angles_are_in_float32(layer):
  x = draw((300, 8))[0].astype(jnp.bfloat16)
  y = layer(x)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_array_equal(layer(x, jnp.arange(300)), y)  # 299 is not a bfloat16 number.
  wide = layer(x.astype(jnp.float32))
  np.testing.assert_allclose(y.astype(jnp.float32), wide, rtol=2.0**-8, atol=2.0**-9)


@pytest.mark.parametrize("layer", [positional.rotary, positional.add_sinusoidal])
def test_bad_input_is_named(layer):
  with pytest.raises(ValueError, match=r"x: expected an even last dimension, got shape \(2, 5\)"):
    layer(jnp.ones((2, 5)))
  with pytest.raises(ValueError, match=r"x: expected shape \(\.\.\., T, D\), got \(4,\)"):
    layer(jnp.ones(4))
  with pytest.raises(ValueError, match=r"positions: expected .* to \(3, 2\), got \(3,\)"):
    layer(jnp.ones((3, 2, 4)), jnp.arange(3))


def test_an_odd_size_of_the_table_is_named():
  with pytest.raises(ValueError, match="d: expected an even number, got 5"):
    positional.sinusoidal(3, 5)
