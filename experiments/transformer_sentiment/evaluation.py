"""A trained classifier of texts at work: figures, answers, and what they rest on."""

from collections.abc import Iterable, Iterator, Sequence
import functools
import itertools
import textwrap

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import tokenizers

from dlx.data import bucketing, tokens
from dlx.data.labelled_text import LabelledTexts
from dlx.errors import UserError
from dlx.layers import losses
from dlx.metrics import classification
from dlx.models import attribution
from dlx.models.sequence_heads import Classifier, Experts
from dlx.reports import explanation, figures
from dlx.runs import run as runs
from dlx.training import classes as known_classes
from dlx.training import progress, sharding
from experiments.transformer_sentiment import splits

_ROWS = 64  # Texts classified at once.
_READ = 512  # Texts sorted by length together in prediction.
_MISTAKES = 50


def mask_of(ids, lengths):
  """True at the tokens of a text, (..., T)."""
  return jnp.arange(ids.shape[-1]) < lengths[..., None]


def make_map(config: ml_collections.ConfigDict, function, mesh: jax.sharding.Mesh):
  """`mapped(params, variables, ids, lengths, done) -> function's rows`, a few texts at a time.

  Args:
    config: with the lengths that texts are cut to.
    function: `function(params, variables, ids (B, T), lengths (B,)) -> (B, ...)`.
    mesh: the devices that share the texts of each time.

  Returns:
    mapped; done is that of `bucketing.map_sorted`.
  """
  rows = sharding.rows(_ROWS, mesh)

  @functools.partial(jax.jit, out_shardings=sharding.replicated(mesh))
  def of_group(params, variables, ids, lengths):
    return function(params, variables, *sharding.split_batch((ids, lengths), mesh))

  def mapped(params, variables, ids, lengths, done=None) -> np.ndarray:
    trained = sharding.whole((params, variables), mesh)
    run = lambda *group: of_group(*trained, *sharding.on_every_device(group, mesh))  # noqa: E731
    return bucketing.map_sorted(run, ids, lengths, splits.sizes(config), rows, done)

  return mapped


def make_classify(
    config: ml_collections.ConfigDict, model: Experts, mesh: jax.sharding.Mesh
):
  """`classify(params, variables, ids, lengths, done) -> logits (N, K)`; see `make_map`."""

  def logits(params, variables, ids, lengths):
    return model.apply({"params": params, **variables}, ids, mask_of(ids, lengths))

  return make_map(config, logits, mesh)


class TextClassifier:
  """A run's network with its tokenizer and its classes.

  Attributes:
    run, model, tokenizer, classes: the parts.
  """

  def __init__(
      self,
      run: runs.Run,
      model: Experts,
      tokenizer: tokenizers.Tokenizer,
      classes: Sequence[str],
  ):
    self.run, self.model, self.tokenizer, self.classes = run, model, tokenizer, classes
    self._classify = make_classify(run.config, model, sharding.make_mesh())

  def logits(self, texts: Sequence[str], done=None) -> np.ndarray:
    """(N, K), float64; done is that of `bucketing.map_sorted`."""
    encoded = tokens.encode(self.tokenizer, texts, self.run.config.data.max_length)
    return np.float64(self._classify(self.run.params, self.run.variables, *encoded, done))


def evaluate(classifier: TextClassifier, data: LabelledTexts, split: str) -> dict[str, float]:
  """The figures of a split; its confusion matrix and its mistakes go into the run's folder."""
  workdir = classifier.run.workdir
  with progress.Progress(len(data), 0, unit="text") as shown:
    logits = classifier.logits(data.texts, lambda count: shown.update(count, {}))
  probabilities = np.asarray(jax.nn.softmax(logits))
  matrix = classification.confusion_matrix(probabilities, data.labels)
  figures.confusion_matrix(workdir / f"confusion_{split}.png", matrix, data.classes)
  (workdir / f"mistakes_{split}.txt").write_text(_mistakes(data, probabilities), encoding="utf-8")
  return {
      "texts": len(data),
      "accuracy": classification.accuracy(probabilities, data.labels),
      "loss": float(losses.cross_entropy(logits, data.labels)),
      "F1": classification.f1(matrix),
      "calibration error": classification.calibration_error(probabilities, data.labels),
  }


