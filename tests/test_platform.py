"""The choice of implementation="auto": by the platform that a program is lowered for."""

import functools
import threading

import jax
import jax.numpy as jnp
import pytest

from dlx import platform
from dlx.layers import attention, conv, norm, pooling

IMAGE = jax.ShapeDtypeStruct((4, 8, 8, 3), jnp.float32)
SEQUENCE = jax.ShapeDtypeStruct((1, 2, 512, 8), jnp.float32)
KERNEL = {"kernel": jax.ShapeDtypeStruct((3, 3, 3, 4), jnp.float32)}
LAYERS = {
    "conv": (conv.apply, (KERNEL, IMAGE)),
    "max_pool": (functools.partial(pooling.max_pool, window=2), (IMAGE,)),
    "attention": (
        functools.partial(attention.dot_product_attention, is_causal=True),
        (SEQUENCE,) * 3,
    ),
}
each_layer = pytest.mark.parametrize("layer", LAYERS)
accelerators = pytest.mark.parametrize("accelerator", ["tpu", "cuda"])


def lowered(layer, name, implementation):
  """The program of the layer, and that of its gradient, lowered for a platform."""
  function, args = LAYERS[layer]
  function = functools.partial(function, implementation=implementation)
  loss = jax.grad(lambda *args: (function(*args) ** 2).sum(), argnums=tuple(range(len(args))))
  return [
      jax.jit(f).trace(*args).lower(lowering_platforms=(name,)).as_text() for f in (function, loss)
  ]


@each_layer
@accelerators
def test_programs_for_accelerators_have_the_plain_form(layer, accelerator):
  with platform.lowering_for(accelerator):
    auto = lowered(layer, accelerator, "auto")
  assert auto == lowered(layer, accelerator, "autodiff")


@each_layer
@accelerators
def test_programs_for_cpu_have_the_hand_derived_form(layer, accelerator):
  with platform.lowering_for(accelerator), platform.lowering_for("cpu"):
    forward, gradient = lowered(layer, "cpu", "auto")
  plain_forward, plain_gradient = lowered(layer, "cpu", "autodiff")
  assert gradient != plain_gradient
  # Pooling and convolution differ in the gradient alone.
  assert (forward != plain_forward) == (layer == "attention")


@pytest.mark.parametrize("layer", [norm.layer_norm, norm.rms_norm])
@pytest.mark.parametrize("name, by_matmul", [("cpu", True), ("tpu", False), ("cuda", False)])
def test_means_in_norms_are_matrix_products_on_cpu_only(layer, name, by_matmul):
  params, x = norm.init(jax.random.key(0), 8), jnp.ones((4, 8))
  for f in (layer, jax.grad(lambda params, x: layer(params, x).sum(), argnums=(0, 1))):
    with platform.lowering_for(name):
      text = jax.jit(f).trace(params, x).lower(lowering_platforms=(name,)).as_text()
    assert ("dot_general" in text) == by_matmul


def test_a_compiled_function_is_traced_again_for_another_platform():
  traced = []

  @jax.jit
  def f(x):
    traced.append(platform.target())
    return x

  for name in ("cpu", "tpu", "cpu", "cuda"):
    with platform.lowering_for(name):
      f(jnp.ones(()))
  assert traced == ["cpu", "tpu", "gpu"]


def test_the_target_is_the_default_device_unless_one_is_given():
  assert platform.target() == jax.default_backend()
  with jax.default_device("tpu"):
    assert platform.target() == "tpu"
    with platform.lowering_for("rocm"):
      assert platform.target() == "gpu"
  with jax.default_device(jax.devices("cpu")[0]):
    assert platform.target() == "cpu"


def test_a_platform_holds_inside_its_context_and_thread_only():
  seen = []
  with platform.lowering_for("tpu"):
    thread = threading.Thread(target=lambda: seen.append(platform.target()))
    thread.start()
    thread.join()
    assert platform.target() == "tpu"
  assert [platform.target()] == seen == [jax.default_backend()]


def test_choices_are_those_of_the_target():
  assert platform.choices("cpu")["attention"] == "blocked"
  assert platform.choices("cuda") == platform.choices("gpu")
  with platform.lowering_for("tpu"):
    assert platform.choices() == platform.choices("tpu")
  keys = {frozenset(platform.choices(name)) for name in ("cpu", "gpu", "tpu", "metal")}
  assert len(keys) == 1


def test_unknown_platforms_are_refused():
  with pytest.raises(ValueError, match="platform: expected one of cpu, gpu, .*, got 'laptop'"):
    platform.lowering_for("laptop")
