"""The platform that programs are traced for, and what implementation="auto" means on it.

Some layers have an implementation that is faster on one platform only. They read `choices`
while they are traced, so the platform must be known before lowering. It is the one that jax
runs on by default, or the one given by `lowering_for`, for programs that are compiled on a
machine without the device:

  with platform.lowering_for("tpu"):
    lowered = jax.jit(step).trace(state, batch).lower(lowering_platforms=("tpu",))

(`jax.lax.platform_dependent` chooses later, at lowering, but its derivative saves the
residuals of every branch: for attention, all T x T weights.)
"""

import contextlib

import jax

# By jax's name of a backend; a platform that is not listed has the choices of "tpu".
_CHOICES = {
    # "blocked" for long sequences only. steps: see dlx.training.step.make_steps.
    "cpu": {
        "attention": "blocked",
        "conv": "hand-derived",
        "max_pool": "hand-derived",
        "sum_last": "matmul",
        "steps": "while",
    },
    # "cudnn" for half precision and the head sizes of its kernel only.
    "gpu": {
        "attention": "cudnn",
        "conv": "autodiff",
        "max_pool": "autodiff",
        "sum_last": "sum",
        "steps": "scan",
    },
    "tpu": {
        "attention": "autodiff",
        "conv": "autodiff",
        "max_pool": "autodiff",
        "sum_last": "sum",
        "steps": "scan",
    },
}
_BACKENDS = {"cpu": "cpu", "gpu": "gpu", "cuda": "gpu", "rocm": "gpu", "tpu": "tpu"}

# Part of the key of jax's caches: a function traced for one platform is traced again for
# another.
_target = jax.make_user_context(default_value=None)


def target() -> str:
  """The platform that programs are traced for here: "cpu", "gpu" or "tpu".

  That of `lowering_for`, else of `jax.default_device`, else jax's default backend.
  """
  if _target.value is not None:
    return _target.value
  device = jax.config.jax_default_device
  if device is None:
    name = jax.default_backend()
  else:
    name = device if isinstance(device, str) else device.platform
  return _BACKENDS.get(name, name)


def lowering_for(platform: str) -> contextlib.AbstractContextManager:
  """A context in which programs are traced for `platform`, in the current thread.

  Tracing and `jax.vjp`'s backward pass must both be inside. It does not choose where a
  program is compiled or run.

  Args:
    platform: "cpu", "gpu" or "tpu"; "cuda" and "rocm" are "gpu".

  Raises:
    ValueError: platform is not one of these.
  """
  if platform not in _BACKENDS:
    raise ValueError(f"platform: expected one of {', '.join(_BACKENDS)}, got {platform!r}")
  return _target(_BACKENDS[platform])


def choices(platform: str | None = None) -> dict[str, str]:
  """What implementation="auto" means on a platform, where that differs between platforms.

  Args:
    platform: as for `lowering_for`; `target()` when None.

  Returns:
    A dict from the name of a layer to its implementation. Attention falls back to
    "autodiff" where the shapes or the dtype do not suit it (`layers.attention.choose`).
  """
  platform = target() if platform is None else _BACKENDS.get(platform, platform)
  return dict(_CHOICES.get(platform, _CHOICES["tpu"]))
