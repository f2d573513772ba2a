"""Universal approximation: hidden units with relu or tanh fit any curve, those with z^2 do not.

  z(x) = sum_j v_j f(w_j x + b_j) + c,   trained on f*(x) = sin(pi x) + cos(3 pi x) / 2 in [-1, 1]

With f a relu, z is piecewise linear with a bend for each unit, and its error falls as units are
added; so it does with tanh. With f(a) = a^2 it is a polynomial of degree 2, of any number of units:

  sum_j v_j (w_j x + b_j)^2 = (sum_j v_j w_j^2) x^2 + (2 sum_j v_j w_j b_j) x + sum_j v_j b_j^2

and so its error is at least that of the best parabola. Any f that is no polynomial will do.

Source: Cybenko, "Approximation by superpositions of a sigmoidal function" (1989); Leshno et al.,
  "Multilayer feedforward networks with a nonpolynomial activation function can approximate any
  function" (1993).
"""

import functools

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np
import optax

from dlx.models import mlp
from dlx.reports import figures

ACTIVATIONS = ("relu", "tanh", "square")
WIDTHS = (1, 2, 4, 8, 16, 32, 64)
X = np.linspace(-1, 1, 201)


def curve(x):
  """f*(x)."""
  return np.sin(np.pi * x) + np.cos(3 * np.pi * x) / 2


@functools.partial(jax.jit, static_argnames=("activation", "steps", "most"))
def fit(width, activation: str, *, steps: int, most: int = max(WIDTHS), seed: int = 0):
  """The trained z at X, (201,), of a network with `width` of at most `most` hidden units.

  Adam on the mean squared error of all of X, with a rate that falls to 0; the other units have
  the weight 0.

  Args:
    width: an integer, or an array of it under vmap.
    activation: f, a key of dlx.models.mlp.ACTIVATIONS.
    steps: of training.
    most: the units of the arrays.
    seed: of the initial weights.
  """
  rngs = jax.random.split(jax.random.key(seed))
  start = mlp.init(rngs[0], (1, most, 1), activation)
  start["layer0"]["bias"] = jax.random.uniform(rngs[1], (most,), minval=-1, maxval=1)
  is_used = (jnp.arange(most) < width)[:, None]
  x, targets = jnp.asarray(X, jnp.float32)[:, None], jnp.asarray(curve(X), jnp.float32)

  def outputs(params):
    kernel = jnp.where(is_used, params["layer1"]["kernel"], 0)
    return mlp.apply({**params, "layer1": {**params["layer1"], "kernel": kernel}}, x, activation)

  def loss(params):
    return jnp.mean((outputs(params)[:, 0] - targets) ** 2)

  optimizer = optax.adam(optax.cosine_decay_schedule(0.03, steps))

  def step(carry, _):
    params, state = carry
    updates, state = optimizer.update(jax.grad(loss)(params), state)
    return (optax.apply_updates(params, updates), state), None

  (params, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), length=steps)
  return outputs(params)[:, 0]


def rmse(found) -> np.ndarray:
  """The root mean square error of z at X, (..., 201)."""
  return np.sqrt(np.mean((np.asarray(found, np.float64) - curve(X)) ** 2, -1))


def parabola() -> np.ndarray:
  """The polynomial of degree 2 of least squares, at X."""
  return np.polyval(np.polyfit(X, curve(X), 2), X)


def draw(steps: int = 4000) -> tuple[Figure, list[str]]:
  """The widest networks beside the curve, and errors over the number of hidden units."""
  figure = figures.figure(10, 4)
  figure.set_layout_engine("constrained")
  left, right = figure.subplots(1, 2)
  left.plot(X, curve(X), "0.7", linewidth=5, label="curve")
  lines = []
  for activation in ACTIVATIONS:
    at = functools.partial(fit, activation=activation, steps=steps)
    found = np.asarray(jax.vmap(at)(jnp.array(WIDTHS)))
    errors = rmse(found)
    left.plot(X, found[-1], label=f"{activation}, {WIDTHS[-1]} units")
    right.plot(WIDTHS, errors, "o-", markersize=4, label=activation)
    lines.append(f"{activation}: RMSE {errors[0]:.3f} with 1 hidden unit, {errors[3]:.4f} with "
                 f"{WIDTHS[3]}, {errors[-1]:.4f} with {WIDTHS[-1]}")  # fmt: skip
  least = rmse(parabola())
  right.axhline(least, color="0.5", linestyle="--", label="best parabola")
  lines.append(f"best polynomial of degree 2: RMSE {least:.4f}")
  left.set(xlabel="x")
  right.set(xscale="log", yscale="log", xlabel="hidden units", ylabel="RMSE")
  right.set_xticks(WIDTHS, [str(width) for width in WIDTHS], minor=False)
  for axes in (left, right):
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
  return figure, lines
