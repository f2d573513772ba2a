"""Word vectors against human judgements of similarity, and in analogies."""

from collections.abc import Sequence
import pathlib
from typing import NamedTuple

from jaxtyping import Float
import numpy as np
import scipy.stats

from dlx import paths
from dlx.data import text
from dlx.errors import UserError

_BLOCK = 256  # Questions whose similarities to all words are in memory.


class Vectors:
  """Words with unit vectors; words are compared in lower case if that is how they are known."""

  def __init__(self, words: Sequence[str], vectors: Float[np.ndarray, "V D"]):
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    self.words = words
    self.unit = vectors / np.maximum(lengths, 1e-30)
    self._ids = {}
    for i, word in enumerate(words):
      self._ids.setdefault(word, i)
    self._folded = {}
    for word, i in self._ids.items():  # The more frequent spelling comes first.
      self._folded.setdefault(word.lower(), i)

  def find(self, word: str) -> int | None:
    """The index of a word, or of the same word in other upper and lower case; None."""
    return self._ids.get(word, self._folded.get(word.lower()))


class Similarities(NamedTuple):
  """Pairs of words with a judgement each."""

  pairs: list[tuple[str, str]]
  scores: Float[np.ndarray, "N"]


def read_similarities(path: str | pathlib.Path) -> Similarities:
  """A file with two words and a number per line, separated by tabs or commas.

  Lines that begin with # are comments, and the first line may name the columns: WordSim-353 and
  SimLex-999, with its judgement in the fourth column ("SimLex999"), are read as they are
  published.

  Raises:
    UserError: the file cannot be read, or a line is malformed (the message has its number).
  """
  pairs, scores, column = [], [], 2
  for number, line in _lines(path):
    parts = [part.strip() for part in line.split("\t" if "\t" in line else ",")]
    if not pairs and len(parts) > 2 and not _is_number(parts[column]):
      column = parts.index("SimLex999") if "SimLex999" in parts else 2
      continue
    if len(parts) <= column or not _is_number(parts[column]):
      raise UserError(
          f"{path}: line {number}: expected two words and a number, separated by tabs or commas, "
          f"got {line[:60]!r}"
      )
    pairs.append((parts[0], parts[1]))
    scores.append(float(parts[column]))
  if len(pairs) < 2:
    raise UserError(f"{path} has {len(pairs)} pairs of words; expected at least two")
  return Similarities(pairs, np.array(scores))


def read_analogies(path: str | pathlib.Path) -> dict[str, list[tuple[str, ...]]]:
  """The questions of a file by section: four words per line, ": name" begins a section.

  Raises:
    UserError: the file cannot be read, or a line is malformed (the message has its number).
  """
  sections, name = {}, "all"
  for number, line in _lines(path):
    if line.startswith(":"):
      name = line[1:].strip()
      continue
    words = tuple(line.split())
    if len(words) != 4:
      raise UserError(f"{path}: line {number}: expected four words, got {len(words)}")
    sections.setdefault(name, []).append(words)
  if not sections:
    raise UserError(f"{path} has no analogies; expected four words per line")
  return sections


def _lines(path):
  for number, line in enumerate(text.lines(paths.expand(path)), 1):
    if line.strip() and not line.startswith("#"):
      yield number, line.strip()


def _is_number(word: str) -> bool:
  try:
    return bool(np.isfinite(float(word)))
  except ValueError:
    return False


def correlation(vectors: Vectors, judged: Similarities) -> tuple[float, int]:
  """(Spearman's rank correlation of cosines and judgements, the pairs with both words known).

  Equal judgements, and equal cosines, have the mean of their ranks. nan for fewer than two
  pairs, or when all have one value.

  Source: Finkelstein et al., "Placing search in context: the concept revisited" (2002).
  """
  found = [(vectors.find(a), vectors.find(b)) for a, b in judged.pairs]
  known = np.array([a is not None and b is not None for a, b in found])
  if known.sum() < 2:
    return float("nan"), int(known.sum())
  at = np.array([pair for pair, is_known in zip(found, known) if is_known])
  cosines = (vectors.unit[at[:, 0]] * vectors.unit[at[:, 1]]).sum(-1)
  ranks = [scipy.stats.rankdata(x) for x in (cosines, judged.scores[known])]
  if any((r == r[0]).all() for r in ranks):
    return float("nan"), len(at)
  return float(np.corrcoef(*ranks)[0, 1]), len(at)


