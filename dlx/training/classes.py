"""The classes that a run knows, and the examples it began with: classes.json in its folder."""

from collections.abc import Sequence
import json
import pathlib

import numpy as np

from dlx.distributed import processes
from dlx.errors import UserError

CLASSES = "classes.json"


def record(workdir: pathlib.Path, data, what: str) -> None:
  """Writes the classes, or makes sure that a run resumes on the examples it began with.

  Every process looks; the first one writes.

  Args:
    workdir: of the run.
    data: the training examples, with `classes`, `fingerprint` and a length.
    what: they are, "images" say.

  Raises:
    UserError: the run began with others.
  """
  path = workdir / CLASSES
  content = {"classes": list(data.classes), what: len(data), "fingerprint": data.fingerprint}
  known = path.exists()
  processes.on_first(lambda: None if known else _write(path, content))
  if known and json.loads(path.read_text()) != content:
    raise UserError(
        f"the training {what} are not those that the run in {workdir} began with; bring them "
        f"back, or train in another --workdir"
    )


def _write(path: pathlib.Path, content: dict) -> None:
  path.write_text(json.dumps(content, indent=2) + "\n")


def load(workdir: pathlib.Path) -> tuple[str, ...]:
  """The classes of a run."""
  return tuple(json.loads((workdir / CLASSES).read_text())["classes"])


def check(workdir: pathlib.Path, data, what: str) -> None:
  """Raises UserError unless examples have the classes that the run knows."""
  known = load(workdir)
  if known != tuple(data.classes):
    raise UserError(
        f"the run in {workdir} knows the classes {', '.join(known)}, but the {what} have "
        f"{', '.join(data.classes)}"
    )


def likeliest(
    probabilities: np.ndarray, classes: Sequence[str], top: int
) -> list[tuple[str, float]]:
  """The `top` likeliest classes of one example with their probabilities (K,)."""
  best = np.argsort(-probabilities, kind="stable")[:top]
  return [(classes[i], float(probabilities[i])) for i in best]
