"""Placement of arrays on a mesh of devices: batches are split, parameters copied or split.

The mesh has two axes. Along "data" every device has a copy of what it needs of the
parameters; along "fsdp" the devices share one copy, each holding a part of every kernel,
of its optimizer state and of its average. A step gathers the kernels, and sends each device
the gradient of its own parts (fully sharded data parallelism). A batch is split over all
devices, and what the layers compute of it stays where it is.

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
    devices: all those of all processes when None.

  Raises:
    UserError: fsdp does not divide the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  count = len(devices)
  if fsdp < 1 or count % fsdp:
    raise UserError(
        f"config.training.fsdp is {fsdp}, which does not divide the {count} device(s)"
    )
  auto = (AxisType.Auto,) * 2
  return jax.make_mesh((count // fsdp, fsdp), ("data", "fsdp"), axis_types=auto, devices=devices)


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
  """Raises UserError unless the devices can share a batch equally."""
  if batch_size < 1 or batch_size % mesh.size:
    raise UserError(
        f"config.data.batch_size is {batch_size}, which {mesh.size} device(s) cannot share "
        f"equally; use a multiple of {mesh.size}"
    )


def rows(at_least: int, mesh: Mesh) -> int:
  """The least number of rows, from `at_least` on, that the devices can share equally."""
  return -(-at_least // mesh.size) * mesh.size


def replicated(mesh: Mesh) -> NamedSharding:
  """Every device has the whole array."""
  return NamedSharding(mesh, PartitionSpec())


def of_parameter(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
  """The rule for every parameter, and for what the optimizer keeps for it.

  Along "fsdp" the largest dimension that the axis divides is split (the last of equal
  ones). Vectors (biases, scales) are copied, and so is a kernel that has no such dimension.
  """
  parts = mesh.shape["fsdp"]
  divisible = [i for i, size in enumerate(shape) if size % parts == 0]
  if parts == 1 or len(shape) < 2 or not divisible:
    return replicated(mesh)
  split = max(divisible, key=lambda i: (shape[i], i))
  return NamedSharding(mesh, PartitionSpec(*[None] * split, "fsdp"))


def _of_parameters(tree: PyTree, mesh: Mesh) -> PyTree:
  return jax.tree.map(lambda x: of_parameter(x.shape, mesh), tree)


def of_state(state: State, mesh: Mesh) -> State:
  """The sharding of every leaf of a state, given as arrays or as their shapes."""
  whole = replicated(mesh)
  return State(
      step=whole,
      params=_of_parameters(state.params, mesh),
      variables=jax.tree.map(lambda _: whole, state.variables),
      opt_state=_of_parameters(state.opt_state, mesh),
      ema=_of_parameters(state.ema, mesh),
  )


def gathered(params: PyTree, mesh: Mesh) -> PyTree:
  """Inside jit: the whole parameters on every device.

  Left to itself XLA may keep a kernel split and gather the activations in its place, which
  a batch has many times more of.
  """
  return jax.lax.with_sharding_constraint(params, replicated(mesh))


def split_like_parameters(grads: PyTree, mesh: Mesh) -> PyTree:
  """Inside jit: gives each device the gradient of its own parts of the parameters."""
  return jax.lax.with_sharding_constraint(grads, _of_parameters(grads, mesh))


def split_batch(batch, mesh: Mesh):
  """Inside jit: gives each device its part of the first dimension of every array.

  Scalars are left whole.
  """
  split = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
  return jax.tree.map(
      lambda x: jax.lax.with_sharding_constraint(x, split) if x.ndim else x, batch
  )


def on_every_device(data: PyTree, mesh: Mesh) -> PyTree:
  """Arrays that every process has, copied to all its devices."""
  whole = replicated(mesh)

  def place(x):
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, whole, lambda index: x[index])

  return jax.tree.map(place, data)


def whole(tree: PyTree, mesh: Mesh) -> PyTree:
  """The arrays whole on every device, however they are split over them, or on one of them alone.

  All processes must call it.
  """
  if any(not x.is_fully_replicated for x in jax.tree.leaves(tree)):
    return jax.jit(lambda x: x, out_shardings=replicated(mesh))(tree)
  return jax.device_put(tree, replicated(mesh))
