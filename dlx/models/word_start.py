"""Embeddings that start from the word vectors of a file: settings, and which params are trained."""

from collections.abc import Callable

from jaxtyping import Array, Float

from dlx.layers import embedding
from dlx.settings import Rule, one_of, text

NAME = "words"  # Of the embedding among the params of a model.
SETTINGS = {
    "init_vectors": text(),  # A file of vectors, of word2vec or GloVe, to start the words from.
    "trainable": one_of("all", "all_but_words"),  # all_but_words: the words keep these vectors.
}
RULE = Rule(
    lambda c: c.get("trainable", "all") == "all" or c.init_vectors is not None,
    "trainable=all_but_words needs init_vectors, a file of word vectors",
    {"trainable": "all_but_words", "init_vectors": None},
)


def is_trained(trainable: str) -> Callable[[str], bool] | None:
  """Task.is_trained of a model with word embeddings."""
  if trainable == "all":
    return None
  return lambda name: not name.startswith(f"{NAME}.")


def start(variables: dict, vectors: Float[Array, "N D"] | None) -> dict:
  """The variables with these vectors as the last rows of the embedding; unchanged without them.

  The rows before them are of special tokens, such as the unknown word.
  """
  if vectors is None:
    return variables
  params = variables["params"]
  words = embedding.with_last_rows(params[NAME], vectors)
  return {**variables, "params": {**params, NAME: words}}
