"""Proper names in texts, by their capitals.

A review that names actors says which film it is about. If other reviews of the film are among the
training documents, its names predict their opinion; for films that are not, they predict nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from dlx.data import word_documents
from dlx.errors import UserError

_BEFORE_A_SENTENCE = frozenset(".!?\":;(*-\u201c\u2026")  # After them a capital says nothing.


def find(texts: Iterable[str], *, share: float = 0.8) -> frozenset[str]:
  """The words, in lower case, of which more than a share begins with a capital within sentences.

  Words in capitals alone are not counted, nor words of one letter before an apostrophe: "I'm". For
  languages that write other words with a capital, as German does, this finds these, too.

  Args:
    texts: documents.
    share: of a word's occurrences.
  """
  capital, small = Counter(), Counter()
  for text in texts:
    tokens = word_documents.tokenize(text, lowercase=False)
    for before, word in zip(tokens, tokens[1:]):
      if before in _BEFORE_A_SENTENCE or not word[0].isalpha() or not word[1:2].isalpha():
        continue
      if word[0].islower():
        small[word.lower()] += 1
      elif not word.isupper():
        capital[word.lower()] += 1
  return frozenset(w for w, n in capital.items() if n > share * (n + small[w]))


def without(words: Sequence[str], texts: Iterable[str]) -> list[str]:
  """The words, in their order, but for the names of the texts.

  Raises:
    UserError: no word is left.
  """
  names = find(texts)
  if not (kept := [word for word in words if word.lower() not in names]):
    raise UserError("all words of the training documents are names; set data.drop_names=False")
  return kept