def _mistakes(data: LabelledTexts, probabilities: np.ndarray) -> str:
  """The wrongly classified texts that the model is surest about, the surest first."""
  parts = []
  for place in classification.most_confident_mistakes(probabilities, data.labels, _MISTAKES):
    taken_for = probabilities[place].argmax()
    head = (
        f"taken for {data.classes[taken_for]} ({probabilities[place, taken_for]:.1%}), "
        f"is {data.classes[data.labels[place]]}:"
    )
    parts.append(f"{head}\n{textwrap.fill(data.texts[place], 98)}\n")
  return "\n".join(parts)


def predict(
    classifier: TextClassifier, texts: Iterable[str], top: int
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
  """Yields each text with its likeliest classes; see experiment.predict."""
  texts, read = iter(texts), 0
  while some := list(itertools.islice(texts, _READ)):
    for place, text in enumerate(some, read + 1):
      if not text.strip():
        raise UserError(f"text {place} is empty; there is nothing to classify")
    read += len(some)
    for text, probabilities in zip(some, np.asarray(jax.nn.softmax(classifier.logits(some)))):
      yield text, known_classes.likeliest(probabilities, classifier.classes, top)


def explain(classifier: TextClassifier, text: str) -> explanation.Explanation:
  """Attention, and the integrated gradients of the network's logits; see experiment.explain.

  Two classes are explained by the difference of their logits, more of them by the
  likeliest one's against the mean of the others.
  """
  if not text.strip():
    raise UserError("the text is empty; there is nothing to explain")
  encoding = classifier.tokenizer.encode(text)
  length = classifier.run.config.data.max_length
  ids, names, words = (
      tokens.cut(items, length) for items in (encoding.ids, encoding.tokens, encoding.word_ids)
  )
  probabilities = np.asarray(jax.nn.softmax(classifier.logits([text])[0]))
  likeliest = int(probabilities.argmax())
  network, params = classifier.model.network, classifier.run.params["network"]
  ids = jnp.asarray(ids, jnp.int32)
  _, sown = jax.jit(lambda p: network.apply({"params": p}, ids, mutable="attention"))(params)
  blocks = sown["attention"]["transformer"]
  weights = np.stack([
      np.asarray(blocks[f"block{i}"]["weights"][0]) for i in range(network.transformer.num_layers)
  ])
  return explanation.Explanation(
      label=classifier.classes[likeliest],
      probability=float(probabilities[likeliest]),
      tokens=tuple(names),
      words=tuple(words),
      scores=np.asarray(_scores(network, params, ids, likeliest)),
      attention=weights,
  )


def _scores(network: Classifier, params: dict, ids: jax.Array, likeliest: int) -> jax.Array:
  """How much each token (T,) speaks for a class, by integrated gradients.

  The rows of the embedding that a text reads become a table of its own, so that there is
  a gradient for every token; the text without tokens has [PAD]'s row at every place.
  """
  table = params["transformer"]["embedding"]["embedding"]
  small = network.clone(transformer=network.transformer.clone(vocab_size=len(ids)))

  def margin(rows):
    inner = {**params["transformer"], "embedding": {"embedding": rows}}
    logits = small.apply({"params": {**params, "transformer": inner}}, jnp.arange(len(ids)))
    others = (logits.sum() - logits[likeliest]) / (len(logits) - 1)
    return logits[likeliest] - others

  start = jnp.broadcast_to(table[0], (len(ids), table.shape[1]))
  integrate = functools.partial(attribution.integrated_gradients, margin)
  return jax.jit(integrate)(table[ids], start).sum(-1)
