"""Masked language modelling: how many tokens are masked, how, and which never are."""

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

mask = jax.jit(lambda rng: masking.mask_tokens(
    rng, IDS, LENGTHS, rate=RATE, mask_id=MASK, vocab_size=VOCAB, num_special=SPECIAL
))  # fmt: skip


def test_a_row_has_its_fraction_of_targets_at_distinct_inner_positions():
  _, positions, selected = map(np.asarray, mask(jax.random.key(0)))
  # Rounded fractions of 198, 100, 20, 1 and 0 inner tokens; at least one where there is one.
  np.testing.assert_array_equal(selected.sum(1), [30, 15, 3, 1, 0])
  for row, which, length in zip(positions, selected, LENGTHS):
    row = row[which]
    assert len(set(row)) == len(row) and ((row > 0) & (row < length - 1)).all()


def test_only_selected_positions_change_and_most_become_mask():
  kinds = np.zeros(3)
  for seed in range(200):
    ids, positions, selected = map(np.asarray, mask(jax.random.key(seed)))
    changed = ids != IDS
    allowed = np.zeros_like(changed)
    for row, which, at in zip(allowed, selected, positions):
      row[at[which]] = True
    assert not (changed & ~allowed).any()
    new = ids[allowed]
    random = (new != MASK) & (new != 500)
    assert (new[random] >= SPECIAL).all() and (new < VOCAB).all()
    kinds += [(new == MASK).sum(), random.sum(), (new == 500).sum()]
  fractions = kinds / kinds.sum()
  np.testing.assert_allclose(fractions, [0.8, 0.1, 0.1], atol=0.015)


def test_inner_positions_are_selected_uniformly():
  count = np.zeros(200)
  for seed in range(300):
    _, positions, selected = map(np.asarray, mask(jax.random.key(seed)))
    count += np.bincount(positions[0][selected[0]], minlength=200)
  assert count[0] == count[199] == 0
  fraction = count[1:199] / 300
  assert fraction.mean() == pytest.approx(30 / 198)
  assert fraction.min() > 0.07 and fraction.max() < 0.25


def test_another_key_masks_other_positions():
  first, again, other = (mask(jax.random.key(seed))[1] for seed in (0, 0, 1))
  assert jnp.array_equal(first, again) and not jnp.array_equal(first, other)


def test_an_excluded_token_is_never_selected_nor_counted():
  excluded = np.zeros(IDS.shape, bool)
  excluded[0, 50:150] = excluded[3, 1] = True
  for seed in range(20):
    ids, positions, selected = map(np.asarray, masking.mask_tokens(
        jax.random.key(seed), IDS, LENGTHS, rate=RATE, mask_id=MASK, vocab_size=VOCAB,
        num_special=SPECIAL, excluded=excluded,
    ))  # fmt: skip
    np.testing.assert_array_equal(ids[excluded], IDS[excluded])
    assert not any(excluded[i, positions[i][selected[i]]].any() for i in range(5))
    np.testing.assert_array_equal(selected.sum(1), [15, 15, 3, 0, 0])