def analogies(
    vectors: Vectors, questions: Sequence[tuple[str, ...]], *, most_frequent: int | None = None
) -> tuple[int, int]:
  """(how many questions are answered rightly, how many have only known words).

  "a is to b as c is to ?" is answered by the word, other than a, b and c, whose unit vector is
  closest to b - a + c (3CosAdd).

  Args:
    vectors: the more frequent words first.
    questions: a, b, c and the answer, each.
    most_frequent: search the answer among so many words, and count a question as known only if
      its words are among them; all when None.

  Source: Mikolov, Yih, Zweig, "Linguistic regularities in continuous space word representations"
    (2013).
  """
  size = len(vectors.words) if most_frequent is None else most_frequent
  at = [[vectors.find(word) for word in question] for question in questions]
  at = np.array([q for q in at if all(i is not None and i < size for i in q)]).reshape(-1, 4)
  right, unit = 0, vectors.unit[:size]
  for start in range(0, len(at), _BLOCK):
    block = at[start : start + _BLOCK]
    a, b, c = (unit[block[:, i]] for i in range(3))
    scores = (b - a + c) @ unit.T
    np.put_along_axis(scores, block[:, :3], -np.inf, 1)
    right += int((scores.argmax(1) == block[:, 3]).sum())
  return right, len(at)


def measure(
    vectors: Vectors,
    similarity: str | None = None,
    analogy: str | None = None,
    *,
    most_frequent: int | None = None,
) -> dict[str, float]:
  """The correlation with each file of judgements, and the share of right analogies.

  Args:
    vectors: the more frequent words first.
    similarity: names of files, separated by commas; see `read_similarities`.
    analogy: the name of a file; see `read_analogies`.
    most_frequent: as for `analogies`.

  Returns:
    For each file its metric, and beside it the share of pairs or questions whose words are known.

  Raises:
    UserError: a file cannot be read, or two files have one name.
  """
  found = {}
  for path in filter(None, (similarity or "").split(",")):
    judged, name = read_similarities(path), pathlib.Path(path).stem
    if name in found:
      raise UserError(f"two files of similarities have the name {name}; rename one")
    found[name], known = correlation(vectors, judged)
    found[f"{name} known"] = known / len(judged.pairs)
  if analogy:
    right = known = total = 0
    for questions in read_analogies(analogy).values():
      results = analogies(vectors, questions, most_frequent=most_frequent)
      right, known, total = right + results[0], known + results[1], total + len(questions)
    found["analogies"] = right / known if known else float("nan")
    found["analogies known"] = known / total
  return found


def neighbours(
    vectors: Vectors, positive: Sequence[int], negative: Sequence[int] = (), *, top: int = 5
) -> list[tuple[str, float]]:
  """The words closest to a sum of unit vectors, with their cosines, the closest first.

  Args:
    vectors: the words.
    positive, negative: indices of words to add and to subtract; none of them is a result.
    top: the number of results, at most.
  """
  query = vectors.unit[list(positive)].sum(0) - vectors.unit[list(negative)].sum(0)
  cosines = vectors.unit @ query / max(np.linalg.norm(query), 1e-30)
  cosines[[*positive, *negative]] = -np.inf
  best = np.argsort(-cosines, kind="stable")[:top]
  return [(vectors.words[i], float(cosines[i])) for i in best if np.isfinite(cosines[i])]


def answer(vectors: Vectors, line: str, *, top: int = 5, json: bool = False) -> str | dict:
  """The neighbours of "king", or of the sum "king - man + woman", as a line or as a dict.

  Words without a sign are added; those that are not in the vocabulary are left out, and named.

  Raises:
    UserError: none of the words is in the vocabulary.
  """
  signs, found, unknown, sign = {"+": 0, "-": 1, "−": 1}, ([], []), [], 0
  for word in line.split():
    if word in signs:
      sign = signs[word]
      continue
    index = vectors.find(word)
    unknown.append(word) if index is None else found[sign].append(index)
    sign = 0
  if not found[0] + found[1]:
    raise UserError(
        f"{line!r}: none of its words is among the {len(vectors.words)} of the vocabulary; "
        f'expected a word, or a sum such as "king - man + woman"'
    )
  nearest = neighbours(vectors, *found, top=top)
  if json:
    words = [{"word": word, "cosine": cosine} for word, cosine in nearest]
    return {"input": line, "nearest": words, "unknown": unknown}
  note = f"  (unknown: {', '.join(unknown)})" if unknown else ""
  return ", ".join(f"{word} {cosine:.3f}" for word, cosine in nearest) + note
