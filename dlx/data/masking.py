"""Tokens hidden for masked language modelling."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def hide(
    rng: jax.Array,
    ids: Int[Array, "B T"],
    lengths: Int[Array, "B"],
    *,
    rate: float,
    mask_id: int,
    vocab_size: int,
    num_special: int,
) -> tuple[Int[Array, "B T"], Int[Array, "B M"], Bool[Array, "B M"]]:
  """Chooses a share of each row's tokens; most of them become [MASK].

  Of the chosen ones 80 % become [MASK], 10 % a token at random and 10 % stay, so that a
  network must doubt every token and knows the ones it will meet without masks. The first
  and the last token of a row are never chosen.

  Args:
    rng: a typed key.
    ids: rows that begin with [CLS] and end with [SEP], padded.
    lengths: of the rows.
    rate: of the tokens between the two, at least one of which is chosen, if there is one.
    mask_id: that of [MASK].
    vocab_size: V.
    num_special: a token at random is one of num_special .. V - 1.

  Returns:
    (ids with tokens hidden, places, whether a place is a chosen one): M is what the rate
    makes of T - 2, and a shorter row has less.

  Source: Devlin et al., "BERT" (2019), section 3.1.
  """
  ids = jnp.asarray(ids)
  order_rng, how_rng, token_rng = jax.random.split(rng, 3)
  inner = jnp.arange(ids.shape[1]) - 1
  inner = (inner >= 0) & (inner < lengths[:, None] - 2)
  order = jnp.where(inner, jax.random.uniform(order_rng, ids.shape), -1)
  most = max(1, round(rate * (ids.shape[1] - 2)))
  _, places = jax.lax.top_k(order, most)
  count = jnp.clip(jnp.round(rate * (lengths - 2)), 1, most)
  chosen = (jnp.arange(most) < count[:, None]) & jnp.take_along_axis(inner, places, 1)
  old = jnp.take_along_axis(ids, places, 1)
  how = jax.random.uniform(how_rng, places.shape)
  random = jax.random.randint(token_rng, places.shape, num_special, vocab_size)
  new = jnp.where(how < 0.8, mask_id, jnp.where(how < 0.9, random, old))
  rows = jnp.arange(len(ids))[:, None]
  return ids.at[rows, places].set(jnp.where(chosen, new, old)), places, chosen
