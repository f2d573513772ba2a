"""Optax optimizers with their schedules, from a config."""

import jax
import ml_collections
import optax
import optax.contrib

from dlx.errors import UserError


def schedule(config: ml_collections.ConfigDict, total_steps: int) -> optax.Schedule:
  """Linear warm-up, then the chosen decay down to final_fraction of the peak.

  Args:
    config: learning_rate, warmup_steps, decay ("cosine", "linear" or "constant") and
      final_fraction.
    total_steps: the length of the run.

  Raises:
    UserError: decay is unknown, warmup_steps is not below total_steps, learning_rate is
      not a positive number, or final_fraction is outside [0, 1].
  """
  peak, warmup = config.learning_rate, config.warmup_steps
  if not 0 < peak < float("inf"):
    raise UserError(f"config.optimizer.learning_rate is {peak}; it must be above 0")
  if not 0 <= warmup < total_steps:
    raise UserError(
        f"config.optimizer.warmup_steps is {warmup}; it must be below "
        f"config.training.total_steps, {total_steps}"
    )
  if not 0 <= config.final_fraction <= 1:
    raise UserError(
        f"config.optimizer.final_fraction is {config.final_fraction}; use 0 <= fraction <= 1"
    )
  steps, last = total_steps - warmup, config.final_fraction
  if config.decay == "cosine":
    decay = optax.cosine_decay_schedule(peak, steps, alpha=last)
  elif config.decay == "linear":
    decay = optax.linear_schedule(peak, peak * last, steps)
  elif config.decay == "constant":
    decay = optax.constant_schedule(peak)
  else:
    raise UserError(
        f"config.optimizer.decay is {config.decay!r}; use cosine, linear or constant"
    )
  return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), decay], [warmup])


def _check(config: ml_collections.ConfigDict, *fractions: str) -> None:
  """Raises UserError unless the named values are in [0, 1) and the others make sense."""
  for name in fractions:
    if not 0 <= config[name] < 1:
      raise UserError(f"config.optimizer.{name} is {config[name]}; use 0 <= {name} < 1")
  if not 0 <= config.weight_decay < float("inf"):
    raise UserError(
        f"config.optimizer.weight_decay is {config.weight_decay}; it must be 0 or more"
    )
  if not config.clip_norm > 0:  # inf is no bound.
    raise UserError(f"config.optimizer.clip_norm is {config.clip_norm}; it must be above 0")


def _is_weight(params):
  """True for what is decayed: kernels and tables, not biases and scales."""
  return jax.tree.map(lambda p: p.ndim > 1, params)


def adamw(config: ml_collections.ConfigDict, total_steps: int) -> optax.GradientTransformation:
  """AdamW behind a bound on the gradient's global norm; biases are not decayed.

  Args:
    config: as for `schedule`, and b1, b2, weight_decay, clip_norm.
    total_steps: the length of the run.

  Raises:
    UserError: as `schedule`, and when b1 or b2 is outside [0, 1), weight_decay is
      negative or clip_norm is not above 0.

  Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019).
  """
  _check(config, "b1", "b2")
  return optax.chain(
      optax.clip_by_global_norm(config.clip_norm),
      optax.adamw(
          schedule(config, total_steps),
          b1=config.b1,
          b2=config.b2,
          weight_decay=config.weight_decay,
          mask=_is_weight,
      ),
  )


def sgd(config: ml_collections.ConfigDict, total_steps: int) -> optax.GradientTransformation:
  """Gradient descent with Nesterov's momentum: g' = g + l p, m' = b m + g', p -= r (g' + b m').

  r is the schedule, b the momentum and l the weight decay, which is part of the gradient
  here (an L2 penalty) and spares biases and scales.

  Args:
    config: as for `schedule`, and momentum, weight_decay, clip_norm.
    total_steps: the length of the run.

  Raises:
    UserError: as `schedule`, and when momentum is outside [0, 1), weight_decay is
      negative or clip_norm is not above 0.

  Source: Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and
    momentum in deep learning" (2013), in the form that PyTorch uses.
  """
  _check(config, "momentum")
  return optax.chain(
      optax.clip_by_global_norm(config.clip_norm),
      optax.add_decayed_weights(config.weight_decay, mask=_is_weight),
      optax.sgd(schedule(config, total_steps), momentum=config.momentum, nesterov=True),
  )


def muon(config: ml_collections.ConfigDict, total_steps: int) -> optax.GradientTransformation:
  """Momentum whose matrices are brought to orthogonal ones; NAdam for biases and scales.

  An update M = U S V^T becomes about U V^T by five Newton-Schulz iterations. A kernel
  (h, w, c_in, c_out) is taken as the matrix (h w c_in, c_out).

  Args:
    config: as for `schedule` (the rate of the matrices), and momentum, weight_decay,
      clip_norm, and adam_learning_rate, the peak for all that is no matrix.
    total_steps: the length of the run.

  Raises:
    UserError: as `schedule`, and when momentum is outside [0, 1), weight_decay is
      negative or clip_norm is not above 0.

  Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
  """
  _check(config, "momentum")
  rest = config.copy_and_resolve_references()
  rest.learning_rate = config.adam_learning_rate

  def dimensions(params):
    def of(p):
      if p.ndim < 2:
        return None
      inputs = tuple(range(p.ndim - 1))
      return optax.contrib.MuonDimensionNumbers(reduction_axis=inputs, output_axis=p.ndim - 1)

    return jax.tree.map(of, params)

  return optax.chain(
      optax.clip_by_global_norm(config.clip_norm),
      optax.contrib.muon(
          schedule(config, total_steps),
          beta=config.momentum,
          weight_decay=config.weight_decay,
          adam_learning_rate=schedule(rest, total_steps),
          muon_weight_dimension_numbers=dimensions,
      ),
  )
