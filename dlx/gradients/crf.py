"""The gradients of a linear-chain conditional random field, derived by hand.

The score of tags y_1 ... y_n with emissions e_t, transitions T, start s and end z is

  S(y) = s_{y_1} + sum_t e_{t, y_t} + sum_{t > 1} T_{y_{t-1}, y_t} + z_{y_n}

and p(y) = e^{S(y)} / Z with the partition function Z = sum_y e^{S(y)}. S is a sum of counts: how
often y has the tag j at t, or the transition from i to j, times an entry of e or T. So

  dS/dT_ij = the observed count of i -> j        d(log Z)/dT_ij = sum_y p(y) dS(y)/dT_ij

the second being the count that p expects, and the gradient of the loss log Z - S is the expected
minus the observed counts. The expected ones follow from the forward algorithm,

  a_1 = s + e_1     a_t,j = L_t,j + e_t,j,  L_t,j = log sum_i e^(a_{t-1,i} + T_ij)
  log Z = log sum_j e^(a_n,j + z_j)

With b_t the cotangent of a_t for d(log Z) = 1, which is the probability of each tag at t,

  b_n,j = p(y_n = j) = softmax_j(a_n + z)
  b_{t-1,i} = sum_j p(y_{t-1} = i | y_t = j) b_t,j,  p(i | j) = e^(a_{t-1,i} + T_ij - L_t,j)

since dL_t,j / da_{t-1,i} = p(i | j), and T gets sum_t p(i | j) b_t,j. This is forward-backward
without the numbers usually called beta: the backward loop carries probabilities.

A step is computed as a product, with m and c the maxima of a and of the columns of T,

  e^(L_j - m - c_j) = sum_i A_i E_ij,  A = e^(a - m),  E = e^(T - c)

which costs no K x K exponentials per example. Where such a sum is so small that terms may have
underflowed, the call is computed again with the maximum over i of each a_i + T_ij. Every a_t is
saved without its largest entry, so that rounding does not grow with the length. Time is the first
axis here, valid a mask (T, ..., 1) or None; a step of padding copies a and b.

Source: Lafferty, McCallum, Pereira, "Conditional random fields" (2001); Rabiner, "A tutorial on
  hidden Markov models" (1989), for forward-backward.
"""

import jax
from jax import lax
import jax.numpy as jnp

from dlx.gradients import bptt, checks, softmax

PARAMS = ("start", "transitions", "end")


def prepare(params, emissions, lengths):
  """(params, emissions (T, ..., K), valid), in at least float32 and zero in the padding."""
  xs = jnp.moveaxis(emissions, -2, 0)
  dtype = jnp.result_type(*(params[name] for name in PARAMS), xs, jnp.float32)
  valid = bptt.valid_steps(lengths, len(xs))
  params = {name: params[name].astype(dtype) for name in PARAMS}
  return params, bptt.zero_padding(valid, xs.astype(dtype)), valid


def _rest(x):
  """The maximum over the last axis, 0 where that is -inf, and x without it."""
  largest = x.max(-1, keepdims=True)
  largest = jnp.where(jnp.isneginf(largest), 0, largest)
  return largest, x - largest


def _columns(transitions):
  """(c, E): the maximum of each column of the transitions, and e^(T - c)."""
  largest, rest = _rest(transitions.T)
  return largest[:, 0], jnp.exp(rest.T)


def _logarithms(alpha, transitions):
  """a_i + T_ij in position (j, i)."""
  return alpha[..., None, :] + transitions.T


