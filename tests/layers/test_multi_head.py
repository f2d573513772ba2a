"""Multi-head attention against flax, its parameters, and errors of all attention functions."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import attention

eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
each_implementation = pytest.mark.parametrize("implementation", ["autodiff", "blocked"])


def draw(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


def draw_params(d_model, d_context, seed=0):
  """Params with nonzero kernels and biases."""
  params = attention.init(jax.random.key(0), d_model, d_context=d_context)
  leaves, structure = jax.tree.flatten(params)
  return jax.tree.unflatten(structure, draw(*(leaf.shape for leaf in leaves), seed=seed))


def as_flax(params, num_heads):
  """The same params in the layout of flax.linen, which has an axis for the heads."""
  d_model = params["out"]["kernel"].shape[0]
  heads = (num_heads, d_model // num_heads)
  def split(layer):
    return {name: x.reshape(*x.shape[:-1], *heads) for name, x in layer.items()}
  out = {**params["out"], "kernel": params["out"]["kernel"].reshape(*heads, d_model)}
  return {"params": {n: split(params[n]) for n in ("query", "key", "value")} | {"out": out}}


@eager_and_jit
@each_implementation
def test_self_attention_matches_flax(x64, compile_, implementation):
  params, (x,) = draw_params(6, None), draw((2, 5, 6), seed=1)
  mask = np.random.default_rng(2).random((2, 3, 5, 5)) < 0.7
  mask |= np.eye(5, dtype=bool)  # flax gives a fully masked row uniform weights.
  layer = nn.MultiHeadDotProductAttention(3, dtype=jnp.float64)
  expected = layer.apply(as_flax(params, 3), x, mask=mask & np.tri(5, dtype=bool))
  y = compile_(
      lambda params, x: attention.multi_head(
          params, x, num_heads=3, mask=mask, is_causal=True, implementation=implementation
      )
  )(params, x)
  np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-13)


@each_implementation
def test_cross_attention_matches_flax(x64, implementation):
  params, (x, context) = draw_params(4, 3), draw((2, 5, 4), (2, 7, 3), seed=1)
  layer = nn.MultiHeadDotProductAttention(2, dtype=jnp.float64)
  expected = layer.apply(as_flax(params, 2), x, context)
  y = attention.multi_head(params, x, context, num_heads=2, implementation=implementation)
  np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-13)


def test_a_context_equal_to_x_is_self_attention(x64):
  params, (x,) = draw_params(4, None), draw((5, 4), seed=1)
  np.testing.assert_array_equal(
      attention.multi_head(params, x, x, num_heads=2), attention.multi_head(params, x, num_heads=2)
  )


def test_causal_outputs_do_not_depend_on_the_future(x64):
  params, (x,) = draw_params(4, None), draw((5, 4), seed=1)
  jacobian = jax.jacrev(lambda x: attention.multi_head(params, x, num_heads=2, is_causal=True))(x)
  np.testing.assert_array_equal(np.abs(jacobian).max((1, 3)) > 0, np.tri(5, dtype=bool))


def test_leading_dimensions_are_a_batch(x64):
  params, (x,) = draw_params(4, None), draw((2, 3, 5, 4), seed=1)
  def layer(x):
    return attention.multi_head(params, x, num_heads=2)
  np.testing.assert_allclose(jax.vmap(jax.vmap(layer))(x), layer(x), rtol=1e-12, atol=1e-14)


def test_init_has_four_linear_layers():
  params = attention.init(jax.random.key(0), 4, d_context=3)
  shapes = jax.tree.map(jnp.shape, params)
  assert shapes == {
      "query": {"kernel": (4, 4), "bias": (4,)},
      "key": {"kernel": (3, 4), "bias": (4,)},
      "value": {"kernel": (3, 4), "bias": (4,)},
      "out": {"kernel": (4, 4), "bias": (4,)},
  }
  kernels = [layer["kernel"] for layer in attention.init(jax.random.key(0), 4).values()]
  assert not any(np.array_equal(a, b) for i, a in enumerate(kernels) for b in kernels[:i])
  without = attention.init(jax.random.key(0), 4, bias=False)
  assert all(set(layer) == {"kernel"} for layer in without.values())
  assert attention.multi_head(without, jnp.ones((3, 4)), num_heads=2).shape == (3, 4)


@each_implementation
def test_grouped_queries_are_heads_whose_keys_and_values_are_repeated(x64, implementation):
  params, (x, context) = attention.init(jax.random.key(0), 8, d_context=3, d_key=4), draw(
      (2, 5, 8), (2, 7, 3)
  )  # fmt: skip
  assert params["key"]["kernel"].shape == params["value"]["kernel"].shape == (3, 4)
  assert params["key"]["bias"].shape == (4,) and params["query"]["kernel"].shape == (8, 8)
  def repeated(layer):  # Two heads of two columns, each twice.
    return {
        name: jnp.repeat(p.reshape(*p.shape[:-1], 2, 2), 2, -2).reshape(*p.shape[:-1], 8)
        for name, p in layer.items()
    }
  whole = params | {name: repeated(params[name]) for name in ("key", "value")}
  found, expected = (
      attention.multi_head(p, x, context, num_heads=4, implementation=implementation)
      for p in (params, whole)
  )
  np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@each_implementation
def test_options_are_those_of_the_attention_of_the_heads(x64, implementation):
  params, (x, bias) = draw_params(4, None), draw((2, 5, 4), (2, 1, 5), seed=1)
  options = {"local_window_size": (2, 0), "softcap": 0.5, "implementation": implementation}
  heads = attention.project(params, x, num_heads=2)
  out = attention.dot_product_attention(*heads, bias, **options)
  merged = out.swapaxes(-2, -3).reshape(2, 5, 4)
  np.testing.assert_array_equal(
      attention.multi_head(params, x, None, bias, num_heads=2, **options),
      merged @ params["out"]["kernel"] + params["out"]["bias"],
  )


@pytest.mark.parametrize("d_key", [3, 6, 0, 16])
def test_keys_that_have_no_divisor_of_the_heads_are_named(d_key):
  params = attention.init(jax.random.key(0), 8, d_key=16)
  params["key"] = {name: x[..., :d_key] for name, x in params["key"].items()}
  message = (
      r"params: expected key to project to 8 features, or to 2 times a divisor of num_heads=4 "
      rf"\(grouped queries\), got {d_key}"
  )
  with pytest.raises(ValueError, match=message):
    attention.multi_head(params, jnp.ones((5, 8)), num_heads=4)


ARRAYS = {"query": (2, 5, 3), "key": (2, 6, 3), "value": (2, 6, 4)}


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"query": (3,)}, r"query: expected shape \(\.\.\., N, T, D\), got \(3,\)"),
        ({"key": (3,)}, r"key: expected shape \(\.\.\., N, T, D\), got \(3,\)"),
        ({"value": (4,)}, r"value: expected shape \(\.\.\., N, T, D\), got \(4,\)"),
        ({"key": (2, 6, 4)}, r"key: expected shape \(2, 6, 3\), got \(2, 6, 4\)"),
        ({"key": (3, 6, 3)}, r"key: expected shape \(2, 6, 3\), got \(3, 6, 3\)"),
        ({"key": (0, 6, 3)}, r"key: expected shape \(2, 6, 3\), got \(0, 6, 3\)"),
        ({"key": (1, 2, 6, 3)}, r"key: expected shape \(2, 6, 3\), got \(1, 2, 6, 3\)"),
        ({"value": (1, 6, 4)}, r"value: expected shape \(2, 6, 4\), got \(1, 6, 4\)"),
        ({"value": (2, 5, 4)}, r"value: expected shape \(2, 6, 4\), got \(2, 5, 4\)"),
    ],
)
def test_a_wrong_shape_is_named(changed, message):
  arrays = {name: jnp.zeros(shape) for name, shape in (ARRAYS | changed).items()}
  with pytest.raises(ValueError, match=message):
    attention.dot_product_attention(**arrays)
  if "value" not in changed:
    with pytest.raises(ValueError, match=message):
      attention.weights(arrays["query"], arrays["key"])


@pytest.mark.parametrize("shape", [(5,), (6, 6), (3, 5, 6), (1, 2, 5, 6)])
def test_a_mask_that_does_not_broadcast_is_named(shape):
  arrays = {name: jnp.zeros(shape) for name, shape in ARRAYS.items()}
  message = r"mask: expected a shape that broadcasts to \(2, 5, 6\), got \("
  with pytest.raises(ValueError, match=message):
    attention.dot_product_attention(**arrays, mask=np.ones(shape, bool))
  with pytest.raises(ValueError, match=message):
    attention.weights(arrays["query"], arrays["key"], mask=np.ones(shape, bool))


def test_a_mask_that_is_not_boolean_is_named():
  arrays = {name: jnp.zeros(shape) for name, shape in ARRAYS.items()}
  with pytest.raises(ValueError, match="mask: expected dtype bool, got float32"):
    attention.dot_product_attention(**arrays, mask=np.zeros((5, 6), np.float32))


def test_an_unknown_implementation_is_named():
  arrays = {name: jnp.zeros(shape) for name, shape in ARRAYS.items()}
  message = 'implementation: expected "auto" or "autodiff" or "blocked" or "cudnn", got \'flash\''
  with pytest.raises(ValueError, match=message):
    attention.dot_product_attention(**arrays, implementation="flash")


@pytest.mark.parametrize("num_heads", [3, 0, 8])
def test_num_heads_that_do_not_divide_d_model_are_named(num_heads):
  params = attention.init(jax.random.key(0), 4)
  message = rf"num_heads: expected a divisor of d_model=4, got {num_heads}"
  with pytest.raises(ValueError, match=message):
    attention.multi_head(params, jnp.ones((5, 4)), num_heads=num_heads)


@pytest.mark.parametrize(
    "x, context, message",
    [
        ((5, 3), None, r"x: expected a last dimension of 4, got shape \(5, 3\)"),
        ((4,), None, r"x: expected shape \(\.\.\., T, d_model\), got \(4,\)"),
        ((5, 4), (6, 3), r"context: expected a last dimension of 2, got shape \(6, 3\)"),
        ((2, 5, 4), (6, 2), r"context: expected shape \(2, 6, 2\), got \(6, 2\)"),
    ],
)
def test_a_wrong_input_of_the_heads_is_named(x, context, message):
  params = attention.init(jax.random.key(0), 4, d_context=None if context is None else 2)
  with pytest.raises(ValueError, match=message):
    attention.multi_head(
        params, jnp.ones(x), None if context is None else jnp.ones(context), num_heads=2
    )
