"""Measures of translations: exact match, error rates and BLEU, by greedy and by beam search."""

from collections.abc import Callable, Mapping, Sequence
import importlib

from dlx.distributed import processes
from dlx.metrics import edit_distance


def bleu(predictions: Sequence[str], references: Sequence[str]) -> float | None:
  """sacrebleu's corpus BLEU with its tokenizer 13a; None where sacrebleu is not installed.

  Source: Papineni et al., "BLEU" (2002); Post, "A call for clarity in reporting BLEU scores"
    (2018).
  """
  try:
    sacrebleu = importlib.import_module("sacrebleu")
  except ModuleNotFoundError:
    processes.notice("BLEU is left out: sacrebleu is not installed (pip install sacrebleu)")
    return None
  return sacrebleu.corpus_bleu(list(predictions), [list(references)]).score


def make_measure(
    translators: Mapping[str, Callable], symbols_of: Callable, *, with_bleu: bool
) -> Callable:
  """`measure_fn` of a Task that translates.

  A source that occurs several times has several references: a translation is right if it is one
  of them, and its errors are counted against the nearest one.

  Args:
    translators: for each search, `translate(variables, examples, apply) -> texts`.
    symbols_of: the sequence of words, phonemes or characters of a text, whose errors are counted.
    with_bleu: measure BLEU too, of all pairs.
  """

  def measure_fn(variables, data, split, apply):
    examples = data.split(split)
    references, first = {}, []
    for i, (source, target) in enumerate(zip(examples["source_text"], examples["target_text"])):
      if source not in references:
        first.append(i)
      references.setdefault(source, []).append(target)
    unique = {name: array[first] for name, array in examples.items()}
    known, metrics = list(references.values()), {}
    for name, translate in translators.items():
      found = translate(variables, unique, apply)
      metrics[f"exact match, {name}"] = edit_distance.exact_match(found, known)
      metrics[f"symbol error rate, {name}"] = edit_distance.error_rate(
          list(map(symbols_of, found)), [list(map(symbols_of, texts)) for texts in known]
      )
      of_source = dict(zip(references, found))
      translations = [of_source[source] for source in examples["source_text"]]
      score = bleu(translations, examples["target_text"]) if with_bleu else None
      if score is not None:
        metrics[f"BLEU, {name}"] = score
    return metrics

  return measure_fn
