"""Sequences cut to one of a few lengths, so that padding costs little and few shapes compile.

What is cut is padding alone, and a model that keeps padding out computes the same.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np


def check_sizes(sizes: Sequence[int], longest: int) -> None:
  """Raises ValueError unless sizes rise, and the last one holds the longest sequence."""
  if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
    raise ValueError(f"sizes: expected rising positive numbers, got {tuple(sizes)}")
  if sizes[-1] < longest:
    raise ValueError(f"sizes: the last is {sizes[-1]}, but a sequence has {longest} tokens")


def bucketed(loss_fn: Callable, sizes: Sequence[int]) -> Callable:
  """The same loss, computed on a batch cut to the least of `sizes` that holds its sequences.

  The cut is chosen on the device, by a switch, so that steps with batches of all lengths
  run in one compiled loop. The gradient is taken inside the switch: jax would otherwise
  carry what each branch keeps for its way back past all the others.

  Args:
    loss_fn: `loss_fn(params, variables, batch, rng) -> (loss, aux)`, the batch a dict with
      "ids" (B, T), "lengths" (B,) and whatever else has no length.
    sizes: rising; the last one is at least T's longest sequence.

  Returns:
    A function like loss_fn with gradients for params alone, the first ones only.
  """

  def branch(size):
    def run(params, variables, batch, rng):
      batch = {**batch, "ids": batch["ids"][:, :size]}
      value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
      return value_and_grad(params, variables, batch, rng)

    return run

  def switch(*args):
    longest = args[2]["lengths"].max()
    index = (longest > jnp.array(sizes[:-1], jnp.int32)).sum()
    return jax.lax.switch(index, [branch(size) for size in sizes], *args)

  @jax.custom_vjp
  def loss(params, variables, batch, rng):
    return switch(params, variables, batch, rng)[0]

  def backward(grads, d_out):
    return jax.tree.map(lambda g: (d_out[0] * g).astype(g.dtype), grads), None, None, None

  loss.defvjp(switch, backward)
  return loss


def map_sorted(
    function: Callable,
    ids: np.ndarray,
    lengths: np.ndarray,
    sizes: Sequence[int],
    rows: int,
    done: Callable[[int], None] | None = None,
) -> np.ndarray:
  """function(ids (rows, size), lengths (rows,)) of all sequences, in the order they came.

  They are sorted by length and go in groups of `rows`, each cut to a size, so that at most
  len(sizes) shapes are compiled.

  Args:
    function: maps a group to an array with `rows` as first dimension.
    ids: `(N, T)`, N at least 1; padding is 0.
    lengths: `(N,)`.
    sizes: as for `bucketed`.
    rows: in a group; the last one is filled up with copies of its first sequence.
    done: is told after each group how many sequences have been mapped.
  """
  check_sizes(sizes, int(lengths.max()))
  wide = np.pad(ids, ((0, 0), (0, max(0, sizes[-1] - ids.shape[1]))))
  order = np.argsort(lengths, kind="stable")
  found = []
  for start in range(0, len(order), rows):
    places = order[start : start + rows]
    group = np.concatenate([places, np.repeat(places[:1], rows - len(places))])
    size = next(size for size in sizes if size >= lengths[group].max())
    found.append(np.asarray(function(wide[group, :size], lengths[group]))[: len(places)])
    if done is not None:
      done(start + len(places))
  found = np.concatenate(found)
  return found[np.argsort(order, kind="stable")]
