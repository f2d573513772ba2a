"""Placement of arrays on a mesh of devices: batches are split, parameters copied."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dlx.errors import UserError


def make_mesh() -> Mesh:
  """A mesh with one axis, "data", over all devices."""
  return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
  """Raises UserError unless the devices can share a batch equally."""
  if batch_size < 1 or batch_size % mesh.size:
    raise UserError(
        f"config.data.batch_size is {batch_size}, which {mesh.size} device(s) cannot share "
        f"equally; use a multiple of {mesh.size}"
    )


def replicated(mesh: Mesh) -> NamedSharding:
  """Every device has the whole array."""
  return NamedSharding(mesh, PartitionSpec())


def split_batch(batch, mesh: Mesh):
  """Inside jit: gives each device its part of the first dimension of every array.

  Scalars are left whole.
  """
  split = NamedSharding(mesh, PartitionSpec("data"))
  return jax.tree.map(
      lambda x: jax.lax.with_sharding_constraint(x, split) if x.ndim else x, batch
  )
