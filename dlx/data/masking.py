"""Masked language modelling: which tokens are masked, and how."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def mask_tokens(
    rng: jax.Array,
    ids: Int[Array, "B T"],
    lengths: Int[Array, "B"],
    *,
    rate: float,
    mask_id: int,
    vocab_size: int,
    num_special: int,
    excluded: Bool[Array, "B T"] | None = None,
) -> tuple[Int[Array, "B T"], Int[Array, "B M"], Bool[Array, "B M"]]:
  """Selects a fraction of each row's tokens as prediction targets and masks most of them.

  Of the selected tokens 80 % become [MASK], 10 % a random token, and 10 % are unchanged, so
  that the model cannot rely on [MASK] marking every prediction target. The first and the
  last token of a row are never selected.

  Args:
    rng: a typed key.
    ids: padded rows that begin with [CLS] and end with [SEP].
    lengths: row lengths, [CLS] and [SEP] included.
    rate: the fraction of the tokens between the two that is selected, rounded, and at least
      one token where there is one.
    mask_id: the id of [MASK].
    vocab_size: V.
    num_special: random tokens are uniform over num_special .. V - 1.
    excluded: True at further tokens that are not selected, as a [SEP] between two sentences.

  Returns:
    (masked ids, positions, selected): positions of the targets, valid where `selected`; M is
    rate (T - 2), rounded, and shorter rows select fewer.

  Source: Devlin et al., "BERT" (2019), section 3.1.
  """
  ids = jnp.asarray(ids)
  order_rng, action_rng, token_rng = jax.random.split(rng, 3)
  inner = jnp.arange(ids.shape[1]) - 1
  inner = (inner >= 0) & (inner < lengths[:, None] - 2)
  if excluded is not None:
    inner &= ~excluded
  order = jnp.where(inner, jax.random.uniform(order_rng, ids.shape), -1)
  most = max(1, round(rate * (ids.shape[1] - 2)))
  _, positions = jax.lax.top_k(order, most)
  count = jnp.clip(jnp.round(rate * inner.sum(-1)), 1, most)
  selected = (jnp.arange(most) < count[:, None]) & jnp.take_along_axis(inner, positions, 1)
  old = jnp.take_along_axis(ids, positions, 1)
  action = jax.random.uniform(action_rng, positions.shape)
  random = jax.random.randint(token_rng, positions.shape, num_special, vocab_size)
  new = jnp.where(action < 0.8, mask_id, jnp.where(action < 0.9, random, old))
  rows = jnp.arange(len(ids))[:, None]
  return ids.at[rows, positions].set(jnp.where(selected, new, old)), positions, selected
