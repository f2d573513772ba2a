"""Generated examples: classes of points in the plane, and a noisy curve."""

import numpy as np

SETS = ("points", "separable", "xor", "moons", "rings", "curve")


def generate(name: str, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """The inputs (N, D), float64, and the classes or targets (N,) of a generated set.

  points: three classes, Gaussian clouds that overlap a little.
  separable: two classes on the sides of a line, with a margin.
  xor: two classes, the quadrants in which x y is positive or negative, with a gap between them.
  moons: two classes, half circles that hook into one another.
  rings: two classes, a disc and a ring around it.
  curve: D = 1, y = sin(2 pi x) and Gaussian noise of standard deviation 0.3, 0 <= x <= 1.

  Args:
    name: one of SETS.
    count: N; the classes alternate.
    seed: seed of the draws.
  """
  rng = np.random.default_rng(seed)
  labels = np.arange(count, dtype=np.int32) % (3 if name == "points" else 2)
  side = 2 * labels - 1
  if name == "curve":
    x = rng.uniform(size=(count, 1))
    return x, np.sin(2 * np.pi * x[:, 0]) + 0.3 * rng.normal(size=count)
  if name == "points":
    centers = np.array([[0.0, 1.5], [-1.5, -1.0], [1.5, -1.0]])
    return centers[labels] + 0.8 * rng.normal(size=(count, 2)), labels
  if name == "separable":
    along, across = rng.uniform(-2, 2, count), side * rng.uniform(0.2, 1.5, count)
    return np.stack([0.8 * along + 0.6 * across, -0.6 * along + 0.8 * across], 1) + 0.5, labels
  if name == "xor":
    x, y = rng.uniform(0.1, 1, (2, count))
    sign = rng.choice([-1, 1], count)
    return np.stack([sign * x, sign * side * y], 1), labels
  angle = rng.uniform(0, np.pi, count)
  if name == "moons":
    moon = np.stack([np.cos(angle), np.sin(angle)], 1)
    moon = np.where(labels[:, None], [1.0, 0.5] - moon, moon)
    return moon + 0.12 * rng.normal(size=(count, 2)), labels
  radius = np.where(labels, rng.uniform(1.3, 2, count), np.sqrt(rng.uniform(0, 1, count)))
  return radius[:, None] * np.stack([np.cos(2 * angle), np.sin(2 * angle)], 1), labels
