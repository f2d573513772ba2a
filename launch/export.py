"""Exports a run's variables as one safetensors file, with config and assets as JSON.

  python -m launch.export --workdir=DIR --output=DIR [--checkpoint=best]
  python -m launch.export --workdir=DIR --output=vectors.txt --format=word2vec

The other programs take the exported folder as --workdir, too. word2vec: the vectors of words as a
text file, which gensim and others read.
"""

from absl import flags

from launch.cli import opened, paths, program

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  opened.define_flags()
  flags.adopt_module_key_flags(opened)
  paths.define("output", None, "Required: the folder to write, new or empty, or the file.")
  flags.DEFINE_enum("format", "safetensors", ["safetensors", "word2vec"], "What to write.")


def main() -> None:
  """Exports."""
  from dlx.runs import export

  output = program.required("output")
  run = opened.opened_run()
  write = {"safetensors": export.export, "word2vec": export.export_vectors}[FLAGS.format]
  print(f"{write(run, output)}: step {run.step}")


if __name__ == "__main__":
  program.run(main, define_flags)
