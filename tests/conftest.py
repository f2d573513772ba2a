"""What several tests share: double precision."""

import jax
import pytest


@pytest.fixture
def x64():
  """Runs the test in float64."""
  with jax.enable_x64(True):
    yield
