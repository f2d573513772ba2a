"""Masked language modelling: how many tokens are hidden, how, and what never is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import masking

MASK, VOCAB, SPECIAL, RATE = 4, 1000, 5, 0.15
LENGTHS = np.array([200, 102, 22, 3, 2])
IDS = np.where(np.arange(200) < LENGTHS[:, None], 500, 0)
IDS[:, 0] = 2
IDS[np.arange(5), LENGTHS - 1] = 3

hide = jax.jit(lambda rng: masking.hide(
    rng, IDS, LENGTHS, rate=RATE, mask_id=MASK, vocab_size=VOCAB, num_special=SPECIAL
))  # fmt: skip


def test_a_row_hides_its_share_at_different_inner_places():
  _, places, chosen = map(np.asarray, hide(jax.random.key(0)))
  # Rounded shares of 198, 100, 20 and 1 inner tokens; one at least, and none of none.
  np.testing.assert_array_equal(chosen.sum(1), [30, 15, 3, 1, 0])
  for row, which, length in zip(places, chosen, LENGTHS):
    row = row[which]
    assert len(set(row)) == len(row) and ((row > 0) & (row < length - 1)).all()


def test_only_chosen_places_change_and_most_become_mask():
  kinds = np.zeros(3)
  for seed in range(200):
    ids, places, chosen = map(np.asarray, hide(jax.random.key(seed)))
    changed = ids != IDS
    allowed = np.zeros_like(changed)
    for row, which, at in zip(allowed, chosen, places):
      row[at[which]] = True
    assert not (changed & ~allowed).any()
    new = ids[allowed]
    random = (new != MASK) & (new != 500)
    assert (new[random] >= SPECIAL).all() and (new < VOCAB).all()
    kinds += [(new == MASK).sum(), random.sum(), (new == 500).sum()]
  shares = kinds / kinds.sum()
  np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.015)


def test_every_inner_place_is_chosen_about_as_often():
  count = np.zeros(200)
  for seed in range(300):
    _, places, chosen = map(np.asarray, hide(jax.random.key(seed)))
    count += np.bincount(places[0][chosen[0]], minlength=200)
  assert count[0] == count[199] == 0
  share = count[1:199] / 300
  assert share.mean() == pytest.approx(30 / 198) and share.min() > 0.07 and share.max() < 0.25


def test_another_key_hides_other_places():
  first, again, other = (hide(jax.random.key(seed))[1] for seed in (0, 0, 1))
  assert jnp.array_equal(first, again) and not jnp.array_equal(first, other)
