"""Scores a file of word vectors, of word2vec's or GloVe's text format, as an experiment's are.

  python -m launch.score --vectors=glove.txt --similarity=wordsim353.tsv,simlex999.txt \
      --analogies=questions-words.txt [--most_frequent=300000] [--json]

Similarity is Spearman's rank correlation with judgements, analogies the share of right answers by
3CosAdd; beside each stands the share of pairs or questions whose words the file has.
"""

from absl import flags

from dlx.errors import UserError
from launch.cli import output, paths, program

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  paths.define("vectors", None, "Required: a word and its numbers per line; may end in .gz.")
  flags.DEFINE_string("similarity", None, "Files of two words and a number, separated by commas.")
  paths.define("analogies", None, "A file of four words per line.")
  flags.DEFINE_integer(
      "most_frequent", 300_000, "Analogies use so many words, the first of the file.", 1
  )
  output.define_flag()


def main() -> None:
  """Prints one metric per line, or all as JSON."""
  from dlx.data import word_vectors
  from dlx.metrics import word_similarity

  path = program.required("vectors")
  if not FLAGS.similarity and not FLAGS.analogies:
    raise UserError("nothing to measure; give --similarity, --analogies or both")
  found = word_vectors.read(path)
  metrics = word_similarity.measure(
      word_similarity.Vectors(*found), FLAGS.similarity, FLAGS.analogies,
      most_frequent=FLAGS.most_frequent,
  )  # fmt: skip
  size, d = found.vectors.shape
  if FLAGS.json:
    output.print_json({"vectors": str(path), "words": size, "d": d, "metrics": metrics})
    return
  print(f"{path}: {size:,} words, {d} dimensions")
  for name, value in metrics.items():
    print(f"{name}: {value:.4f}")


if __name__ == "__main__":
  program.run(main, define_flags)
