"""A table of documents whose second half tells their class."""

import numpy as np

import dlx
from experiments.document_vectors import config as vector_configs


def write(path, num_documents, names=("red", "green")):
  """The second half has words of the document's class, the first half those of any class."""
  rng, rows = np.random.default_rng(0), ["text\tlabel"]
  for i in range(num_documents):
    own, other = names[i % len(names)], names[rng.integers(len(names))]
    halves = [[f"{name}{k}" for k in rng.integers(0, 8, 5)] for name in (other, own)]
    rows.append(f"{' '.join(halves[0])} w {' '.join(halves[1])} v\t{own}")
  path.write_text("\n".join(rows))
  return str(path)


def train_vectors(table, workdir):
  """The folder of a run of document vectors of the table, 60 documents of it for validation."""
  steps = {f"training.{name}": 60 for name in ("total_steps", "eval_every", "save_every")}
  changes = {"data.file": table, "data.num_validation": 60, "model.min_count": 1, **steps}
  dlx.train(vector_configs.get_config("debug", changes), workdir)
  return workdir
