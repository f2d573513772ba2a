"""Prompts of a language model that classifies: labelled examples, then a text without its label."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dlx.data import tables
from dlx.errors import UserError

_FIELDS = ("{text}", "{label}")


class Rows(NamedTuple):
  """Texts with their labels, two lists of strings."""

  texts: list[str]
  labels: list[str]


def read(path: str, text_column: str, label_column: str) -> Rows:
  """The texts and labels of a table, without blanks around them.

  Raises:
    UserError: as dlx.data.tables.read, or a row has no text or no label, or there are no rows.
  """
  names = (text_column, label_column)
  columns, _ = tables.read(path, names)
  tables.expect_filled(path, names, columns)
  if not columns[0]:
    raise UserError(f"{path} has no rows; expected a text and its label in each")
  return Rows(*([value.strip() for value in column] for column in columns))


class Template(NamedTuple):
  r"""How an example is written: `before`, its text, `between`, its label, `after`.

  `parse("Review: {text}\nSentiment: {label}\n\n")` makes one of a string.
  """

  before: str
  between: str
  after: str

  @classmethod
  def parse(cls, template: str) -> "Template":
    r"""The template that a string describes, with {text} and {label}; \n is a line end.

    Raises:
      UserError: one of the two is missing or occurs twice, or {label} comes first.
    """
    counts = [template.count(field) for field in _FIELDS]
    if counts != [1, 1] or template.index(_FIELDS[0]) > template.index(_FIELDS[1]):
      raise UserError(
          f"the template {template!r} should have {{text}} once and {{label}} once after it, for "
          f"example 'Review: {{text}}\\nSentiment: {{label}}\\n\\n'"
      )
    before, rest = template.replace("\\n", "\n").split(_FIELDS[0])
    return cls(before, *rest.split(_FIELDS[1]))

  def prompt(self, examples: Sequence[tuple[str, str]], text: str) -> str:
    """The examples, (text, label) each, and the text up to its label.

    Blanks before the label belong to the answer, since they are part of its first byte pair.
    """
    shown = [f"{self.before}{t}{self.between}{label}{self.after}" for t, label in examples]
    return "".join([*shown, self.before, text, self.between.rstrip(" ")])

  def answer(self, label: str) -> str:
    """The label, with the blanks that `prompt` leaves out before it."""
    return self.between[len(self.between.rstrip(" ")) :] + label

  @property
  def cue(self) -> str:
    """What announces an answer, such as "Sentiment:"."""
    return self.between.strip()


def draw(rows: Rows, pool: Rows, count: int, *, seed: int = 0) -> Iterator[list[tuple[str, str]]]:
  """For each row, `count` random examples of the pool whose text is another one.

  The draw of k of them begins with that of fewer.

  Raises:
    UserError: the pool has too few examples.
  """
  for i, text in enumerate(rows.texts):
    order = np.random.default_rng((seed, i)).permutation(len(pool.texts)) if count else []
    others = (int(j) for j in order if pool.texts[j] != text)
    drawn = [(pool.texts[j], pool.labels[j]) for j, _ in zip(others, range(count))]
    if len(drawn) < count:
      raise UserError(
          f"{count} examples before a text: there are only {len(drawn)} with another text than row "
          f"{i + 1}; give fewer, or a larger table of examples"
      )
    yield drawn


def encode(
    vocabulary,
    template: Template,
    examples: list[tuple[str, str]],
    text: str,
    limit: int | None = None,
) -> tuple[np.ndarray, int]:
  """(ids of the prompt, number of examples left out so that it has at most `limit` tokens).

  The first examples are left out. Unknown words of the text and the examples become <unk>.

  Args:
    vocabulary: of dlx.data.vocabulary.
    template, examples, text: see `Template.prompt`.
    limit: the maximum number of tokens, None for any.

  Raises:
    UserError: a character is unknown, or the text alone is longer than the limit.
  """
  for left_out in range(len(examples) + 1):
    ids, _ = vocabulary.encode(template.prompt(examples[left_out:], text))
    if limit is None or len(ids) <= limit:
      return ids, left_out
  raise UserError(
      f"{len(ids)} tokens without an example, but beside the answer the context has {limit}; "
      f"shorten the text, or train with a larger data.seq_len"
  )
