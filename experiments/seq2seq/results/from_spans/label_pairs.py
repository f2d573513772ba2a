"""Writes the last 80 words of IMDB's reviews with their sentiment as tables of pairs.

python experiments/seq2seq/results/from_spans/label_pairs.py FOLDER
"""

import csv
import pathlib
import sys

from dlx.data import documents

for name, part in documents.load("imdb_reviews", num_validation=2500)._asdict().items():
  with open(pathlib.Path(sys.argv[1], f"{name}.tsv"), "w", newline="") as file:
    table = csv.writer(file, delimiter="\t")
    table.writerow(["source", "target"])
    for text, label in zip(part.texts, part.labels):
      table.writerow([" ".join(text.split()[-80:]), part.classes[label]])
