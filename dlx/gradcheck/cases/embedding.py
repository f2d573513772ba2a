"""The embedding, the tied output layer, and their rules."""

from dlx.gradcheck.case import LEADING, Case, Mistake
from dlx.gradients import embedding as gradients
from dlx.layers import embedding

SIZES = {"batch": LEADING, "vocab_size": (4, 1, 3), "d": (2, 1, 3)}
TYPICAL = {"batch": (64, 128), "vocab_size": 1024, "d": 256}


def _draw_lookup(rng, batch, vocab_size, d):
  """Five places for at most four ids: some id repeats."""
  ids = rng.integers(vocab_size, size=(*batch, 5))
  return ({"embedding": rng.normal(size=(vocab_size, d))},), {"ids": ids}


def _draw_logits(rng, batch, vocab_size, d):
  params = {"embedding": rng.normal(size=(vocab_size, d))}
  return (params, rng.normal(size=(*batch, d))), {}


CASES = [
    Case(
        name="embedding.lookup",
        formula="y = E[ids]: d_E[v] = sum of d_y where the id is v",
        plain=embedding.lookup,
        rule=gradients.lookup_vjp,
        draw=_draw_lookup,
        sizes=SIZES,
        typical=TYPICAL,
        batched=(False,),
        batched_options=("ids",),
        mistakes=(
            Mistake("repeated ids overwrite", "rows.add(", "rows.set("),
            Mistake("repeated ids keep the largest", "rows.add(", "rows.max("),
            Mistake("the neighbour's row", ".at[ids]", ".at[ids + 1]"),
            Mistake("the sign", "rows.add(d_out", "rows.add(-d_out"),
        ),
    ),
    Case(
        name="embedding.logits",
        formula="y = x E^T: d_x = d_y E, d_E = sum d_y^T x",
        plain=embedding.logits,
        rule=gradients.logits_vjp,
        draw=_draw_logits,
        sizes=SIZES,
        typical=TYPICAL,
        batched=(False, True),
        mistakes=(
            Mistake("E transposed in d_x", "d_out @ table", "d_out @ table.T"),
            Mistake("d_x's sign", "(d_out @ table)", "-(d_out @ table)"),
            Mistake("d_E transposed", "contract(d_out, x)", "contract(x, d_out)"),
            Mistake("d_E's sign", "linear.contract(", "-linear.contract("),
            Mistake("d_E a mean over examples", "linear.contract(d_out, x)",
                    "(linear.contract(d_out, x) / max(1, x.size // x.shape[-1]))"),
        ),
    ),
]
