"""Pairs of sentences: against the documents that they come from."""

import jax
import numpy as np
import pytest

from dlx.data import documents, sentence_pairs, tokens
from dlx.errors import UserError

FIRST, LAST, T = 2, 3, 16


@pytest.mark.parametrize(
    "text, expected",
    [
        ("It was dull. I left! Why? No idea", ["It was dull. ", "I left! ", "Why? ", "No idea"]),
        ('He said "no." (Really.) So', ['He said "no." ', "(Really.) ", "So"]),
        ("one line\n another", ["one line\n ", "another"]),
        ("Good.<br /><br />Bad. <br>End", ["Good.<br /><br />", "Bad. <br>", "End"]),
        ("3.5 of 10 ... or so", ["3.5 of 10 ... ", "or so"]),
        ("no end", ["no end"]),
        ("", [""]),
    ],
)
def test_sentences_end_at_a_mark_before_white_space_and_at_a_line_break(text, expected):
  cuts = [0, *sentence_pairs.split(text), len(text)]
  assert [text[a:b] for a, b in zip(cuts, cuts[1:])] == expected


def test_documents_are_cut_into_their_sentences_and_sorted_by_length(capsys):
  texts = (*documents.reviews(30).texts, "one sentence", "", "Its end is blank. ")
  tokenizer = tokens.train_bpe(texts, 200)
  arrays = sentence_pairs.encode(tokenizer, texts, 100)
  found = []
  columns = (arrays[name] for name in ("starts", "ends", "first_cut", "num_cuts"))
  for start, end, first, count in zip(*columns):
    cuts = [start, *arrays["cuts"][first : first + count], end]
    parts = [arrays["tokens"][a:b] for a, b in zip(cuts, cuts[1:])]
    assert all(map(len, parts))
    found.append([tokenizer.decode(part).replace(" ", "") for part in parts])
  expected = [[s + "." for s in t.replace(" ", "").rstrip(".").split(".")] for t in texts[:30]]
  assert sorted(found) == sorted(expected)
  assert (np.diff(arrays["ends"] - arrays["starts"]) >= 0).all()
  assert "3 of 33 documents have one sentence, and are left out" in capsys.readouterr().err
  with pytest.raises(UserError, match="1 of 2 documents have two or more sentences; pairs"):
    sentence_pairs.encode(tokenizer, ["One. Two.", "one"], 100)


def numbered(lengths, cuts):
  """Documents of `encode` whose tokens have ids of their own: 1000 d + place + 10."""
  ends, end_cuts = np.cumsum(lengths), np.cumsum([len(c) for c in cuts])
  starts = ends - lengths
  arrays = {
      "starts": starts, "ends": ends, "first_cut": end_cuts - [len(c) for c in cuts],
      "num_cuts": [len(c) for c in cuts],
      "cuts": np.concatenate([s + c for s, c in zip(starts, map(np.array, cuts))]),
      "tokens": np.concatenate([1000 * d + 10 + np.arange(n) for d, n in enumerate(lengths)]),
  }  # fmt: skip
  return {name: np.array(array, np.int32) for name, array in arrays.items()}


def test_pairs_are_the_tokens_around_a_place_of_one_document_or_of_two():
  lengths, cuts = [5, 9, 12, 40, 41], [[2], [3, 4, 7], [11], [2, 20, 38], [1, 40]]
  given, indices = numbered(lengths, cuts), np.array([3, 0, 4, 2, 1])
  draw = jax.jit(
      lambda key: sentence_pairs.draw(key, given, indices, max_length=T, first=FIRST, last=LAST)
  )
  follow, seen = [], set()
  for seed in range(200):
    pairs = jax.device_get(draw(jax.random.key(seed)))
    assert pairs["ids"].shape == (5, T) and pairs["ids"].dtype == np.int32
    for i, (ids, length, second, is_next) in enumerate(
        zip(pairs["ids"], pairs["lengths"], pairs["second"], pairs["is_next"])
    ):
      assert ids[0] == FIRST and ids[second - 1] == ids[length - 1] == LAST
      assert not ids[length:].any() and (ids[:length] > 0).all()
      a, b = ids[1 : second - 1] - 10, ids[second : length - 1] - 10
      here, there = indices[i], indices[i if is_next else (i + 1) % 5]
      assert set(a // 1000) == {here} and set(b // 1000) == {there}
      a, b = a % 1000, b % 1000
      cut, second_cut = a[-1] + 1, b[0]
      assert cut in cuts[here] and second_cut in cuts[there]
      assert not is_next or cut == second_cut
      np.testing.assert_array_equal(a, np.arange(cut - len(a), cut))
      np.testing.assert_array_equal(b, np.arange(second_cut, second_cut + len(b)))
      # All tokens where there is room for them; a half each where neither fits.
      most, rest = cut, lengths[there] - second_cut
      whole = most + rest <= T - 3
      assert length == (most + rest + 3 if whole else T)
      assert len(a) == most or len(a) >= (T - 3) // 2
      assert len(b) == rest or len(b) >= T - 3 - (T - 3) // 2
      seen.add((here, cut))
    follow += list(pairs["is_next"])
  assert np.mean(follow) == pytest.approx(0.5, abs=0.06)
  assert seen == {(d, c) for d, each in enumerate(cuts) for c in each}


def test_the_pairs_of_an_evaluation_are_always_the_same():
  given = numbered([5, 9, 12], [[2], [3, 4, 7], [11]])
  options = {"max_length": T, "first": FIRST, "last": LAST}
  first, again = (sentence_pairs.fixed(given, **options) for _ in range(2))
  assert first["ids"].shape == (3, T)
  jax.tree.map(np.testing.assert_array_equal, first, again)
