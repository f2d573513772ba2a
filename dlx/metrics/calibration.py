"""Temperature scaling."""

from collections.abc import Callable


def fit_temperature(loss_at: Callable[[float], float]) -> float:
  """The temperature T in [0.5, 2] that minimizes the loss of logits / T on held-out data.

  An overfitted model is overconfident; temperature scaling corrects this with one number, and
  leaves the ranking of the classes unchanged.

  Args:
    loss_at: the cross-entropy of logits / T.

  Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (2017),
    section 4.2.
  """
  import scipy.optimize  # Half a second, which only evaluation needs.

  found = scipy.optimize.minimize_scalar(
      loss_at, bounds=(0.5, 2.0), method="bounded", options={"xatol": 1e-3}
  )
  return float(found.x)
