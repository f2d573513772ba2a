"""The conditional random field and its rules: expected and observed counts."""

import functools

from dlx.gradcheck.case import LEADING, Case, Mutant
from dlx.gradients import crf as gradients
from dlx.layers import crf

SIZES = {"batch": LEADING, "steps": (3, 1, 4), "tags": (3, 1, 2), "ragged": (True, False)}
TYPICAL = {"batch": (32,), "steps": 32, "tags": 128, "ragged": False}


def _draw(rng, batch, steps, tags, ragged):
  params = {
      "start": rng.normal(size=tags),
      "transitions": rng.normal(size=(tags, tags)),
      "end": rng.normal(size=tags),
  }
  options = {"lengths": rng.integers(steps + 1, size=batch) if ragged else None}
  return (params, rng.normal(size=(*batch, steps, tags))), options


def _draw_paths(rng, batch, steps, tags, ragged):
  """With a path of tags for each sequence."""
  inputs, options = _draw(rng, batch, steps, tags, ragged)
  return inputs, options | {"tags": rng.integers(tags, size=(*batch, steps))}


def _draw_steps(rng, in_logarithms, **sizes):
  """With the way to compute a step."""
  inputs, options = _draw(rng, **sizes)
  return inputs, options | {"in_logarithms": in_logarithms}


def _log_partition(params, emissions, *, lengths, in_logarithms=None):
  del in_logarithms
  return crf.log_partition(params, emissions, lengths=lengths, implementation="autodiff")


def _through_padding(*inputs, lengths, **options):
  del lengths
  return gradients.log_partition_vjp(*inputs, lengths=None, **options)


_case = functools.partial(
    Case, sizes=SIZES, typical=TYPICAL, batched=(False, True), batched_options=("lengths",)
)

CASES = [
    _case(
        name="crf.log_partition",
        formula="log Z: d_e_tj = p(y_t = j), d_T_ij = sum_t p(y_t-1 = i, y_t = j)",
        reference=_log_partition,
        rule=gradients.log_partition_vjp,
        draw=_draw_steps,
        sizes=SIZES | {"in_logarithms": (None, True)},
        mutants=(Mutant("padding is stepped through", _through_padding),),
    ),
    _case(
        name="crf.score",
        formula="S(y): d_e_t = y_t, d_T = sum_t y_t-1 y_t^T",
        reference=crf.score,
        rule=gradients.score_vjp,
        draw=_draw_paths,
        batched_options=("lengths", "tags"),
    ),
    _case(
        name="crf.negative_log_likelihood",
        formula="log Z - S(y): expected minus observed counts",
        reference=functools.partial(crf.negative_log_likelihood, implementation="autodiff"),
        rule=gradients.negative_log_likelihood_vjp,
        draw=_draw_paths,
        batched_options=("lengths", "tags"),
    ),
]
