"""A linear-chain conditional random field (CRF): a distribution over the tags of a sequence.

The score of tags y_1 ... y_n given emissions e (of a network), with learned transitions T, start s
and end z, is

  S(y) = s_{y_1} + sum_t e_{t, y_t} + sum_{t > 1} T_{y_{t-1}, y_t} + z_{y_n}

and p(y) = e^{S(y)} / Z, Z = sum_y e^{S(y)} over all K^n sequences. An entry of -inf forbids a tag
or a transition. Beyond `lengths` emissions and tags are ignored, also if they are nan; a sequence
without steps has the score and the log Z 0. Everything is computed in at least float32.

Source: Lafferty, McCallum, Pereira, "Conditional random fields: probabilistic models for
  segmenting and labeling sequence data" (2001); Collobert et al., "Natural language processing
  (almost) from scratch" (2011), for emissions of a network.
"""

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dlx.gradients import bptt, varying
from dlx.gradients import crf as gradients
from dlx.layers import shapes


def init(rng: jax.Array, num_tags: int) -> dict[str, Array]:
  """Draws `start (K,)`, `transitions (K, K)`, from row to column, and `end (K,)`: U(-0.1, 0.1)."""
  sizes = {"start": (num_tags,), "transitions": (num_tags, num_tags), "end": (num_tags,)}
  rngs = jax.random.split(rng, len(sizes))
  return {
      name: jax.random.uniform(rng, size, minval=-0.1, maxval=0.1)
      for rng, (name, size) in zip(rngs, sizes.items())
  }


def _checked(params, emissions, lengths, tags=None):
  """The arguments as arrays, after checks of their shapes and types."""
  emissions, lengths, tags = shapes.as_arrays(emissions, lengths, tags)
  shapes.expect_params(params, gradients.PARAMS)
  params = {name: jnp.asarray(params[name]) for name in gradients.PARAMS}
  shapes.expect_rank("emissions", emissions, 2, "(..., T, K)")
  if not jnp.issubdtype(emissions.dtype, jnp.floating):
    raise ValueError(f"emissions: expected floating numbers, got {emissions.dtype}")
  shapes.expect_last("emissions", emissions, params["start"].shape[0])
  for name, x, shape in (
      ("lengths", lengths, emissions.shape[:-2]),
      ("tags", tags, emissions.shape[:-1]),
  ):
    if x is None:
      continue
    if not jnp.issubdtype(x.dtype, jnp.integer):
      raise ValueError(f"{name}: expected integers, got {x.dtype}")
    shapes.expect_shape(name, x, shape)
  return params, emissions, lengths, tags


def score(
    params: dict[str, Array],
    emissions: Float[Array, "... T K"],
    tags: Int[Array, "... T"],
    *,
    lengths: Int[Array, "..."] | None = None,
) -> Float[Array, "..."]:
  """S(y), the score of a sequence of tags; e^{S(y)} / Z is its probability.

  Args:
    params: `start (K,)`, `transitions (K, K)`, `end (K,)`.
    emissions: `(..., T, K)`.
    tags: 0 to K - 1, `(..., T)`. A valid one out of range makes the score nan (it cannot be
      checked under jit).
    lengths: the number of valid steps of each sequence, `(...)`.

  Returns:
    `(...)`, float32 or wider.

  Raises:
    ValueError: a shape does not fit, or tags or lengths are no integers.
  """
  params, emissions, lengths, tags = _checked(params, emissions, lengths, tags)
  params, xs, valid = gradients.prepare(params, emissions, lengths)
  if not len(xs):
    return jnp.zeros(xs.shape[1:-1], xs.dtype)
  y = bptt.zero_padding(None if valid is None else valid[..., 0], jnp.moveaxis(tags, -1, 0))
  wrong = (y < 0) | (y >= xs.shape[-1])
  terms = jnp.take_along_axis(xs, y[..., None], -1, mode="clip")[..., 0]
  steps = params["transitions"].at[y[:-1], y[1:]].get(mode="clip")
  terms = jnp.where(wrong, jnp.nan, terms).at[1:].add(steps)
  terms = terms.at[0].add(params["start"].at[y[0]].get(mode="clip"))
  count = jnp.full(y.shape[1:], len(y)) if lengths is None else jnp.clip(lengths, 0, len(y))
  last = jnp.take_along_axis(y, jnp.maximum(count - 1, 0)[None], 0)[0]
  total = jnp.where(jnp.arange(len(y)).reshape(-1, *[1] * count.ndim) < count, terms, 0).sum(0)
  return total + jnp.where(count > 0, params["end"].at[last].get(mode="clip"), 0)


@jax.custom_vjp
def _log_partition(params, emissions, lengths):
  return gradients.log_partition_fwd(params, emissions, lengths)[0]


def _log_partition_fwd(*args):
  log_z, residuals = gradients.log_partition_fwd(*args)
  return log_z, (*args, residuals)


