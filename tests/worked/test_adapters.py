"""Adapters, whose printed solution is "TO DO". Final exam of February 10, 2023, part 2."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.models import trainable, transformer


def sizes(params):
  """The number of parameters of each name of a block in a pretrained transformer."""
  flat = flax.traverse_util.flatten_dict(params, sep=".")
  return {f"transformer.block0.{name}": leaf.size for name, leaf in flat.items()}


def test_an_adapter_is_trained_in_place_of_the_network():
  """Part 2, question 3: what an adapter is, and its advantages over fine-tuning.

  Ours: a bottleneck U gelu(V f) with a skip connection after each sublayer f of a pretrained
  network, which alone is trained for a task (with the norms). In a block of BERT's size, d = 768
  and d_ff = 3,072, the two adapters of 64 units have 2 (2 d 64 + 64 + d) parameters, 2.8 % of the
  block's 7.1 million. So ten tasks need the network once and 1.3 times its parameters in all;
  fine-tuning needs ten copies.
  """
  d, d_ff, r = 768, 3072, 64

  def count(**options):
    block = transformer.Block(12, d_ff, **options)
    x = jax.ShapeDtypeStruct((5, d), jnp.float32)
    return sizes(jax.eval_shape(block.init, jax.random.key(0), x)["params"])

  pretrained, with_adapters = count(), count(adapter_size=r)
  block = 4 * (d * d + d) + (d * d_ff + d_ff) + (d_ff * d + d) + 2 * 2 * d
  assert sum(pretrained.values()) == block == 7_087_872
  added = 2 * (2 * d * r + r + d)
  assert sum(with_adapters.values()) == block + added
  is_trained = trainable.is_trained("adapters", num_layers=1)
  trained = sum(size for name, size in with_adapters.items() if is_trained(name))
  assert trained == added + 2 * 2 * d  # The norms' scales and biases.
  assert f"{added / block:.1%}" == "2.8%"
  assert 1.2 < (block + 10 * trained) / block < 1.3


@pytest.mark.full
def test_a_trained_adapter_leaves_the_pretrained_network_as_it_was(x64):
  """Part 2, question 3: the network serves the old task when the adapters are taken out.

  Twenty steps of gradient descent on the adapters alone fit new targets better. They start as
  the identity, and without them the block computes what it did.
  """
  plain, block = transformer.Block(2, 6), transformer.Block(2, 6, adapter_size=2)
  x, target = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 4)))
  params = jax.tree.map(jnp.float64, jax.jit(block.init)(jax.random.key(0), x)["params"])
  pretrained = {name: p for name, p in params.items() if "adapter" not in name}
  adapters = {name: p for name, p in params.items() if "adapter" in name}

  def outputs(adapters):
    return block.apply({"params": pretrained | adapters}, x)

  @jax.jit
  def step(adapters):
    loss = lambda adapters: ((outputs(adapters) - target) ** 2).mean()  # noqa: E731
    value, slope = jax.value_and_grad(loss)(adapters)
    return jax.tree.map(lambda p, d: p - 0.1 * d, adapters, slope), value, outputs(adapters)

  before = jax.jit(plain.apply)({"params": pretrained}, x)
  values = []
  for _ in range(20):
    adapters, value, after = step(adapters)
    values.append(float(value))
    if len(values) == 1:
      np.testing.assert_allclose(after, before, rtol=1e-12)
  assert values[-1] < 0.9 * values[0]
  assert np.abs(after - before).max() > 0.05
