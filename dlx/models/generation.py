"""Text drawn from a language model, for readers and for its own training."""

from collections.abc import Callable, Iterable, Iterator
import functools

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
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


def no_carry(batch_shape: tuple[int, ...]) -> None:
  """The `empty` of a network that starts without a carry."""


def make_sample(
    vocabulary, network: Callable, empty: Callable = no_carry, context: int | None = None
) -> Callable:
  """`sample` of a language model's Task: yields the text after a prompt in pieces.

  Args:
    vocabulary: of dlx.data.vocabulary.
    network: `network(variables, ids, carry) -> (logits, carry)`: of ids (..., T) after the tokens
      in the carry, the logits (..., T, V) of the next tokens.
    empty: `empty(batch_shape)`: the carry before the first token.
    context: the maximum number of tokens in a carry; None if there is no limit. When it is
      full, its last half is read again, in one pass.

  The attribute `context` of the result is the argument, for those who score a text
  (dlx.training.prompting).
  """

  @jax.jit
  def read(variables, ids):
    logits, carry = network(variables, ids, empty(()))
    return carry, logits[-1]

  def sample(
      variables, rng, *, prompt="", length=1000, temperature=0.8, top_k=None, top_p=None
  ) -> Iterator[Piece]:
    ids = vocabulary.encode_prompt(prompt)
    if context is not None and len(ids) > context:
      raise UserError(
          f"the prompt has {len(ids)} tokens, but the context has {context}; shorten the prompt"
      )

    def room(ids):
      return None if context is None else context - len(ids) + 1

    def reread(drawn):
      last = np.concatenate([ids, drawn])[-max(1, context // 2) :]
      return read(variables, last), room(last)

    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    if context is not None:
      options["piece"] = max(1, min(250, context // 2))
    return _decoded(vocabulary, decoding.pieces(
        rng, functools.partial(one_token, network), variables, read(variables, ids), length,
        room=room(ids), reread=reread, **options,
    ))  # fmt: skip

  sample.context = context
  return sample


def one_token(network: Callable, variables, carry, ids: Int[Array, "..."]):
  """(carry, logits (..., V)) after one more token, ids; see `make_sample` for network."""
  logits, carry = network(variables, ids[..., None], carry)
  return carry, logits[..., -1, :]


def sampled_inputs(
    rng: jax.Array,
    network: Callable,
    variables,
    carry,
    inputs: Int[Array, "... T"],
    rate: Float[Array, "..."],
) -> Int[Array, "... T"]:
  """Inputs of which some are drawn from the model instead of taken from the text.

  x'_1 = x_1, and x'_t is drawn from p(. | x'_1 ... x'_{t-1}) with probability r_t, else it is
  x_t. r = 0 is teacher forcing, r = 1 a free-running model, r in between scheduled sampling. The
  model reads one token after the other; no gradient flows through the draws.

  Args:
    rng: a typed key.
    network, carry: see `make_sample`; the carry before the first input.
    variables: of the model.
    inputs: x, `(..., T)`.
    rate: r, a scalar or `(T - 1,)`, for x_2 ... x_T.

  Source: Bengio, Vinyals, Jaitly, Shazeer, "Scheduled sampling for sequence prediction with
    recurrent neural networks" (2015).
  """
  step = functools.partial(one_token, network, lax.stop_gradient(variables))
  rest = jnp.moveaxis(inputs, -1, 0)[1:]

  def draw(state, given):
    truth, rate, rng = given
    draw_rng, choice_rng = jax.random.split(rng)
    drawn = decoding.sample(draw_rng, state[1])
    ids = jnp.where(jax.random.bernoulli(choice_rng, rate, truth.shape), drawn, truth)
    return step(state[0], ids), ids

  given = rest, jnp.broadcast_to(rate, len(rest)), jax.random.split(rng, len(rest))
  _, drawn = lax.scan(draw, step(carry, inputs[..., 0]), given)
  return jnp.concatenate([inputs[..., :1], jnp.moveaxis(drawn, 0, -1)], -1)


def make_schedule(options, total_steps: int) -> Callable:
  """`schedule(rng, network, variables, carry, batch)`: the inputs of a training step.

  Args:
    options: `rate`, and `schedule`: "linear" for a rate that grows from 0 to it over the run,
      "constant" otherwise; see dlx.settings.SAMPLED_INPUTS.
    total_steps: of the run.
  """

  def inputs_of(rng, network, variables, carry, batch):
    if not options.rate:
      return batch["inputs"]
    share = batch["step"] / total_steps if options.schedule == "linear" else 1.0
    rng = jax.random.fold_in(rng, 1)  # Dropout draws from rng itself.
    return sampled_inputs(rng, network, variables, carry, batch["inputs"], options.rate * share)

  return inputs_of


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
