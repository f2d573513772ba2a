"""Rules inside `jax.shard_map`, where an array may be the same on all devices of a mesh axis.

There every array has a set of mesh axes over which it varies: a batch varies over the axis that
splits it, and parameters that are on all devices vary over none. If y = f(w, x) has an x that
varies and a w that does not, then w enters the loss of every device, and its gradient is the sum
over the devices

  d_w = sum_devices (df/dw)^T d_y

Autodiff writes f as f(spread(w), x) with `spread` the identity to a varying array, whose transpose
is that sum. A rule of jax.custom_vjp must do so itself: it would return a varying cotangent for a
w that does not vary, which jax refuses. So layers pass all arguments of a rule through `alike`,
outside the rule; inside, all arrays vary over the same axes, and the rule need not know of devices.
Outside of shard_map nothing varies, and `alike` is the identity.

A custom rule also gives up forward mode; `call` says which argument brings it back.

Source: JAX documentation, "shard_map: tracking how values vary over manual mesh axes".
"""

import jax
from jax import lax


def axes(*trees) -> frozenset[str]:
  """The mesh axes over which any array in the trees varies."""
  return frozenset().union(*(jax.typeof(x).mat.varying for x in jax.tree.leaves(trees)))


def spread(tree, over: frozenset[str]):
  """The same values, as arrays that vary over these axes too."""

  def of(x):
    missing = tuple(sorted(over - jax.typeof(x).mat.varying))
    return lax.pcast(x, missing, to="varying") if missing else x

  return jax.tree.map(of, tree)


def call(rule, *args, static: tuple = ()):
  """`rule(*static, *args)` of a function with a hand-derived rule, its args made `alike`.

  Raises:
    TypeError: in forward mode (jax.jvp, jax.hessian), which jax.custom_vjp gives up.
  """
  try:
    return rule(*static, *alike(*args))
  except TypeError as e:
    if "forward-mode" not in str(e):
      raise
    raise TypeError(
        "a layer with a hand-derived gradient has no forward mode (jax.jvp, jax.jacfwd, "
        'jax.hessian); give it implementation="autodiff", or use jax.jacrev'
    ) from None


def alike(*trees):
  """The trees with all arrays varying over the axes of any of them."""
  over = axes(*trees)
  return spread(trees, over) if over else trees
