"""Fixtures of the programs' tests."""

import programs as programs_lib
import pytest


@pytest.fixture
def from_a_terminal():
  """See programs.with_default_signals."""
  return programs_lib.with_default_signals


@pytest.fixture
def state():
  """`state(workdir, step)`: the content of a checkpoint."""
  return programs_lib.state_of
