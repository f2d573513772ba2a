"""The bytes of collectives are those that rings send."""

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

# Rows on all eight devices: their sum of 4,000 bytes goes through an all-reduce.
print(sent(lambda x: x.sum(0), P(("a", "b"))) == 2 * 7 / 8 * 4000)
# On the two of axis "a", with copies along "b": groups of two.
print(sent(lambda x: x.sum(0), P("a")) == 2 * 1 / 2 * 4000)
# Gathered along the four of axis "b": 32,000 bytes are there in the end.
print(sent(lambda x: x, P("b")) == 3 / 4 * 32000)
# Whole everywhere: nothing is sent.
print(sent(lambda x: x.sum(0), P()) == 0)
"""


def test_bytes_are_those_that_rings_send(on_eight_devices):
  assert on_eight_devices(PROGRAM) == ["True"] * 4


NETWORK = """
from benchmarks import sharding

for size in (64, 128):
  _, text, parameters = sharding.compiled(
      sharding.training_of("transformer_sentiment", size), (2, 4)
  )
  print(sharding.bytes_sent(text) / parameters)
"""


def test_split_parameters_cost_gathering_them_and_no_activations(on_eight_devices):
  # The kernels once, and at most a whole all-reduce of the gradients in each of two branches.
  most = 3 / 4 + 2 * (2 * 7 / 8)
  small, large = map(float, on_eight_devices(NETWORK))
  assert 0 < small < 1.02 * most and 0 < large < 1.02 * most
