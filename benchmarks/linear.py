"""Logistic regression on images beside scikit-learn: accuracy, objective and time of the whole fit.

  python -m benchmarks.linear --images=DIR [--l2=1e-4] [--rounds=3] [--output=FILE]

DIR has MNIST's four IDX files. Both libraries minimize the same function by L-BFGS on the same
images, that of experiments/linear_models:fashion, and end by their own conditions: dlx where the
gradient's norm is below 1e-5, scikit-learn where its largest entry is below --tolerance, 1e-4 by
default. The time contains dlx's compilation.
"""

from collections.abc import Callable
import os

from absl import app, flags, logging
import numpy as np
from rich.console import Console

from benchmarks import timing
from dlx import doctor, malloc
from dlx.data import vectors
from dlx.models import linear_models
from experiments.linear_models.config import get_config

try:
  import sklearn
  from sklearn import linear_model
except ImportError:
  sklearn = None

_IMAGES = flags.DEFINE_string("images", None, "Folder with MNIST's IDX files.")
L2 = flags.DEFINE_float("l2", 1e-4, "The penalty is l2 / 2 |W|^2.", lower_bound=1e-12)
TOLERANCE = flags.DEFINE_float("tolerance", 1e-4, "Of scikit-learn's gradient.")
COLUMNS = {"test_accuracy": ".2%", "objective": ".6f", "steps": "d", "seconds": ".1f"}


def fit_dlx(train, num_classes: int, l2: float):
  """(kernel (D, K), bias (K,), steps) by dlx."""
  found = linear_models.fit("softmax", train["inputs"], train, num_classes, l2=l2)
  kernel, bias = (np.asarray(found["params"][name]) for name in ("kernel", "bias"))
  return kernel, bias, int(found["solver"]["steps"])


def fit_sklearn(train, l2: float, tolerance: float):
  """The same by scikit-learn, whose C is 1 / (l2 N); of more than two classes."""
  model = linear_model.LogisticRegression(
      C=1 / (l2 * len(train["labels"])), tol=tolerance, max_iter=1000
  )
  model.fit(train["inputs"], train["labels"])
  return model.coef_.T, model.intercept_, int(model.n_iter_.max())


def judge(found, train, test, l2: float) -> dict[str, float]:
  """Test accuracy, and the objective in float64."""
  kernel, bias = (np.asarray(value, np.float64) for value in found[:2])
  scores = train["inputs"] @ kernel + bias
  largest = scores.max(1)
  log_sum = largest + np.log(np.exp(scores - largest[:, None]).sum(1))
  loss = (log_sum - scores[np.arange(len(scores)), train["labels"]]).mean()
  right = (test["inputs"] @ kernel + bias).argmax(1) == test["labels"]
  return {
      "test_accuracy": right.mean(), "objective": loss + l2 / 2 * (kernel**2).sum(),
      "steps": found[2],
  }  # fmt: skip


def measure(train, test, num_classes: int, *, l2: float, tolerance: float, rounds: int):
  """A row for each library, for images."""
  fits = {
      "dlx": lambda: fit_dlx(train, num_classes, l2),
      "scikit-learn": lambda: fit_sklearn(train, l2, tolerance),
  }
  return compare(fits, lambda found: judge(found, train, test, l2), rounds)


def compare(fits: dict[str, Callable], judge: Callable, rounds: int) -> list[dict]:
  """A row for each library; they take turns, and the time is the minimum over the rounds.

  Args:
    fits: `fit() -> found`, by library; scikit-learn's is left out where it is not installed.
    judge: `judge(found) -> {column: value}`.
    rounds: how often each fits.
  """
  if sklearn is None:
    fits = {name: fit for name, fit in fits.items() if name != "scikit-learn"}
  timed = timing.in_turns(fits, rounds)
  return [
      {"library": name, **judge(found), "seconds": seconds}
      for name, (seconds, found) in timed.items()
  ]


def report(rows: list[dict], title: str, load: float) -> None:
  """Prints the rows of `compare`, and writes them to --output."""
  machine = doctor.environment()
  if sklearn is None:
    print('scikit-learn is not installed, so it has no row; pip install -e ".[bench]"')
  else:
    machine["versions"]["scikit-learn"] = sklearn.__version__
  console = Console(width=120)
  console.print(f"{machine['cores']} cores, load {load:.1f} before the start")
  console.print(timing.table(title, rows, COLUMNS))
  timing.write({
      "machine": machine, "rounds": timing.ROUNDS.value, "load_before": load, "rows": rows
  })  # fmt: skip


def main(argv: list[str]) -> None:
  """Measures and prints."""
  malloc.restart()
  if len(argv) > 1:
    raise app.UsageError(f"unknown argument {argv[1]}")
  if _IMAGES.value is None:
    raise app.UsageError("--images is missing")
  logging.set_verbosity(logging.WARNING)
  load = os.getloadavg()[0]
  options = get_config("fashion", {"data.images": _IMAGES.value}).data
  data = vectors.load(options, "classification")
  rows = measure(
      data.train, data.test, len(data.assets["classes"]), l2=L2.value,
      tolerance=TOLERANCE.value, rounds=timing.ROUNDS.value,
  )  # fmt: skip
  title = f"logistic regression of {len(data.train['labels']):,} images, l2 = {L2.value:g}"
  report(rows, title, load)


if __name__ == "__main__":
  app.run(main)
