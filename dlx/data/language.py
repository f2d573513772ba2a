"""Texts as data of language models."""

import numpy as np

from dlx import paths
from dlx.data import batches, corpus, vocabulary
from dlx.experiment import Data


def load(options, assets: dict | None = None, *, streams: int = 1) -> Data:
  """A corpus as ids; validation and test in non-overlapping sequences.

  Args:
    options: config.data, with the keys of dlx.settings.language_data.
    assets: of a run, with its vocabulary; None to learn one.
    streams: the parts of the training text that are read side by side.

  Returns:
    Data: train {"ids": (N,)}, validation and test {"inputs", "targets"} (W, T) with
    "characters", those of each target, unless each is one.

  Raises:
    UserError: the text cannot be read, or a split is shorter than a sequence.
  """
  encoded, assets = encode(options, assets)
  train = encoded["train"][0]
  batches.check_length("training", len(train), options.seq_len, streams)
  steps = max(1, len(train) // (options.batch_size * options.seq_len))
  held_out = {s: windows(s, *encoded[s], options.eval_seq_len) for s in ("validation", "test")}
  return Data({"ids": train}, **held_out, assets=assets, steps_per_epoch=steps)


def encode(options, assets: dict | None = None) -> tuple[dict[str, tuple], dict]:
  """({split: (ids (N,), characters of each or None)}, assets); see `load`."""
  text = _corpus(options)
  if not assets:
    seen = text.split("+".join(corpus.SPLITS) if options.get("vocab_source") == "all" else "train")
    if options.tokens == "characters":
      seen = "".join(sorted(text.characters))
    assets = vocabulary.learn(options.tokens, seen, options.get("vocab_size")).assets
  known = vocabulary.of(assets)
  return {split: known.encode(text.split(split)) for split in corpus.SPLITS}, assets


def _corpus(options) -> corpus.Corpus:
  if options.text and options.num_train_words:
    sizes = options.num_train_words, options.num_validation_words
    return corpus.from_file(paths.expand(options.text), num_words=sizes)
  return corpus.load(
      options.dataset, path=options.text, max_characters=options.max_characters
  )


def windows(
    split: str, ids: np.ndarray, characters: np.ndarray | None, seq_len: int
) -> dict[str, np.ndarray]:
  """Non-overlapping sequences of a split (W, T), with the characters of each target."""
  found = batches.windows(split, ids, seq_len)
  if characters is None:
    return found
  return {**found, "characters": batches.windows(split, characters, seq_len)["targets"]}
