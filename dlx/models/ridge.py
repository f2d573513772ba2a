"""Ridge regression in closed form; least squares where the penalty is 0."""

from collections.abc import Sequence

from jaxtyping import Float
import numpy as np

from dlx.errors import UserError


def fit(
    inputs: Float[np.ndarray, "N D"], targets: Float[np.ndarray, "N K"], penalties: Sequence[float]
) -> list[dict[str, np.ndarray]]:
  """Ridge regression, once for each penalty.

    W = argmin |Y - X W - b|^2 / N + r |W|^2 = (X^T X + N r I)^-1 X^T Y,   b = mean(y) - mean(x) W

  with X and Y centered in the second expression: b is not penalized. It is computed from
  X = U S V^T as V (S / (S^2 + N r)) U^T Y, since X^T X would square the condition number of X.
  It is the maximum a posteriori for targets with Gaussian noise of variance s^2 and the prior
  W ~ N(0, t^2): N r = s^2 / t^2.

  Args:
    inputs: X (N, D).
    targets: Y (N, K), or (N,) for one target.
    penalties: r, at least 0.

  Returns:
    For each penalty `kernel` (D, K) and `bias` (K,) of dlx.layers.linear, float64.

  Raises:
    UserError: a penalty is 0 and the solution not unique: more features than rows, or features
      that are linear combinations of others.

  Source: Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems"
    (1970).
  """
  x, y = np.asarray(inputs, np.float64), np.asarray(targets, np.float64)
  y = y[:, None] if y.ndim == 1 else y
  x_mean, y_mean = x.mean(0), y.mean(0)
  u, s, vt = np.linalg.svd(x - x_mean, full_matrices=False)
  rank = int((s > s.max(initial=0) * max(x.shape) * np.finfo(float).eps).sum())
  if rank < x.shape[1] and 0 in penalties:
    raise UserError(
        f"least squares of {x.shape[1]} features has no unique solution: the {len(x)} training "
        f"rows determine {rank} of them; give an L2 penalty above 0, more rows or fewer features"
    )
  projected, found = u.T @ (y - y_mean), []
  for penalty in penalties:
    kernel = vt.T @ ((s / (s**2 + len(x) * penalty))[:, None] * projected)
    found.append({"kernel": kernel, "bias": y_mean - x_mean @ kernel})
  return found
