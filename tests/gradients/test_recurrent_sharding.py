"""With the batch sharded over eight devices, recurrent rules gather no activations."""

import pytest

# Runs on eight simulated devices, in float64.
PROGRAM = r'''
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from dlx.layers import gru, lstm, rnn

B, T, D, H = 16, 5, 3, 4
mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
assert mesh.size == 8
split = NamedSharding(mesh, P("data"))
layers = [(rnn, {}), (lstm, {}), (gru, {}), (gru, {"reset_after": True})]
rng = np.random.default_rng(0)
noise = lambda a: jnp.asarray(rng.normal(size=a.shape))
params = [jax.tree.map(noise, m.init(jax.random.key(0), D, H, **o)) for m, o in layers]
xs, carry = noise(jnp.zeros((B, T, D))), noise(jnp.zeros((B, H)))
lengths, ids = jnp.asarray(rng.integers(T + 1, size=B)), jnp.asarray(rng.integers(D, size=(B, T)))

def loss(params, xs, carry, ids, lengths):
  total = 0.0
  for layer_params, (m, o) in zip(params, layers):
    first = (carry, carry) if m is lstm else carry
    last, ys = m.scan(layer_params, xs, first, lengths=lengths, **o)
    total += (ys**2).sum() + sum((c**2).sum() for c in jax.tree.leaves(last))
  _, ys = rnn.scan(params[0], ids, reverse=True)
  return total + (ys**2).sum()

def gradient(sharding):
  args = params, *jax.device_put((xs, carry, ids, lengths), sharding)
  run = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*args).compile()
  return run(*args), run.as_text()

one, _ = gradient(jax.devices()[0])
many, text = gradient(split)
moved = set(re.findall(r" ((?:all|collective|reduce|ragged)-[a-z-]+?)(?:-start)?\(", text))
assert moved == {"all-reduce"}, moved
for result in re.findall(r"= (.*?) all-reduce(?:-start)?\(", text):
  for shape in re.findall(r"f64\[([0-9,]*)\]", result):
    size = np.prod([int(n) for n in shape.split(",") if n], dtype=int)
    assert size <= (D + H + 1) * 4 * H, result  # Of a layer's weights, never T or B of anything.
assert many[1].sharding.is_equivalent_to(split, 3) and many[2].sharding.is_equivalent_to(split, 2)
for a, b in zip(jax.tree.leaves(many), jax.tree.leaves(one)):
  np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11 * np.abs(b).max())
print("nothing is gathered")
'''


@pytest.mark.full
def test_eight_devices_sum_the_gradients_of_weights_and_communicate_nothing_else(on_eight_devices):
  assert on_eight_devices(PROGRAM) == ["nothing is gathered"]
