"""Metrics of taggers: accuracy of known and unknown words, F1 of entities, confusions; answers."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dlx.data.tagged import pieces
from dlx.errors import UserError
from dlx.experiment import Arrays, Data

Tags = Sequence[Sequence[str]]


def is_chunked(tags: Sequence[str]) -> bool:
  """Whether all tags are O or begin with B-, I-, E- or S-, and some do."""
  return all(t == "O" or t[:2] in ("B-", "I-", "E-", "S-") for t in tags) and set(tags) != {"O"}


def chunks(tags: Sequence[str]) -> Iterator[tuple[int, int, str]]:
  """(first, last, type) of the chunks of a sentence, as conlleval finds them.

  A chunk begins at B or S, and at I or E after O, after E or S, or after another type; it ends
  where the next one begins, at O, and after E or S. So I without a B begins one, as in IOB1.

  Source: Tjong Kim Sang and Buchholz, "Introduction to the CoNLL-2000 shared task: chunking"
    (2000), and its script conlleval.
  """
  first, before, kind = None, "O", ""
  for i, tag in enumerate((*tags, "O")):
    mark, _, new = tag.partition("-")
    begins = mark in ("B", "S") or (
        mark in ("I", "E") and (before in ("O", "E", "S") or new != kind)
    )
    if first is not None and (begins or mark == "O"):
      yield first, i - 1, kind
      first = None
    if begins:
      first = i
    before, kind = mark, new


def entity_scores(true: Tags, predicted: Tags) -> dict[str, float]:
  """Precision, recall and F1 of whole chunks: first, last and type must be right.

  F1 = 2 P R / (P + R); each is 0 where it is 0 / 0, as in conlleval.

  Args:
    true, predicted: the tags of each sentence.
  """
  counts = np.zeros(3)  # Right, predicted, true.
  for sentences in zip(true, predicted):
    expected, found = (set(chunks(tags)) for tags in sentences)
    counts += len(expected & found), len(found), len(expected)
  right, total, wanted = map(float, counts)
  return {
      "entity precision": right / max(total, 1),
      "entity recall": right / max(wanted, 1),
      "entity F1": 2 * right / max(total + wanted, 1),
  }


def accuracies(right: np.ndarray, valid: np.ndarray, seen: np.ndarray) -> dict[str, float]:
  """Accuracy on the words that occur in training and on the others, where there are some.

  Args:
    right, valid, seen: bool, of one shape.
  """
  parts = {"known": valid & seen, "unknown": valid & ~seen}
  return {
      "unknown words": float(parts["unknown"].sum() / max(valid.sum(), 1)),
      **{f"accuracy of {k} words": float(right[m].mean()) for k, m in parts.items() if m.any()},
  }


def measure(
    found: np.ndarray, labels: np.ndarray, valid: np.ndarray, seen: np.ndarray, tags: Sequence[str]
) -> dict[str, float]:
  """The accuracies and, where the tags are of chunks, the scores of the entities.

  Args:
    found, labels: ids of tags (N, T); a label of -1 is a tag that is not among `tags`.
    valid, seen: bool (N, T), whether there is a word, and whether training has it.
    tags: K names.
  """
  metrics = accuracies(found == labels, valid, seen)
  if is_chunked(tags):
    named = [*tags, "I-?"]  # The last one for -1: an entity that is missed.
    pairs = ([[named[k] for k in row[v]] for row, v in zip(x, valid)] for x in (labels, found))
    metrics |= entity_scores(*pairs)
  return metrics


def answers(rows: Tags, found: Tags, *, json: bool) -> list[str] | list[dict]:
  """What `predict` of a Task returns: word/tag pairs, or {"words", "tags"}, for each sentence."""
  if json:
    return [{"words": row, "tags": tags} for row, tags in zip(rows, found)]
  return [" ".join(map("/".join, zip(row, tags))) for row, tags in zip(rows, found)]


def compared(
    tags_fn: Callable, data: Data, split: str, apply: Callable
) -> tuple[Arrays, np.ndarray, np.ndarray]:
  """(examples of a split, ids of the tags found (N, T), whether there is a word (N, T)).

  Args:
    tags_fn: `tags_fn(variables, batch, rng) -> ids of tags (B, T)`.
    data: its examples have "labels" (N, T) and "lengths" (N,).
    split, apply: see dlx.experiment.
  """
  examples = data.split(split)
  valid = np.arange(examples["labels"].shape[1]) < examples["lengths"][:, None]
  return examples, apply(tags_fn, examples), valid


def make_measure(tags_fn: Callable, tags: Sequence[str]) -> Callable:
  """`measure_fn` of a Task: `measure` of the tags that `compared` finds, of K names."""

  def measure_fn(variables, data, split, apply):
    examples, found, valid = compared(tags_fn, data, split, apply)
    return measure(found, examples["labels"], valid, examples["seen"], tags)

  return measure_fn


def make_predict(
    tags_fn: Callable, tags: Sequence[str], read: Callable, max_length: int
) -> Callable:
  """`predict` of a Task: the words of each line with their tags; see `answers`.

  Args:
    tags_fn: `tags_fn(variables, batch, rng) -> ids of tags (B, T)`.
    tags: K names.
    read: `read(words of sentences) -> arrays`, of at most max_length words.
    max_length: longer lines are cut in pieces, which are tagged one by one.
  """

  def predict(variables, lines, apply, *, json: bool = False):
    rows = [line.split() for line in lines]
    if not all(rows):
      raise UserError("a sentence is empty; give its words, separated by spaces")
    cut = [pieces(row, max_length) for row in rows]
    flat = [piece for parts in cut for piece in parts]
    found = zip(flat, apply(tags_fn, read(flat)))
    named = iter([[tags[k] for k in row[: len(piece)]] for piece, row in found])
    each = [[tag for _ in parts for tag in next(named)] for parts in cut]
    return answers(rows, each, json=json)

  return predict


def most_confused(matrix: np.ndarray, count: int) -> np.ndarray:
  """The classes with the most errors, true or predicted, in ascending order.

  Args:
    matrix: counts (K, K), row the true class, column the predicted one.
    count: at most so many.
  """
  errors = matrix.sum(0) + matrix.sum(1) - 2 * matrix.diagonal()
  best = np.argsort(-errors, kind="stable")[:count]
  return np.sort(best[errors[best] > 0])


def describe_confusions(matrix: np.ndarray, classes: Sequence[str], count: int = 50) -> str:
  """The most frequent pairs of a true and a wrong predicted class, a line each."""
  wrong = matrix - np.diag(matrix.diagonal())
  cells = np.argsort(-wrong, axis=None, kind="stable")[:count]
  rows = (divmod(int(cell), len(classes)) for cell in cells)
  lines = [f"{wrong[i, j]:6} {classes[i]} -> {classes[j]}" for i, j in rows if wrong[i, j]]
  return "\n".join(["errors true -> predicted", *lines, ""])
