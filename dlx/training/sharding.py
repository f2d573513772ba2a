"""Placement of arrays on a mesh of devices: batches are sharded, parameters replicated or sharded.

The mesh has two axes. Along "data" every device holds a copy of the parameters; along "fsdp"
the devices share one copy: each holds a shard of every kernel, of its optimizer state and of
its average. A step gathers the kernels, and scatters the gradients to the shards (fully sharded
data parallelism). A batch, and the activations computed from it, are sharded over all devices.

Source: Rajbhandari, Rasley, Ruwase, He, "ZeRO: memory optimizations toward training trillion
  parameter models" (2020), stage 3; Xu et al., "GSPMD" (2021).
"""

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from dlx.errors import UserError
from dlx.training.state import PyTree, State


def make_mesh(fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
  """A mesh ("data", "fsdp").

  Args:
    fsdp: how many devices share one copy of the parameters.
    devices: all devices of all processes when None.

  Raises:
    UserError: fsdp does not divide the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  count = len(devices)
  if fsdp < 1 or count % fsdp:
    raise UserError(f"fsdp: expected a divisor of the number of devices, {count}, got {fsdp}")
  auto = (AxisType.Auto,) * 2
  return jax.make_mesh((count // fsdp, fsdp), ("data", "fsdp"), axis_types=auto, devices=devices)


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
  """Raises UserError unless the devices can share a batch equally."""
  if batch_size < 1 or batch_size % mesh.size:
    raise UserError(
        f"batch_size: expected a multiple of the number of devices, {mesh.size}, got {batch_size}"
    )


def round_up(count: int, mesh: Mesh) -> int:
  """The least multiple of the number of devices that is at least `count`."""
  return -(-count // mesh.size) * mesh.size


def replicated(mesh: Mesh) -> NamedSharding:
  """Every device holds the full array."""
  return NamedSharding(mesh, PartitionSpec())


def param_sharding(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
  """The rule for every parameter, and for its optimizer state.

  The largest dimension that "fsdp" divides is sharded along it (the last of equal ones).
  Vectors (biases, scales) are replicated, and so are kernels without such a dimension.
  """
  parts = mesh.shape["fsdp"]
  divisible = [i for i, size in enumerate(shape) if size % parts == 0]
  if parts == 1 or len(shape) < 2 or not divisible:
    return replicated(mesh)
  sharded = max(divisible, key=lambda i: (shape[i], i))
  return NamedSharding(mesh, PartitionSpec(*[None] * sharded, "fsdp"))


def _param_shardings(tree: PyTree, mesh: Mesh) -> PyTree:
  return jax.tree.map(lambda x: param_sharding(x.shape, mesh), tree)


def state_sharding(state: State, mesh: Mesh) -> State:
  """The sharding of every leaf of a state, given as arrays or as their shapes."""
  return State(
      step=replicated(mesh),
      params=_param_shardings(state.params, mesh),
      collections=jax.tree.map(lambda _: replicated(mesh), state.collections),
      opt_state=_param_shardings(state.opt_state, mesh),
      ema=_param_shardings(state.ema, mesh),
  )


def all_gather(params: PyTree, mesh: Mesh) -> PyTree:
  """Inside jit: the full parameters on every device.

  Without this constraint XLA may keep a kernel sharded and gather the activations instead,
  which are larger for a batch.
  """
  return jax.lax.with_sharding_constraint(params, replicated(mesh))


def shard_grads(grads: PyTree, mesh: Mesh) -> PyTree:
  """Inside jit: scatters the gradients to the devices that hold the parameters' shards."""
  return jax.lax.with_sharding_constraint(grads, _param_shardings(grads, mesh))


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
  """Inside jit: shards the first dimension of every array over all devices.

  Scalars are replicated.
  """
  sharded = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
  return jax.tree.map(
      lambda x: jax.lax.with_sharding_constraint(x, sharded) if x.ndim else x, batch
  )


def put_replicated(data: PyTree, mesh: Mesh) -> PyTree:
  """Copies host arrays, the same in every process, to all devices."""

  def place(x):
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, replicated(mesh), lambda index: x[index])

  return jax.tree.map(place, data)


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
  """Replicates arrays on every device, from any sharding or from the host.

  All processes must call it, with the same values.
  """
  leaves = jax.tree.leaves(tree)
  on_host = any(not isinstance(x, jax.Array) for x in leaves)
  if on_host or (jax.process_count() > 1 and all(x.is_fully_addressable for x in leaves)):
    return put_replicated(jax.device_get(tree), mesh)
  if any(not x.is_fully_replicated for x in leaves):
    return jax.jit(lambda x: x, out_shardings=replicated(mesh))(tree)
  return jax.device_put(tree, replicated(mesh))
