"""Layers inside jax.shard_map: values and gradients are those of the plain call.

The batch is split over eight devices, and the parameters are on all of them.
"""

import pytest

PROGRAM = '''
import functools

import jax
from jax.sharding import PartitionSpec as P
import jax.numpy as jnp
import numpy as np

from dlx.gradients import blocked_conv
from dlx.layers import activations, attention, conv, crf, embedding, gaussian, gru, linear
from dlx.layers import losses, lstm, norm, pooling, rnn

mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
draw = np.random.default_rng(0)
array = lambda *shape: jnp.asarray(draw.normal(size=shape))
rng = jax.random.key(0)
params_of = lambda init, *args, **options: jax.tree.map(
    lambda x: x.astype(jnp.float64) + 0.1 * array(*x.shape), init(rng, *args, **options)
)
lengths = jnp.asarray(draw.integers(1, 6, 16))
ids = jnp.asarray(draw.integers(0, 7, (16, 5)))
mask = jnp.asarray(draw.random((16, 1, 6, 6)) < 0.8)
empty = {}

functions = {
    "linear": (linear.apply, params_of(linear.init, 3, 4), (array(16, 3),)),
    "embedding": (embedding.lookup, params_of(embedding.init, 7, 4), (ids,)),
    "layer_norm": (norm.layer_norm, params_of(norm.init, 5), (array(16, 5),)),
    "rms_norm": (norm.rms_norm, params_of(norm.init, 5, bias=False), (array(16, 5),)),
    "group_norm": (
        functools.partial(norm.group_norm, groups=3), params_of(norm.init, 6),
        (array(16, 2, 3, 6),),
    ),
    "batch_norm, evaluation": (
        lambda p, x: norm.batch_norm(p, norm.init_stats(5), x, train=False)[0],
        params_of(norm.init, 5), (array(16, 5),),
    ),
    "conv": (conv.apply, params_of(conv.init, 3, 2, 4), (array(16, 6, 6, 2),)),
    "conv, in blocks": (
        conv.apply, params_of(conv.init, 3, 2, 4), (array(32, 6, 6, 2),),
    ),
    "conv, groups": (
        functools.partial(conv.apply, groups=2, strides=2), params_of(conv.init, 3, 4, 4, groups=2),
        (array(16, 6, 6, 4),),
    ),
    "conv, transposed": (conv.transpose, params_of(conv.init, 3, 2, 4), (array(16, 6, 6, 2),)),
    "max_pool": (lambda p, x: pooling.max_pool(x, 2, 2), empty, (array(16, 6, 6, 2),)),
    "avg_pool": (lambda p, x: pooling.avg_pool(x, 2, 2), empty, (array(16, 6, 6, 2),)),
    "max_pool, dilated": (
        lambda p, x: pooling.max_pool(x, 2, 3, dilation=2, ceil_mode=True), empty,
        (array(16, 6, 6, 2),),
    ),
    "avg_pool, ceil mode": (
        lambda p, x: pooling.avg_pool(x, 2, 4, ceil_mode=True), empty, (array(16, 5, 5, 2),),
    ),
    "gelu": (lambda p, x: activations.gelu(x), empty, (array(16, 6),)),
    "attention": (
        functools.partial(attention.multi_head, num_heads=2), params_of(attention.init, 4),
        (array(16, 6, 4),),
    ),
    "crf": (
        lambda p, x, y, n: (
            crf.negative_log_likelihood(p, x, y, lengths=n)[:, None],
            crf.viterbi(p, x)[1][:, None],
        ),
        params_of(crf.init, 3), (array(16, 5, 3), ids % 3, lengths),
    ),
    "kl": (lambda p, x: gaussian.kl_divergence(x, p["v"]), {"v": array(4)}, (array(16, 4),)),
}
for causal in (False, True):
  for masked in (False, True):
    functions[f"attention in blocks, {causal}, {masked}"] = (
        lambda p, x, m, causal=causal, masked=masked: attention.multi_head(
            p, x, num_heads=2, is_causal=causal, implementation="blocked",
            mask=m if masked else None,
        ),
        params_of(attention.init, 4), (array(16, 6, 4), mask),
    )
functions["attention in blocks, keys on all devices"] = (
    lambda p, q: attention.dot_product_attention(
        q, *(jnp.broadcast_to(x, (len(q), *x.shape)) for x in (p["k"], p["v"])),
        implementation="blocked", is_causal=True,
    ),
    {"k": array(2, 40, 4), "v": array(2, 40, 3)}, (array(16, 2, 40, 4),),
)
grouped = {"layer": params_of(attention.init, 8, d_key=4), "bias": array(4, 6, 6)}
for implementation in ("autodiff", "blocked"):
  functions[f"attention with a bias, {implementation}"] = (
      lambda p, x, implementation=implementation: attention.multi_head(
          p["layer"], x, None, p["bias"], num_heads=4, local_window_size=(2, 1), softcap=1.5,
          implementation=implementation,
      ),
      grouped, (array(16, 6, 8),),
  )
for cell in (rnn, gru, lstm):
  name = cell.__name__.split(".")[-1]
  scan = lambda p, x, cell=cell: cell.scan(p, x)
  functions[name] = scan, params_of(cell.init, 3, 4), (array(16, 5, 3),)
  functions[f"{name} of ids"] = scan, params_of(cell.init, 7, 4), (ids,)
  functions[f"{name} with lengths, reversed"] = (
      lambda p, x, n, cell=cell: cell.scan(p, x, lengths=n, reverse=True),
      params_of(cell.init, 3, 4), (array(16, 5, 3), lengths),
  )
  carry = jax.tree.map(lambda x: x[0], cell.scan(params_of(cell.init, 3, 4), array(1, 5, 3))[0])
  functions[f"{name} from a learned carry"] = (
      lambda p, x, cell=cell: cell.scan(p["layer"], x, jax.tree.map(
          lambda c: jnp.broadcast_to(c, (x.shape[0], *c.shape)), p["carry"])),
      {"layer": params_of(cell.init, 3, 4), "carry": carry}, (array(16, 5, 3),),
  )
for activation in (jax.nn.relu, jax.nn.softplus):
  functions[f"rnn, {activation.__name__}"] = (
      lambda p, x, f=activation: rnn.scan(p, x, activation=f), params_of(rnn.init, 3, 4),
      (array(16, 5, 3),),
  )
means = set()
for name, label, logits in (
    ("cross_entropy", jnp.asarray(draw.integers(0, 4, 16)), array(16, 4)),
    ("binary_cross_entropy", jnp.asarray(draw.random(16) < 0.5, float), array(16)),
    ("squared_error", array(16), array(16)),
):
  functions[name] = (
      lambda p, x, y, name=name: getattr(losses, name)(x * p["w"], y)[None], {"w": array()},
      (logits, label),
  )
  functions[f"{name}, weighted"] = (
      lambda p, x, y, w, name=name: getattr(losses, name)(x * p["w"], y, weights=w)[None],
      {"w": array()}, (logits, label, jnp.asarray(draw.random(16))),
  )
  means |= {name, f"{name}, weighted"}


def check(name, function, params, inputs):
  total = lambda params, inputs: sum(
      (jnp.sin(y) * (1.0 + jnp.arange(y.shape[-1]))).sum()
      for y in jax.tree.leaves(function(params, *inputs))
      if jnp.issubdtype(y.dtype, jnp.floating)
  )
  split = jax.tree.map(lambda _: P("batch"), inputs)

  @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), split), out_specs=(P(), split))
  def sharded(params, inputs):
    # The gradient of this device's sum; parameters are shared, so theirs is summed.
    return jax.grad(total, argnums=(0, 1), allow_int=True)(params, inputs)

  def plain(params, inputs):
    if name in means:  # Means.
      parts = [jax.grad(total, argnums=(0, 1), allow_int=True)(
          params, jax.tree.map(lambda x: x[2 * i : 2 * i + 2], inputs)) for i in range(8)]
      return sum(p["w"] for p, _ in parts), jnp.concatenate([x[0] for _, x in parts])
    return jax.grad(total, argnums=(0, 1), allow_int=True)(params, inputs)

  found = jax.jit(sharded)(params, inputs)
  expected = jax.jit(plain)(params, inputs)
  if name in means:
    found = found[0]["w"], found[1][0]
  leaves = [x for x in zip(*map(jax.tree.leaves, (found, expected))) if x[0].dtype == jnp.float64]
  assert leaves
  for a, b in leaves:
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


block_bytes = blocked_conv.BLOCK_BYTES
for name, case in functions.items():
  blocked_conv.BLOCK_BYTES = 1 if "blocks" in name else block_bytes
  try:
    check(name, *case)
  except Exception as e:
    print(f"{name}: {type(e).__name__}: {str(e).strip()[:300]}".replace(chr(10), " "))
'''


@pytest.mark.full
def test_every_layer_has_the_plain_gradient(on_eight_devices):
  assert on_eight_devices(PROGRAM) == []
