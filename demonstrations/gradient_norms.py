"""Vanishing and exploding gradients: |dL/dh_t| against the distance from the last step.

With h_t = cell(h_{t-1}, x_t) and a loss L that reads only h_T, the gradient is a product,

  dL/dh_t = dL/dh_T J_T J_{T-1} ... J_{t+1},   J_s = dh_s / dh_{s-1}

so it shrinks or grows about geometrically with the distance T - t. The left picture, at
initialization with standard normal inputs: the gradient shrinks at each step to about 0.6 of its
norm in a tanh network, 0.7 in a relu network (half of the units are off: sqrt(1/2)), 0.65 in a
GRU and 0.8 in an LSTM, whose forget gates start near sigmoid(1) = 0.73. The right picture:
with a hidden kernel of 1.6 times the initial size, the gradient of the relu network's parameters
grows with the length. Clipping bounds it; a gradient that has vanished it does not bring back.

`norms` takes trained parameters too: those of the first layer of a run of experiments/gru_lm are
`dlx.load_run(DIR).params["recurrent"][0]`, its inputs rows of `params["embedding"]["embedding"]`,
and its cell `functools.partial(gru.cell, reset_after=True)`.

Source: Bengio, Simard, Frasconi, "Learning long-term dependencies with gradient descent is
  difficult" (1994); Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural
  networks" (2013), for clipping.
"""

import functools

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np
import optax

from dlx.layers import gru, lstm, rnn
from dlx.reports import figures

NETWORKS = {
    "RNN, tanh": (rnn, rnn.cell),
    "RNN, relu": (rnn, functools.partial(rnn.cell, activation=jax.nn.relu)),
    "GRU": (gru, gru.cell),
    "LSTM": (lstm, lstm.cell),
}


def norms(cell, params, carry, xs, d_last) -> jax.Array:
  """|dL/dcarry_t| for t = 1 ... T, where dL/dcarry_T = d_last; of an LSTM, of c and h together.

  Args:
    cell: `cell(params, carry, x) -> (carry, y)`, such as gru.cell.
    params: its parameters.
    carry: the initial carry.
    xs: the inputs, (T, D).
    d_last: the gradient of the loss with respect to the last carry, of the carry's structure.
  """

  def step(carry, inputs):
    x, change = inputs  # A change of 0: the gradient with respect to it is that of the carry.
    carry, _ = cell(params, carry, x)
    return jax.tree.map(jnp.add, carry, change), None

  def loss(changes):
    last, _ = jax.lax.scan(step, carry, (xs, changes))
    return sum(map(jnp.vdot, jax.tree.leaves(last), jax.tree.leaves(d_last)))

  changes = jax.tree.map(lambda c: jnp.zeros((len(xs), *c.shape), c.dtype), carry)
  d_carries = jax.tree.leaves(jax.grad(loss)(changes))
  return jnp.sqrt(sum((d**2).sum(-1) for d in d_carries))


def at_initialization(name: str, *, steps: int, d_hidden: int = 64, seed: int = 0) -> np.ndarray:
  """|dL/dh_t| / |dL/dh_T| for t = T ... 1 of a network of NETWORKS, with random inputs."""
  module, cell = NETWORKS[name]
  rngs = jax.random.split(jax.random.key(seed), 3)
  params = module.init(rngs[0], d_hidden, d_hidden)
  carry = module.initial_carry(params, ())
  d_h = jax.random.normal(rngs[2], (d_hidden,))
  d_last = d_h if module is not lstm else (jnp.zeros_like(d_h), d_h)  # The loss reads h, not c.
  xs = jax.random.normal(rngs[1], (steps, d_hidden))
  found = jax.jit(functools.partial(norms, cell))(params, carry, xs, d_last)
  return np.asarray(found[::-1] / jnp.linalg.norm(d_h))


def of_lengths(
    lengths: list[int], *, factor: float, limit: float = 1.0, d_hidden: int = 64, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
  """(|dL/dparams|, the same after clipping to `limit`) of a relu network for each length.

  Args:
    lengths: of sequences.
    factor: of the initial hidden kernel.
    limit: of the gradient's global norm.
    d_hidden: units, and features of the random inputs.
    seed: of parameters, inputs and dL/dh_T.
  """
  rngs = jax.random.split(jax.random.key(seed), 3)
  params = rnn.init(rngs[0], d_hidden, d_hidden)
  params["hidden"] *= factor
  xs = jax.random.normal(rngs[1], (max(lengths), d_hidden))
  d_h = jax.random.normal(rngs[2], (d_hidden,))
  clip = optax.clip_by_global_norm(limit)

  @jax.jit
  @jax.vmap
  def both(length):
    loss = lambda p: rnn.scan(p, xs, lengths=length, activation=jax.nn.relu)[0] @ d_h  # noqa: E731
    gradient = jax.grad(loss)(params)
    clipped, _ = clip.update(gradient, clip.init(params))
    return optax.global_norm(gradient), optax.global_norm(clipped)

  return tuple(map(np.asarray, both(jnp.array(lengths))))


def draw(steps: int = 60) -> tuple[Figure, list[str]]:
  """The two pictures, and a line for each network."""
  figure = figures.figure(10, 4)
  figure.set_layout_engine("constrained")
  left, right = figure.subplots(1, 2)
  lines = []
  for name in NETWORKS:
    found = at_initialization(name, steps=steps)
    left.plot(found, label=name)
    lines.append(f"{name}: |dL/dh| is multiplied by {found[-1] ** (1 / (steps - 1)):.2f} at each "
                 f"step back, by {found[-1]:.1e} over {steps - 1} steps")  # fmt: skip
  left.set(yscale="log", xlabel="distance to the last step", ylabel="|dL/dh_t| / |dL/dh_T|")
  left.set_title("at initialization", fontsize=10)
  lengths = list(range(1, steps + 1))
  for factor, color in ((1.0, "C0"), (1.6, "C3")):
    raw, clipped = of_lengths(lengths, factor=factor)
    right.plot(lengths, raw, color=color, label=f"hidden kernel x {factor}")
    right.plot(lengths, clipped, "--", color=color, label=f"x {factor}, clipped to 1")
    lines.append(f"RNN, relu, hidden kernel x {factor}: |dL/dparams| is {raw[-1]:.1e} for {steps} "
                 f"steps, {clipped[-1]:.1e} after clipping")  # fmt: skip
  right.set(yscale="log", xlabel="length of the sequence", ylabel="|dL/dparams|")
  right.set_title("RNN, relu", fontsize=10)
  for axes in (left, right):
    axes.legend(fontsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
  return figure, lines
