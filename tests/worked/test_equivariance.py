"""Convolution and pooling of shifted, rotated and scaled images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import conv, pooling

pytestmark = pytest.mark.usefixtures("x64")

KERNEL = np.random.default_rng(0).normal(size=(3, 3))
PICTURE = np.zeros((8, 8))
PICTURE[2:5, 3:5] = [[1.0, 2.0], [3.0, 5.0], [-4.0, 1.0]]


def convolve(x):
  """One filter, no bias, zero padding to the same size."""
  return conv.apply({"kernel": jnp.asarray(KERNEL)[:, :, None, None]}, x[..., None])[..., 0]


def moved(x, steps):
  """x one or more rows further down, zeros from above; nothing falls off here."""
  return np.roll(x, steps, axis=0)


def enlarged(x):
  """Each pixel becomes four."""
  return np.kron(x, np.ones((2, 2)))


def test_convolution_is_equivariant_to_translation(run):
  """Erratum of the notes, Convolutional networks: "Equivalent to translations of the input".

  The word is equivariant: a moved picture has a moved result. It is neither unchanged
  (invariant) nor the picture itself moved, which "equivalent" could mean.
  """
  y = run(convolve)(jnp.asarray(PICTURE))
  of_moved = run(convolve)(jnp.asarray(moved(PICTURE, 2)))
  np.testing.assert_allclose(of_moved, moved(y, 2), atol=1e-14)
  assert np.abs(of_moved - y).max() > 1
  assert np.abs(of_moved - moved(PICTURE, 2)).max() > 1


def test_convolution_is_not_equivariant_to_rotation(run):
  """Final exam of February 12, 2022, part 1, question 6: to translations, not to rotations."""
  y = run(convolve)(jnp.asarray(PICTURE))
  assert np.abs(run(convolve)(jnp.asarray(np.rot90(PICTURE))) - np.rot90(y)).max() > 1


def test_convolution_is_not_equivariant_to_scale(run):
  """Erratum of the notes, Properties of CNNs: convolution is called equivariant to scale.

  A filter of three pixels sees a third of what it saw when the picture is enlarged: the
  result is not the enlarged one.
  """
  y = run(convolve)(jnp.asarray(PICTURE))
  of_enlarged = run(convolve)(jnp.asarray(enlarged(PICTURE)))
  assert of_enlarged.shape == enlarged(y).shape
  assert np.abs(of_enlarged - enlarged(y)).max() > 1


def test_max_pooling_is_invariant_to_shifts_within_a_window_only(run):
  """Erratum of the notes, Convolutional networks.

  Max pooling is called invariant to shifts, rotations and scale. It forgets where in
  its window the maximum is: one step inside the window changes nothing, a second step
  does, and a turned or an enlarged picture gives another result, too.
  """
  x = np.zeros((8, 8))
  x[2, 4] = 1.0
  pool = run(lambda x: pooling.max_pool(x[..., None], 2, 2)[..., 0])
  y = pool(jnp.asarray(x))
  np.testing.assert_array_equal(pool(jnp.asarray(moved(x, 1))), y)
  for other in (moved(x, 2), np.rot90(x), enlarged(x)[:8, 4:12]):
    assert (pool(jnp.asarray(other)) != y).any()


def test_an_output_depends_on_a_small_part_of_the_input(run):
  """Notes, Properties of CNNs: locality, sparse interactions and shared parameters.

  Output (4, 4) depends on the nine pixels around it, by the nine numbers of the filter,
  and so does every other output inside, by the same nine.
  """
  x = jnp.asarray(PICTURE)
  for i, j in ((4, 4), (2, 5)):
    d_x = run(jax.grad(lambda x, i=i, j=j: convolve(x)[i, j]))(x)
    expected = np.zeros((8, 8))
    expected[i - 1 : i + 2, j - 1 : j + 2] = KERNEL
    np.testing.assert_allclose(d_x, expected, atol=1e-14)
