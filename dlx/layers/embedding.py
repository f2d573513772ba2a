"""Embeddings of integer ids, and the tied output layer."""

import jax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dlx.layers import shapes


def init(rng: jax.Array, vocab_size: int, d: int) -> dict[str, Array]:
  """Draws the table `embedding (V, D)` with variance 1/D.

  A row then has an expected squared norm of 1, so `logits` starts at the scale of x.
  """
  return {"embedding": initializers.normal(d**-0.5)(rng, (vocab_size, d))}


def lookup(params: dict[str, Array], ids: Int[Array, "..."]) -> Float[Array, "... D"]:
  """Looks up rows of the table E: y = E[ids], which is one_hot(ids) E.

  Args:
    params: `embedding (V, D)`.
    ids: integers, `(...)`, in 0 .. V - 1. Values cannot be checked under jit: an id out of
      range gives a row of nan (for an integer table, of its minimum).

  Returns:
    `(..., D)` in the table's dtype.

  Raises:
    ValueError: ids are not integers.
  """
  shapes.expect_params(params, ("embedding",))
  (ids,) = shapes.as_arrays(ids)
  if not jnp.issubdtype(ids.dtype, jnp.integer):
    raise ValueError(f"ids: expected integers, got {ids.dtype}")
  return jnp.asarray(params["embedding"]).at[ids].get(mode="fill", wrap_negative_indices=False)


def with_last_rows(
    params: dict[str, Array], rows: Float[Array, "N D"]
) -> dict[str, Array]:
  """The params with the last N rows of the table replaced, in its dtype.

  Raises:
    ValueError: the table has fewer rows, or rows of another length.
  """
  table = params["embedding"]
  if len(rows) > len(table) or rows.shape[1:] != table.shape[1:]:
    raise ValueError(
        f"rows: expected at most {len(table)} rows of {table.shape[1]}, got {rows.shape}"
    )
  return {"embedding": table.at[len(table) - len(rows) :].set(rows)}


def logits(params: dict[str, Array], x: Float[Array, "... D"]) -> Float[Array, "... V"]:
  """Logits of all ids from the same table (tied output): y = x E^T.

  Args:
    params: `embedding (V, D)`.
    x: `(..., D)`.

  Returns:
    `(..., V)`.

  Raises:
    ValueError: the last dimension of x is not D.

  Source: Press and Wolf, "Using the output embedding to improve language models" (2017).
  """
  shapes.expect_last("x", x, params["embedding"].shape[1])
  return x @ params["embedding"].T


def fold(params: dict[str, Array], layer: dict[str, Array]) -> dict[str, Array]:
  """Folds the embedding into the layer after it, which then takes ids instead of vectors.

  With E the table and W the layer's `input` kernel, E[ids] W = (E W)[ids]: the layer with
  the kernel E W gives the same outputs from ids as the layer with W from their vectors.
  The product has V rows instead of one per token, so folding is faster when a batch has
  more tokens than the vocabulary has ids, as with characters. E and W receive gradients.

  Args:
    params: `embedding (V, D)`.
    layer: the params of a recurrent layer, with `input (D, ...)`.

  Returns:
    The layer's params with `input (V, ...)`.
  """
  return {**layer, "input": params["embedding"] @ layer["input"]}