def forward(params, xs, valid, *, in_logarithms):
  """The forward algorithm.

  Args:
    params, xs, valid: as from `prepare`, with at least one step.
    in_logarithms: False for steps as products.

  Returns:
    (log Z `(...)`; a_t before each step but the first `(T - 1, ..., K)`, without its largest
    entry; the last a_t; whether no term of a product underflowed).
  """
  transitions = params["transitions"]
  largest, kernel = _columns(transitions)
  tiny = jnp.finfo(xs.dtype).tiny / jnp.finfo(xs.dtype).eps

  def step(carry, inputs):
    (alpha, total), (x, valid) = carry, inputs
    if in_logarithms:
      sums, safe = jax.nn.logsumexp(_logarithms(alpha, transitions), -1), True
    else:
      products = jnp.exp(alpha) @ kernel
      safe = bptt.select(valid, products >= tiny, True)
      sums = jnp.log(products) + largest
    grown, new = _rest(sums + x)
    return bptt.select(valid, (new, total + grown), carry), (alpha, jnp.all(safe))

  total, alpha = _rest(params["start"] + xs[0])
  rest = xs[1:], None if valid is None else valid[1:]
  (alpha, total), (alphas, safe) = lax.scan(step, (alpha, total), rest)
  log_z = total[..., 0] + jax.nn.logsumexp(alpha + params["end"], -1)
  return log_z, alphas, alpha, safe.all()


def backward(params, alphas, last, valid, d_out, *, in_logarithms):
  """The expected counts times d_out: (d_params, d_xs); arguments as for `forward`."""
  transitions = params["transitions"]
  _, kernel = _columns(transitions)

  def step(b, inputs):
    alpha, valid = inputs
    if in_logarithms:
      before = softmax.probabilities(_logarithms(alpha, transitions))  # p(i | j).
      d_before = jnp.einsum("...j,...ji->...i", b, before)
      used = jnp.einsum("...j,...ji->ij", bptt.zero_padding(valid, b), before)
    else:
      alpha = jnp.exp(alpha)
      products = alpha @ kernel
      used = bptt.zero_padding(valid, b / jnp.where(products == 0, 1, products))
      d_before = alpha * (used @ kernel.T)
    return bptt.select(valid, d_before, b), (b, used)

  d_last = d_out[..., None] * softmax.probabilities(last + params["end"])
  rest = alphas, None if valid is None else valid[1:]
  d_first, (d_xs, used) = lax.scan(step, d_last, rest, reverse=True)
  if in_logarithms:
    d_transitions = used.sum(0)
  else:
    d_transitions = kernel * jnp.einsum("...i,...j->ij", jnp.exp(alphas), used)
  over = tuple(range(d_out.ndim))
  d_params = {"start": d_first.sum(over), "transitions": d_transitions, "end": d_last.sum(over)}
  d_xs = bptt.zero_padding(valid, jnp.concatenate([d_first[None], d_xs]))
  return d_params, d_xs


def log_partition_fwd(params, emissions, lengths, *, in_logarithms=None):
  """(log Z `(...)`, residuals for `log_partition_bwd`).

  Args:
    params, emissions, lengths: as for dlx.layers.crf.log_partition.
    in_logarithms: how a step is computed; None for products unless a term underflows.
  """
  params, xs, valid = prepare(params, emissions, lengths)

  def run(in_logarithms):
    return forward(params, xs, valid, in_logarithms=in_logarithms)

  if not len(xs):
    return jnp.zeros(xs.shape[1:-1], xs.dtype), None
  if in_logarithms is None:
    found = run(False)
    found = lax.cond(found[-1], lambda: found, lambda: (*run(True)[:-1], found[-1]))
  else:
    found = *run(in_logarithms)[:-1], jnp.asarray(not in_logarithms)
  log_z, *residuals = found
  if lengths is not None:
    log_z = jnp.where(jnp.asarray(lengths) > 0, log_z, 0)
  return log_z, residuals


def log_partition_bwd(params, emissions, lengths, residuals, d_out):
  """(d_params, d_emissions) from the residuals of `log_partition_fwd`."""
  narrow = params, emissions
  params, xs, valid = prepare(params, emissions, lengths)
  if not len(xs):
    return jax.tree.map(jnp.zeros_like, narrow)
  if lengths is not None:
    d_out = jnp.where(jnp.asarray(lengths) > 0, d_out, 0)
  alphas, last, safe = residuals

  def run(in_logarithms):
    return backward(params, alphas, last, valid, d_out, in_logarithms=in_logarithms)

  d_params, d_xs = lax.cond(safe, lambda: run(False), lambda: run(True))
  return jax.tree.map(lambda d, x: d.astype(x.dtype), (d_params, jnp.moveaxis(d_xs, 0, -2)), narrow)


