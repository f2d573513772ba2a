"""The sampling benchmark counts what it draws after the first piece."""

import types

import pytest

from benchmarks import sampling


def run_of(pieces):
  def sample(run, prompt, length, **_):
    return iter(pieces)

  return types.SimpleNamespace(experiment=types.SimpleNamespace(sample=sample))


def test_characters_after_the_first_piece_are_counted(monkeypatch):
  clock = iter([10.0, 12.0, 12.5])  # Two seconds to the first piece, half a second for the rest.
  monkeypatch.setattr(sampling.time, "perf_counter", lambda: next(clock))
  figures = sampling.measure(run_of(["abc", "defgh", "ij"]), 10, 1)
  assert figures == {"seconds_to_first_piece": 2.0, "characters_per_second": 14.0}


def test_a_text_of_one_piece_has_no_speed():
  with pytest.raises(ValueError, match="length: expected more than one piece, got 3"):
    sampling.measure(run_of(["abc"]), 3, 1)
