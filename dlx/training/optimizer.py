"""An optax optimizer with its schedule, from a config."""

import jax
import ml_collections
import optax

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
  for name in ("b1", "b2"):
    if not 0 <= config[name] < 1:
      raise UserError(f"config.optimizer.{name} is {config[name]}; use 0 <= {name} < 1")
  if not 0 <= config.weight_decay < float("inf"):
    raise UserError(
        f"config.optimizer.weight_decay is {config.weight_decay}; it must be 0 or more"
    )
  if not config.clip_norm > 0:  # inf is no bound.
    raise UserError(f"config.optimizer.clip_norm is {config.clip_norm}; it must be above 0")
  return optax.chain(
      optax.clip_by_global_norm(config.clip_norm),
      optax.adamw(
          schedule(config, total_steps),
          b1=config.b1,
          b2=config.b2,
          weight_decay=config.weight_decay,
          mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
      ),
  )
