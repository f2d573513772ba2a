"""Text drawn from a language model."""

from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np

from dlx.errors import UserError
from dlx.layers import decoding

_PARTIAL = "\ufffd"  # Stands for bytes that are not a whole character,
_BYTES = 4  # of which a character has at most so many.


class Piece(str):
  """A piece of text, with the number of tokens that were drawn for it."""

  def __new__(cls, text: str, num_tokens: int):
    """The text with its number of tokens."""
    piece = super().__new__(cls, text)
    piece.num_tokens = num_tokens
    return piece


def make_sample(vocabulary, read: Callable, step: Callable, context: int | None = None) -> Callable:
  """`sample` of a language model's Task: yields the text after a prompt in pieces.

  Args:
    vocabulary: of dlx.data.vocabulary.
    read: `read(variables, ids) -> (carry, logits)`: the state after ids (T,), and the logits of
      the next token, (V,).
    step: `step(variables, carry, id) -> (carry, logits)`, one token further.
    context: the maximum number of tokens in a carry; None if there is no limit. When it is
      full, its last half is read again, in one pass.
  """

  def sample(
      variables, rng, *, prompt="", length=1000, temperature=0.8, top_k=None, top_p=None
  ) -> Iterator[Piece]:
    ids = vocabulary.encode_prompt(prompt)
    if context is not None and len(ids) > context:
      raise UserError(
          f"the prompt has {len(ids)} tokens, but the context has {context}; shorten the prompt"
      )
    compiled = jax.jit(read)

    def room(ids):
      return None if context is None else context - len(ids) + 1

    def reread(drawn):
      last = np.concatenate([ids, drawn])[-max(1, context // 2) :]
      return compiled(variables, last), room(last)

    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    if context is not None:
      options["piece"] = max(1, min(250, context // 2))
    state = compiled(variables, ids)
    return _decoded(vocabulary, decoding.pieces(
        rng, step, variables, state, length, room=room(ids), reread=reread, **options
    ))  # fmt: skip

  return sample


def _decoded(vocabulary, pieces: Iterable[np.ndarray]) -> Iterator[Piece]:
  """Their text; the first bytes of a character are kept until its last one is drawn."""
  ids = []
  for piece in pieces:
    ids += piece.tolist()
    ends = range(len(ids), max(len(ids) - _BYTES, -1), -1)
    end = next((n for n in ends if not vocabulary.decode(ids[:n]).endswith(_PARTIAL)), len(ids))
    yield Piece(vocabulary.decode(ids[:end]), len(piece))
    ids = ids[end:]
  if ids:
    yield Piece(vocabulary.decode(ids), 0)
