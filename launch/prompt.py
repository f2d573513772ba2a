r"""Classifies the texts of a table by prompts of a language model, and prints the accuracy.

  python -m launch.prompt --workdir=DIR --file=reviews.csv [--shots=0,1,4] [--examples=train.csv]
      [--template="Review: {text}\nSentiment: {label}\n\n"] [--score=sum] [--seed=0] [--json]

A prompt has k random examples and then a text without its label. The answer is the label with the
highest log-probability after the prompt (--score=sum), per token (mean), or relative to its
log-probability after the template's words between text and label (ratio).
"""

import collections

from absl import flags

from dlx import malloc
from dlx.errors import UserError
from launch.cli import opened, output, paths, program

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  opened.define_flags()
  flags.adopt_module_key_flags(opened)
  paths.define("file", None, "Required: a .csv, .tsv or .jsonl table of texts and labels.")
  paths.define("examples", None, "A table of the examples; --file, without the text itself.")
  flags.DEFINE_string("text_column", "text", "The column of the texts.")
  flags.DEFINE_string("label_column", "label", "The column of the labels.")
  flags.DEFINE_string(
      "template", r"{text}\nAnswer: {label}\n\n", r"How an example is written; \n is a line end."
  )
  flags.DEFINE_list("shots", ["0", "1", "4"], "Numbers of examples in a prompt.")
  flags.DEFINE_enum("score", "sum", ["sum", "mean", "ratio"], "Of an answer; see above.")
  flags.DEFINE_integer("seed", 0, "Seed of the examples.", lower_bound=0, upper_bound=2**32 - 1)
  output.define_flag()


def _shots() -> list[int]:
  if not FLAGS.shots or not all(k.strip().isdecimal() for k in FLAGS.shots):
    raise UserError(f"--shots={','.join(FLAGS.shots)}: expected numbers, for example --shots=0,1,4")
  return [int(k) for k in FLAGS.shots]


def main() -> None:
  """Prints the share of the majority class, and the accuracy with each number k of examples."""
  from dlx.data import prompts
  from dlx.distributed import processes
  from dlx.training import prompting

  shots, template = _shots(), prompts.Template.parse(FLAGS.template)
  columns = FLAGS.text_column, FLAGS.label_column
  rows = prompts.read(program.required("file"), *columns)
  pool = prompts.read(FLAGS.examples, *columns) if FLAGS.examples else rows
  labels = sorted({*rows.labels, *pool.labels})
  if len(labels) < 2:
    raise UserError(f"--file={FLAGS.file}: all labels are {labels[0]!r}; expected two or more")
  drawn = list(prompts.draw(rows, pool, max(shots), seed=FLAGS.seed))
  run = opened.opened_run()
  ((most, count),) = collections.Counter(rows.labels).most_common(1)
  majority, total = count / len(rows.labels), len(rows.labels)
  for i, k in enumerate(shots):
    examples = [shown[:k] for shown in drawn]
    found = prompting.answer(run, template, rows.texts, examples, labels, score=FLAGS.score)
    if found.shortened:
      processes.notice(
          f"{k} examples do not fit into the context with {found.shortened} of {total} texts; the "
          f"first ones are left out there"
      )
    right = [labels[i] == label for i, label in zip(found.predictions, rows.labels)]
    accuracy = sum(right) / total
    error = (accuracy * (1 - accuracy) / total) ** 0.5
    if FLAGS.json:
      values = {"examples": k, "rows": total, "accuracy": accuracy, "standard error": error}
      output.print_json({**values, "majority class": most, "majority": majority})
      continue
    if not i:
      print(f"{total:,} rows, {len(labels)} labels; majority class {most}: {majority:.1%}")
    print(f"k = {k}: accuracy {accuracy:.1%}, standard error {error:.1%}")


if __name__ == "__main__":
  malloc.restart()
  program.run(main, define_flags)
