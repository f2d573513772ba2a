"""The settings of dlx.data.vectors: rows of a config table, and their rules."""

from dlx.data import vectors
from dlx.settings import Rule, count, matching, one_of, text

SETTINGS = {
    "data.file": text(),  # A table, which replaces the dataset.
    "data.target": matching("target", r"(?s).+", "the name of a column", ""),
    "data.features": text(),  # Columns between commas; None: all but the target.
    "data.images": text(),  # A folder of images, which replaces the dataset.
    "data.dataset": one_of(*vectors.SOURCES),
    "data.size": count(None, low=4, optional=True),  # Pixels of images; None: the dataset's own.
    "data.num_points": count(400, low=3),  # Of a generated set: training and validation.
    "data.num_validation": count(5000),  # Taken from the training split.
}
RULES = (
    Rule(
        lambda c: not (c.data.file and c.data.images),
        "data.file and data.images both replace the dataset; give one of them",
        {"data.file": "table.csv", "data.images": "images"},
    ),
)
