"""Many devices compute the same as one, and restore checkpoints of any number of devices."""

import jax
import pytest

from dlx.errors import UserError
from dlx.training import sharding

# Runs with eight virtual devices, in float64. Meshes of the first few simulate machines with
# fewer.
PROGRAM = '''
import pathlib, sys
import jax, jax.numpy as jnp, numpy as np, optax
from dlx.errors import UserError
from dlx.experiment import Loss
from dlx.models.language_model import RecurrentLanguageModel
from dlx.layers import losses
from dlx.training import sharding, state as states, step as steps
from dlx.runs.checkpoints import Checkpoints, target_of

assert jax.device_count() == 8 and sharding.make_mesh().size == 8

def mesh_of(count):
  return sharding.make_mesh(devices=jax.devices()[:count])

model = RecurrentLanguageModel(11, 4, 6, 2)
tokens = jnp.asarray(np.random.default_rng(0).integers(0, 11, 400))
params = jax.tree.map(
    lambda p: p.astype(jnp.float64), model.init(jax.random.key(0), tokens[None, :1])["params"]
)

def loss_fn(variables, batch, rng):
  logits, _ = model.apply(variables, batch[0])
  return Loss(losses.cross_entropy(logits, batch[1]))

def batch_fn(tokens, step, rngs):
  starts = jax.random.randint(rngs.step, (16, 1), 0, 380)
  windows = tokens[starts + jnp.arange(13)]
  return windows[:, :-1], windows[:, 1:]

def train(optimizer, mesh, count):
  # The compiled step's inputs are placed as fit places them.
  place = lambda tree: jax.device_put(jax.tree.map(jnp.copy, tree), sharding.replicated(mesh))
  state = place(states.create({"params": params}, optimizer, averaged=True))
  step = steps.make_step(
      loss_fn, batch_fn, optimizer, seed=5, mesh=mesh, ema_decay=0.9
  )
  run = steps.make_steps(step, mesh)
  return run(state, place(tokens), count), run.lower(state, place(tokens), count)

# With rate 1 and no momentum, params - params' is the gradient.
(one, metrics), _ = train(optax.sgd(1.0), mesh_of(1), 1)
for count in (2, 4, 8):
  (many, many_metrics), lowered = train(optax.sgd(1.0), mesh_of(count), 1)
  text = lowered.compile().as_text()
  # Gradients are summed over devices; activations and the batch are never gathered.
  assert "all-reduce" in text, count
  np.testing.assert_allclose(many_metrics["loss"], metrics["loss"], rtol=1e-12)
  for a, b, p in zip(*map(jax.tree.leaves, (many.params, one.params, params))):
    grad, expected = np.asarray(p) - np.asarray(a), np.asarray(p) - np.asarray(b)
    np.testing.assert_allclose(grad, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    assert np.abs(expected).max() > 1e-8
print("gradients agree")

# Each device has an equal shard of the batch, and all of a scalar.
mesh = mesh_of(8)
parts = jax.jit(lambda x: sharding.shard_batch({"x": x, "n": x[0, 0]}, mesh))(jnp.ones((16, 3)))
assert {s.data.shape for s in parts["x"].addressable_shards} == {(2, 3)}
assert parts["n"].is_fully_replicated
print("batches are sharded")

optimizer = optax.adamw(0.01)
(trained, _), _ = train(optimizer, mesh_of(8), 3)
template = jax.eval_shape(lambda: trained)
expected = [np.asarray(leaf) for leaf in jax.tree.leaves(trained)]
folder = pathlib.Path(sys.argv[1])
for saved_by in (8, 1):
  place = sharding.replicated(mesh_of(saved_by))
  with Checkpoints(folder / str(saved_by) / "checkpoints") as checkpoints:
    checkpoints.save(3, jax.device_put(trained, place))
    checkpoints.wait()
  for count in (1, 2, 4, 8):
    place = sharding.replicated(mesh_of(count))
    with Checkpoints(folder / str(saved_by) / "checkpoints") as checkpoints:
      shardings = jax.tree.map(lambda _: place, template)
      state = checkpoints.restore_latest(target_of(template, shardings))
    for leaf, value in zip(jax.tree.leaves(state), expected):
      assert len(leaf.sharding.device_set) == count
      for shard in leaf.addressable_shards:
        assert np.asarray(shard.data).tobytes() == value.tobytes()
  with Checkpoints(folder / str(saved_by) / "checkpoints", read_only=True) as checkpoints:
    assert len(jax.tree.leaves(checkpoints.restore(3))[0].sharding.device_set) == 1
print("checkpoints restore on 1, 2, 4 and 8")

# Four devices share each copy of the kernels, of their moments and of their average.
mesh = sharding.make_mesh(4)
assert dict(mesh.shape) == {"data": 2, "fsdp": 4}
initial = states.create({"params": params}, optimizer, averaged=True)
placed = sharding.state_sharding(initial, mesh)
step = steps.make_step(loss_fn, batch_fn, optimizer, seed=5, mesh=mesh, ema_decay=0.9)
shared, _ = steps.make_steps(step, mesh, placed)(
    jax.device_put(initial, placed), sharding.put_replicated(tokens, mesh), 3
)
parts = {leaf.size // leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(shared)}
assert parts == {1, 4}
for leaf in jax.tree.leaves((shared.params, shared.opt_state, shared.ema)):
  is_sharded = leaf.ndim > 1 and any(n % 4 == 0 for n in leaf.shape)
  assert leaf.addressable_shards[0].data.size == leaf.size // (4 if is_sharded else 1)
for leaf, value in zip(jax.tree.leaves(sharding.replicate(shared, mesh)), expected):
  assert leaf.is_fully_replicated and len(leaf.sharding.device_set) == 8
  np.testing.assert_allclose(np.asarray(leaf), value, rtol=1e-9, atol=1e-12)
spec = lambda *shape: tuple(sharding.param_sharding(shape, mesh).spec)
assert spec(8, 8) == (None, "fsdp") and spec(3, 3, 16, 8) == (None, None, "fsdp")
assert spec(12, 30) == ("fsdp",) and spec(6, 10) == spec(8) == spec() == ()
print("kernels are sharded")

for size in (0, 4, 12, -8):
  try:
    sharding.check_batch_size(size, mesh_of(8))
    raise AssertionError(size)
  except UserError as e:
    assert f"batch_size: expected a multiple of the number of devices, 8, got {size}" == str(e)
sharding.check_batch_size(24, mesh_of(8))
assert [sharding.round_up(n, mesh_of(8)) for n in (1, 8, 9, 64)] == [8, 8, 16, 64]
print("sizes are checked")
'''


@pytest.mark.full
def test_eight_devices_compute_the_same_as_one_and_share_checkpoints(tmp_path, on_eight_devices):
  assert on_eight_devices(PROGRAM, str(tmp_path)) == [
      "gradients agree",
      "batches are sharded",
      "checkpoints restore on 1, 2, 4 and 8",
      "kernels are sharded",
      "sizes are checked",
  ]


def test_a_mesh_has_all_devices():
  mesh = sharding.make_mesh()
  assert dict(mesh.shape) == {"data": jax.device_count(), "fsdp": 1}


@pytest.mark.parametrize("fsdp", [0, -1, 3])
def test_fsdp_must_divide_the_number_of_devices(fsdp):
  with pytest.raises(UserError, match=f"fsdp: expected a divisor .* got {fsdp}"):
    sharding.make_mesh(fsdp)


@pytest.mark.parametrize("size", [0, -1])
def test_an_empty_batch_is_refused(size):
  with pytest.raises(UserError, match=f"batch_size: expected a multiple .* got {size}"):
    sharding.check_batch_size(size, sharding.make_mesh())
