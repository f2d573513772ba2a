"""The embedding, the tied output layer, and their rules."""

from dlx.gradcheck.case import LEADING, Case, Mutant
from dlx.gradients import embedding as gradients
from dlx.layers import embedding

SIZES = {"batch": LEADING, "vocab_size": (4, 1, 3), "d": (2, 1, 3)}
TYPICAL = {"batch": (64, 128), "vocab_size": 1024, "d": 256}


def _draw_lookup(rng, batch, vocab_size, d):
  """Five ids of at most four values: some repeat."""
  ids = rng.integers(vocab_size, size=(*batch, 5))
  return ({"embedding": rng.normal(size=(vocab_size, d))},), {"ids": ids}


def _draw_logits(rng, batch, vocab_size, d):
  params = {"embedding": rng.normal(size=(vocab_size, d))}
  return (params, rng.normal(size=(*batch, d))), {}


def _next_id(params, *, ids, **options):
  return gradients.lookup_vjp(params, ids=ids + 1, **options)


CASES = [
    Case(
        name="embedding.lookup",
        formula="y = E[ids]: d_E[v] = sum of d_y where the id is v",
        reference=embedding.lookup,
        rule=gradients.lookup_vjp,
        draw=_draw_lookup,
        sizes=SIZES,
        typical=TYPICAL,
        batched=(False,),
        batched_options=("ids",),
        mutants=(Mutant("the row of the next id", _next_id),),
    ),
    Case(
        name="embedding.logits",
        formula="y = x E^T: d_x = d_y E, d_E = sum d_y^T x",
        reference=embedding.logits,
        rule=gradients.logits_vjp,
        draw=_draw_logits,
        sizes=SIZES,
        typical=TYPICAL,
        batched=(False, True),
    ),
]
