"""Token attributions and attention maps of a transformer classifier."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from dlx.models import attribution
from dlx.models.sequence_heads import Classifier


def attention_maps(
    network: Classifier, params: dict, ids: Int[Array, "T"]
) -> Float[np.ndarray, "layers heads T T"]:
  """The attention weights of every head on one document: row t is the query at position t."""
  _, sown = jax.jit(lambda p: network.apply({"params": p}, ids, mutable="attention"))(params)
  blocks = sown["attention"]["transformer"]
  return np.stack([
      np.asarray(blocks[f"block{i}"]["weights"][0]) for i in range(network.transformer.num_layers)
  ])


def token_attributions(
    network: Classifier, params: dict, ids: Int[Array, "T"], label: int
) -> Float[Array, "T"]:
  """The attribution of each token to a class, by integrated gradients.

  The attributed value is the class's logit minus the mean logit of the other classes; the
  baseline is a document of [PAD] tokens. The embeddings of the document become a table of their
  own, so that every token has its own gradient.

  Args:
    network: the classifier.
    params: of it.
    ids: one document.
    label: the class.
  """
  table = params["transformer"]["embedding"]["embedding"]
  small = network.clone(transformer=network.transformer.clone(vocab_size=len(ids)))

  def margin(rows):
    inner = {**params["transformer"], "embedding": {"embedding": rows}}
    logits = small.apply({"params": {**params, "transformer": inner}}, jnp.arange(len(ids)))
    others = (logits.sum() - logits[label]) / (len(logits) - 1)
    return logits[label] - others

  baseline = jnp.broadcast_to(table[0], (len(ids), table.shape[1]))
  integrate = functools.partial(attribution.integrated_gradients, margin)
  return jax.jit(integrate)(table[ids], baseline).sum(-1)
