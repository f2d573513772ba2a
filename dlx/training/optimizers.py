"""Optax optimizers with learning-rate schedules and gradient clipping."""

import jax
from jax import lax
import jax.numpy as jnp
import ml_collections
import optax
import optax.contrib

from dlx import platform


def schedule(
    learning_rate: float,
    total_steps: int,
    *,
    warmup_steps: int = 0,
    decay: str = "constant",
    end_lr_fraction: float = 0.0,
) -> optax.Schedule:
  """Linear warm-up from 0 to the peak, then decay.

  Args:
    learning_rate: the peak.
    total_steps: the length of the run.
    warmup_steps: less than total_steps.
    decay: "cosine", "linear" or "constant".
    end_lr_fraction: the last rate as a fraction of the peak.

  Raises:
    ValueError: decay is unknown, or warmup_steps is not in [0, total_steps).
  """
  if not 0 <= warmup_steps < total_steps:
    raise ValueError(
        f"warmup_steps: expected 0 <= warmup_steps < total_steps = {total_steps}, "
        f"got {warmup_steps}"
    )
  steps = total_steps - warmup_steps
  if decay == "cosine":
    after = optax.cosine_decay_schedule(learning_rate, steps, alpha=end_lr_fraction)
  elif decay == "linear":
    after = optax.linear_schedule(learning_rate, learning_rate * end_lr_fraction, steps)
  elif decay == "constant":
    after = optax.constant_schedule(learning_rate)
  else:
    raise ValueError(f"decay: expected cosine, linear or constant, got {decay!r}")
  warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
  return optax.join_schedules([warmup, after], [warmup_steps])


def _is_weight(params):
  """True for parameters with weight decay: kernels and tables, not biases and scales."""
  return jax.tree.map(lambda p: p.ndim > 1, params)


def global_norm(tree) -> jax.Array:
  """The square root of the sum of the squares of all leaves, in at least float32.

  On CPU the squares are summed by a product with a vector of ones: XLA sums contiguous values
  sequentially, which takes longer than Adam's update.
  """

  def sum_of_squares(x):
    x = jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
    if x.ndim == 0 or platform.choices()["sum_last"] == "sum":
      return x.sum()
    return jnp.matmul(x, jnp.ones(x.shape[-1], x.dtype), precision=lax.Precision.HIGHEST).sum()

  return jnp.sqrt(sum(map(sum_of_squares, jax.tree.leaves(tree))))


def _clip(clip_norm: float | None) -> optax.GradientTransformation:
  """g min(1, clip_norm / |g|)."""
  if clip_norm is None:
    return optax.identity()

  def clip(grads, params):
    del params
    norm = global_norm(grads)
    return jax.tree.map(lambda g: jnp.where(norm < clip_norm, g, g / norm * clip_norm), grads)

  return optax.stateless(clip)


def adamw(
    *, b1: float = 0.9, b2: float = 0.99, weight_decay: float = 0.0,
    clip_norm: float | None = None, **rate,
) -> optax.GradientTransformation:  # fmt: skip
  """AdamW after clipping of the gradient's global norm; biases are not decayed.

  Args:
    b1, b2: decay rates of the moments.
    weight_decay: times the learning rate.
    clip_norm: None for no clipping.
    **rate: as for `schedule`.

  Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019).
  """
  return optax.chain(
      _clip(clip_norm),
      optax.adamw(
          schedule(**rate), b1=b1, b2=b2, weight_decay=weight_decay, mask=_is_weight
      ),
  )


def sgd(
    *, momentum: float = 0.9, weight_decay: float = 0.0, clip_norm: float | None = None, **rate
) -> optax.GradientTransformation:
  """Gradient descent with Nesterov momentum: g' = g + l p, m' = b m + g', p -= r (g' + b m').

  r is the schedule, b the momentum and l the weight decay, which is part of the gradient
  here (an L2 penalty) and excludes biases and scales.

  Args:
    momentum: b.
    weight_decay: l.
    clip_norm: None for no clipping.
    **rate: as for `schedule`.

  Source: Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and
    momentum in deep learning" (2013), in the form that PyTorch uses.
  """
  return optax.chain(
      _clip(clip_norm),
      optax.add_decayed_weights(weight_decay, mask=_is_weight),
      optax.sgd(schedule(**rate), momentum=momentum, nesterov=True),
  )


def muon(
    *, momentum: float = 0.95, weight_decay: float = 0.0, clip_norm: float | None = None,
    adam_learning_rate: float, learning_rate: float, **rate,
) -> optax.GradientTransformation:  # fmt: skip
  """Momentum with orthogonalized matrix updates; NAdam for biases, scales and embeddings.

  An update M = U S V^T becomes approximately U V^T by five Newton-Schulz iterations. A kernel
  (h, w, c_in, c_out) is reshaped to the matrix (h w c_in, c_out).

  Args:
    momentum: of the matrices.
    weight_decay: times the learning rate.
    clip_norm: None for no clipping.
    adam_learning_rate: the peak rate for all other parameters.
    learning_rate: the peak rate for matrices.
    **rate: as for `schedule`.

  Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
  """

  def dimensions(params):
    def of(path, p):
      if p.ndim < 2 or getattr(path[-1], "key", None) == "embedding":  # A table is no map.
        return None
      inputs = tuple(range(p.ndim - 1))
      return optax.contrib.MuonDimensionNumbers(reduction_axis=inputs, output_axis=p.ndim - 1)

    return jax.tree.map_with_path(of, params)

  return optax.chain(
      _clip(clip_norm),
      optax.contrib.muon(
          schedule(learning_rate, **rate),
          beta=momentum,
          weight_decay=weight_decay,
          adam_learning_rate=schedule(adam_learning_rate, **rate),
          muon_weight_dimension_numbers=dimensions,
      ),
  )


_OPTIMIZERS = {"adamw": adamw, "sgd": sgd, "muon": muon}


def make(config: ml_collections.ConfigDict, total_steps: int) -> optax.GradientTransformation:
  """The optimizer of a config's section; see dlx.settings.optimizers.

  Args:
    config: `name` ("adamw" when there is none) and the arguments of that optimizer.
    total_steps: the length of the run.
  """
  options = dict(config)
  optimizer = _OPTIMIZERS[options.pop("name", "adamw")]
  return optimizer(total_steps=total_steps, **options)
