"""Polynomial features: products of the entries of a vector.

  phi(x) = (x_1, ..., x_D, x_1^2, x_1 x_2, ..., x_D^p)

A model that is linear in phi(x) is a polynomial of degree p in x. The product x_1 x_2 is what
exclusive or needs.
"""

from collections.abc import Sequence
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from dlx.errors import UserError

MAX_FEATURES = 10_000


def count(d: int, degree: int, *, squares: bool = True) -> int:
  """M, the number of `monomials`: with squares (D + p over p) - 1."""
  if squares:
    return math.comb(d + degree, degree) - 1
  return sum(math.comb(d, n) for n in range(1, degree + 1))


def monomials(d: int, degree: int, *, squares: bool = True) -> Int[np.ndarray, "M p"]:
  """The monomials of degree 1 to p: the factors of each, as indices of entries, ascending.

  Monomials of a lower degree are filled up with the index D, which stands for 1.

  Args:
    d: D, the entries of x.
    degree: p, at least 1.
    squares: False for products of different entries only.

  Raises:
    UserError: there are more than MAX_FEATURES.
  """
  if degree > 1 and count(d, degree, squares=squares) > MAX_FEATURES:
    raise UserError(
        f"{d} inputs have more than {MAX_FEATURES:,} monomials up to degree {degree}; give a lower "
        f"degree"
    )
  draw = itertools.combinations_with_replacement if squares else itertools.combinations
  rows = [row for n in range(1, degree + 1) for row in draw(range(d), n)]
  return np.array([row + (d,) * (degree - len(row)) for row in rows], np.int32)


def features(x: Float[Array, "... D"], monomials: Int[np.ndarray, "M p"]) -> Float[Array, "... M"]:
  """The value of each monomial.

  Args:
    x: `(..., D)`, of jax or numpy; so is the result.
    monomials: of D entries; see `monomials`.
  """
  xp = jnp if isinstance(x, jax.Array) else np  # On the host nothing has to be compiled.
  x = xp.concatenate([x, xp.ones_like(x[..., :1])], -1)
  return x[..., monomials].prod(-1)


def names(monomials: Int[np.ndarray, "M p"], entries: Sequence[str]) -> list[str]:
  """The monomials in words, such as "width^2 height"."""

  def name(row):
    counts = {i: int((row == i).sum()) for i in row if i < len(entries)}
    return " ".join(entries[i] + (f"^{n}" if n > 1 else "") for i, n in counts.items())

  return [name(row) for row in monomials]


class Features(NamedTuple):
  """phi(x) of rows x: the entries themselves, or monomials, standardized by training rows.

  Attributes:
    monomials: (M, p); None for the entries as they are.
    mean, scale: of the monomials, (M,).
  """

  monomials: Int[np.ndarray, "M p"] | None = None
  mean: Float[np.ndarray, "M"] | float = 0.0
  scale: Float[np.ndarray, "M"] | float = 1.0

  def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... M"]:
    """phi(x)."""
    if self.monomials is None:
      return x
    return (features(x, self.monomials) - self.mean) / self.scale


def standardized(x: Float[np.ndarray, "N D"], monomials: Int[np.ndarray, "M p"]) -> Features:
  """Features with mean 0 and variance 1 over the rows x; those that are constant are 0."""
  phi = np.asarray(features(x, monomials), np.float64)
  std = phi.std(0)
  return Features(monomials, phi.mean(0), np.where(std > 0, std, 1.0))