def _expect(params, emissions, d_out):
  dtype = jnp.result_type(*params.values(), emissions, jnp.float32)
  checks.expect_like("d_out", d_out, emissions.shape[:-2], dtype)


def log_partition_vjp(params, emissions, *, d_out, lengths=None, in_logarithms=None):
  """The vector-Jacobian product of `dlx.layers.crf.log_partition`: expected counts.

  d_e_t,j = d_out p(y_t = j), and d_T_ij is the sum over t and examples of
  d_out p(y_{t-1} = i, y_t = j); see the module's docstring.

  Args:
    params: `start (K,)`, `transitions (K, K)`, `end (K,)`.
    emissions: `(..., T, K)`.
    d_out: `(...)`, in the dtype of log Z.
    lengths: `(...)`; None if every step is valid.
    in_logarithms: how a step is computed; None for products unless a term underflows.

  Returns:
    (d_params, d_emissions), in the shapes and dtypes of the inputs; zeros in the padding.

  Raises:
    ValueError: d_out has another shape or dtype.
  """
  _expect(params, emissions, d_out)
  _, residuals = log_partition_fwd(params, emissions, lengths, in_logarithms=in_logarithms)
  return log_partition_bwd(params, emissions, lengths, residuals, d_out)


def score_vjp(params, emissions, *, tags, d_out, lengths=None):
  """The vector-Jacobian product of `dlx.layers.crf.score`: observed counts.

  With y_t in one-hot form, d_e_t = d_out y_t and d_T = sum_t d_out y_{t-1} y_t^T; start gets
  y_1, and end y_n. A tag out of range, whose score is nan, has a y of zeros.

  Args:
    params, emissions, lengths: as for `log_partition_vjp`.
    tags: integers, `(..., T)`; no cotangent.
    d_out: `(...)`, in the dtype of the score.

  Returns:
    (d_params, d_emissions), in the shapes and dtypes of the inputs; zeros in the padding.

  Raises:
    ValueError: d_out has another shape or dtype, or tags have another shape.
  """
  _expect(params, emissions, d_out)
  checks.expect_like("tags", tags, emissions.shape[:-1])
  narrow = params, emissions
  y = jax.nn.one_hot(jnp.moveaxis(tags, -1, 0), emissions.shape[-1], dtype=d_out.dtype)
  y = bptt.zero_padding(bptt.valid_steps(lengths, len(y)), y)
  after = jnp.concatenate([y[1:], jnp.zeros_like(y[:1])])
  is_last = ~after.any(-1, keepdims=True)
  d_y = d_out[..., None] * y
  over = tuple(range(y.ndim - 1))
  d_params = {
      "start": d_y[:1].sum(over),
      "transitions": jnp.einsum("...i,...j->ij", d_y, after),
      "end": jnp.where(is_last, d_y, 0).sum(over),
  }
  return jax.tree.map(lambda d, x: d.astype(x.dtype), (d_params, jnp.moveaxis(d_y, 0, -2)), narrow)


def negative_log_likelihood_vjp(params, emissions, *, tags, d_out, lengths=None):
  """The vector-Jacobian product of `dlx.layers.crf.negative_log_likelihood`, log Z - S.

  Expected minus observed counts: those of `log_partition_vjp` and of `score_vjp`, which has
  the arguments, results and errors.
  """
  expected = log_partition_vjp(params, emissions, d_out=d_out, lengths=lengths)
  observed = score_vjp(params, emissions, tags=tags, d_out=d_out, lengths=lengths)
  return jax.tree.map(jnp.subtract, expected, observed)
