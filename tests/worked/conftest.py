"""A fixture that runs each worked problem eager and compiled."""

import jax
import numpy as np
import pytest


@pytest.fixture(params=["eager", "jit"])
def run(request):
  """Returns a function as it is, and then, for the same test again, compiled.

  Results come as numpy arrays: what a test does with them is then not compiled.
  """

  def wrap(function):
    wrapped = jax.jit(function) if request.param == "jit" else function
    return lambda *args: jax.tree.map(np.asarray, wrapped(*args))

  return wrap
