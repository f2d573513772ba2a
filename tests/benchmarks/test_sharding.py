"""The bytes of collectives are those that ring algorithms send."""

import pytest

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from benchmarks import sharding

mesh = jax.make_mesh((2, 4), ("a", "b"), axis_types=(AxisType.Auto,) * 2)

def sent(function, spec):
  place = NamedSharding(mesh, spec)
  x = jax.ShapeDtypeStruct((8, 1000), jnp.float32, sharding=place)
  whole = NamedSharding(mesh, P())
  return sharding.bytes_sent(jax.jit(function, out_shardings=whole).lower(x).compile().as_text())

# Rows split over all eight devices: their sum, 4,000 bytes, is all-reduced.
print(sent(lambda x: x.sum(0), P(("a", "b"))) == 2 * 7 / 8 * 4000)
# Split over axis "a" and replicated over "b": groups of two.
print(sent(lambda x: x.sum(0), P("a")) == 2 * 1 / 2 * 4000)
# All-gathered over the four devices of axis "b": the result has 32,000 bytes.
print(sent(lambda x: x, P("b")) == 3 / 4 * 32000)
# Replicated everywhere: nothing is sent.
print(sent(lambda x: x.sum(0), P()) == 0)
"""


@pytest.mark.full
def test_bytes_are_those_of_ring_algorithms(on_eight_devices):
  assert on_eight_devices(PROGRAM) == ["True"] * 4


NETWORK = """
from benchmarks import sharding

for size in (64, 128):
  _, text, parameters = sharding.compiled(
      sharding.prepared("transformer_sentiment", **{"data.batch_size": size}), (2, 4)
  )
  print(sharding.bytes_sent(text) / parameters)
"""


@pytest.mark.full
def test_sharded_parameters_are_all_gathered_and_activations_are_not_sent(on_eight_devices):
  # An all-gather of the kernels, and at most one all-reduce of all gradients per branch.
  most = 3 / 4 + 2 * (2 * 7 / 8)
  small, large = map(float, on_eight_devices(NETWORK))
  assert 0 < small < 1.02 * most and 0 < large < 1.02 * most
