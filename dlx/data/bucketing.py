"""Length bucketing: batches truncated to one of a few lengths, so that padding costs little.

Only padding is truncated; a model that masks padding computes the same result.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int
import numpy as np

from dlx.experiment import Arrays, Loss
from dlx.gradients import precomputed


def lengths_up_to(max_length: int, count: int) -> tuple[int, ...]:
  """max_length and `count` - 1 equally spaced shorter lengths, in increasing order."""
  return tuple(sorted({-(-max_length * i // count) for i in range(1, count + 1)}))


def check_lengths(lengths: Sequence[int], longest: int) -> None:
  """Raises ValueError unless lengths increase, and the last one fits the longest sequence."""
  if not lengths or list(lengths) != sorted(set(lengths)) or lengths[0] < 1:
    raise ValueError(f"lengths: expected increasing positive numbers, got {tuple(lengths)}")
  if lengths[-1] < longest:
    raise ValueError(f"lengths: the last is {lengths[-1]}, but a sequence has {longest} tokens")


def token_mask(ids: Int[Array, "... T"], lengths: Int[Array, "..."]) -> Bool[Array, "... T"]:
  """True at the tokens of each sequence, False at padding."""
  return jnp.arange(ids.shape[-1]) < lengths[..., None]


def sort_by_length(arrays: Arrays) -> dict[str, np.ndarray]:
  """The same examples, the shortest first, so that chunks of them have similar lengths."""
  order = np.argsort(arrays["lengths"], kind="stable")
  return {name: array[order] for name, array in arrays.items()}


def _switch(function: Callable, batch: Arrays, lengths: Sequence[int], names: Sequence[str]):
  """function(batch), with the ids truncated to the least length that fits their sequences.

  The length is chosen on the device, so batches of all lengths run in one compiled program.
  """

  def branch(length):
    return lambda batch: function({**batch, **{name: batch[name][:, :length] for name in names}})

  width = batch[names[0]].shape[1]
  lengths = [*(n for n in lengths if n < width), width]
  index = (batch["lengths"].max() > jnp.array(lengths[:-1], jnp.int32)).sum()
  return jax.lax.switch(index, [branch(n) for n in lengths], dict(batch))


def truncated(
    function: Callable, lengths: Sequence[int], names: Sequence[str] = ("ids",)
) -> Callable:
  """`function(variables, batch, rng)` of batches truncated to one of `lengths`.

  Args:
    function: its batches have "ids" (B, T), "lengths" (B,) and arrays without a length; its
      result does not depend on T.
    lengths: increasing.
    names: of the arrays (B, T) in place of "ids"; "lengths" has the largest length of each.
  """

  def of_batch(variables, batch, rng):
    return _switch(lambda batch: function(variables, batch, rng), batch, lengths, names)

  return of_batch


def truncated_loss(
    loss_fn: Callable, lengths: Sequence[int], names: Sequence[str] = ("ids",)
) -> Callable:
  """`loss_fn` of a Task for batches truncated to one of `lengths`.

  The gradient is taken inside the switch: differentiating the switch itself would carry the
  residuals of every branch.

  Args:
    loss_fn: `loss_fn(variables, batch, rng) -> Loss`, with batches as for `truncated`.
    lengths, names: as for `truncated`.

  Returns:
    The same loss, with gradients for variables["params"] only, of first order only.
  """

  def value_and_grad(params, inputs):
    collections, batch, rng = inputs

    def of_truncated(batch):
      def loss(params):
        value, metrics, updated = loss_fn({**collections, "params": params}, batch, rng)
        return value, (dict(metrics), dict(updated))

      return jax.value_and_grad(loss, has_aux=True)(params)

    return _switch(of_truncated, batch, lengths, names)

  loss = precomputed.make_loss(value_and_grad)

  def of_batch(variables, batch, rng):
    collections = dict(variables)
    params = collections.pop("params")
    value, (metrics, updated) = loss(params, (collections, batch, rng))
    return Loss(value, metrics, updated)

  return of_batch