_log_partition.defvjp(
    _log_partition_fwd, lambda saved, d_out: (*gradients.log_partition_bwd(*saved, d_out), None)
)


def log_partition(
    params: dict[str, Array],
    emissions: Float[Array, "... T K"],
    *,
    lengths: Int[Array, "..."] | None = None,
    implementation: str = "auto",
) -> Float[Array, "..."]:
  """log Z, the log of the sum of e^{S(y)} over all sequences, by the forward algorithm.

  Args:
    params, emissions, lengths: as for `score`.
    implementation: "auto" computes steps as matrix products and has the gradient of
      dlx/gradients/crf.py, which is faster but has no forward mode; "autodiff" has jax's, which is
      nan where a tag cannot be reached at all.

  Returns:
    `(...)`, float32 or wider.

  Raises:
    ValueError: as for `score`, or implementation is unknown.
  """
  shapes.expect_implementation(implementation, ("auto", "autodiff"))
  params, emissions, lengths, _ = _checked(params, emissions, lengths)
  if implementation == "auto":
    return varying.call(_log_partition, params, emissions, lengths)
  args = varying.alike(params, emissions, lengths)
  return gradients.log_partition_fwd(*args, in_logarithms=True)[0]


def negative_log_likelihood(
    params: dict[str, Array],
    emissions: Float[Array, "... T K"],
    tags: Int[Array, "... T"],
    *,
    lengths: Int[Array, "..."] | None = None,
    implementation: str = "auto",
) -> Float[Array, "..."]:
  """-log p(y) = log Z - S(y), in nats per sequence.

  Its gradient is expected minus observed counts. Arguments, result and errors are those of
  `score` and `log_partition`.
  """
  total = log_partition(params, emissions, lengths=lengths, implementation=implementation)
  return total - score(params, emissions, tags, lengths=lengths)


def marginals(
    params: dict[str, Array],
    emissions: Float[Array, "... T K"],
    *,
    lengths: Int[Array, "..."] | None = None,
) -> Float[Array, "... T K"]:
  """p(y_t = k) at each step, the derivative of log Z by e_{t,k}; zeros in the padding.

  Arguments and errors are those of `log_partition`.
  """
  params, emissions, lengths, _ = _checked(params, emissions, lengths)
  dtype = jnp.result_type(*params.values(), emissions, jnp.float32)
  args = varying.alike(params, emissions.astype(dtype), lengths)
  log_z, residuals = gradients.log_partition_fwd(*args)
  return gradients.log_partition_bwd(*args, residuals, jnp.ones_like(log_z))[1]


def viterbi(
    params: dict[str, Array],
    emissions: Float[Array, "... T K"],
    *,
    lengths: Int[Array, "..."] | None = None,
) -> tuple[Int[Array, "... T"], Float[Array, "..."]]:
  """(tags, score) of the sequence with the largest score; the first of equal ones.

  d_1 = s + e_1, d_t,j = max_i (d_{t-1,i} + T_ij) + e_t,j, and back from the best j of
  d_n + z along the i that were the maxima.

  Args:
    params, emissions, lengths: as for `score`.

  Returns:
    tags `(..., T)` int32, 0 in the padding, and the score `(...)`. It has no gradient by
    the transitions that were not chosen.

  Raises:
    ValueError: as for `score`.

  Source: Viterbi, "Error bounds for convolutional codes and an asymptotically optimum
    decoding algorithm" (1967).
  """
  params, emissions, lengths, _ = _checked(params, emissions, lengths)
  params, emissions, lengths = varying.alike(params, emissions, lengths)
  params, xs, valid = gradients.prepare(params, emissions, lengths)
  if not len(xs):
    return jnp.zeros(emissions.shape[:-1], jnp.int32), jnp.zeros(xs.shape[1:-1], xs.dtype)
  transitions = params["transitions"]
  rest = xs[1:], None if valid is None else valid[1:]

  def step(best, inputs):
    x, valid = inputs
    new = (best[..., None] + transitions).max(-2) + x
    return bptt.select(valid, new, best), best

  # The maximizing i are found on the way back, for one j instead of all.
  last, bests = lax.scan(step, params["start"] + xs[0], rest)
  tag = (last + params["end"]).argmax(-1).astype(jnp.int32)

  def back(tag, inputs):
    best, valid = inputs
    before = (best + transitions.T[tag]).argmax(-1).astype(jnp.int32)
    return bptt.select(None if valid is None else valid[..., 0], before, tag), tag

  first, tags = lax.scan(back, tag, (bests, rest[1]), reverse=True)
  tags, total = jnp.concatenate([first[None], tags]), (last + params["end"]).max(-1)
  if lengths is not None:
    tags, total = bptt.zero_padding(valid[..., 0], tags), jnp.where(lengths > 0, total, 0)
  return jnp.moveaxis(tags, 0, -1), total
