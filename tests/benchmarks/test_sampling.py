"""The sampling benchmark counts the characters after the first chunk."""

import types

import pytest

from benchmarks import sampling


def run_of(chunks):
  def sample(variables, rng, *, prompt, length, temperature):
    return iter(chunks)

  return types.SimpleNamespace(task=types.SimpleNamespace(sample=sample), eval_variables={})


def test_characters_after_the_first_chunk_are_counted(monkeypatch):
  clock = iter([10.0, 12.0, 12.5])  # Two seconds to the first chunk, half a second for the rest.
  monkeypatch.setattr(sampling.time, "perf_counter", lambda: next(clock))
  figures = sampling.measure(run_of(["abc", "defgh", "ij"]), 10, 1)
  assert figures == {"seconds_to_first_chunk": 2.0, "characters_per_second": 14.0}


def test_a_single_chunk_is_refused():
  with pytest.raises(ValueError, match="length: expected more than one chunk, got 3"):
    sampling.measure(run_of(["abc"]), 3, 1)
