"""Fine-tuning: loading pretrained parameters, freezing, layer-wise learning rates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlx.errors import UserError
from dlx.training import finetuning


def params(classes=3, fill=0.0, width=4):
  return {
      "stem": {"kernel": jnp.full((2, width), fill)},
      "head": {"kernel": jnp.full((width, classes), fill), "bias": jnp.full((classes,), fill)},
  }


def test_all_parameters_are_loaded_when_all_shapes_match():
  loaded = finetuning.load_pretrained(params(fill=1.0), params(fill=2.0), "runs/a")
  assert all((leaf == 2).all() for leaf in jax.tree.leaves(loaded))


def test_a_head_for_other_classes_keeps_all_of_its_initial_values():
  loaded = finetuning.load_pretrained(params(5, fill=1.0), params(3, fill=2.0), "runs/a")
  assert (loaded["stem"]["kernel"] == 2).all()
  assert loaded["head"]["bias"].shape == (5,)
  assert all((leaf == 1).all() for leaf in jax.tree.leaves(loaded["head"]))


def test_another_architecture_is_refused_and_the_first_difference_is_named():
  with pytest.raises(UserError, match=r"runs/a is a run of another.*1 parameters.*stem.kernel"):
    finetuning.load_pretrained(params(width=8), params(width=4), "runs/a")
  deeper = {**params(), "block": {"kernel": jnp.ones((4, 4))}}
  with pytest.raises(UserError, match=r"block.kernel \(absent there, \(4, 4\) here\)"):
    finetuning.load_pretrained(deeper, params(), "runs/a")
  with pytest.raises(UserError, match=r"block.kernel \(\(4, 4\) there, absent here\)"):
    finetuning.load_pretrained(params(), deeper, "runs/a")


def test_frozen_parameters_are_not_updated_or_decayed_or_part_of_the_norm():
  optimizer = optax.chain(
      optax.clip_by_global_norm(1.0), optax.adamw(0.1, weight_decay=0.5)
  )
  head_only = finetuning.train_only(optimizer, lambda name: name.startswith("head."))
  start = params(fill=1.0)
  grads = {"stem": {"kernel": jnp.full((2, 4), 1e6)}, "head": params(fill=0.01)["head"]}
  updates, state = head_only.update(grads, head_only.init(start), start)
  assert not updates["stem"]["kernel"].any()
  alone, _ = optimizer.update(grads["head"], optimizer.init(start["head"]), start["head"])
  jax.tree.map(np.testing.assert_array_equal, updates["head"], alone)
  moments = sum(leaf.size for leaf in jax.tree.leaves(state))
  assert moments < 2 * (12 + 3) + 4, "frozen parameters have no moments"


def test_new_parameters_keep_their_initial_values_where_that_is_allowed():
  initial = {**params(fill=1.0), "block": {"adapter_in": jnp.ones((4, 2))}}
  loaded = finetuning.load_pretrained(initial, params(fill=2.0), "runs/a", new_params="adapter")
  assert (loaded["block"]["adapter_in"] == 1).all() and (loaded["stem"]["kernel"] == 2).all()
  assert (loaded["head"]["kernel"] == 2).all()
  either = finetuning.load_pretrained(
      initial, params(fill=2.0), "runs/a", new_params="prefix|adapter"
  )
  jax.tree.map(np.testing.assert_array_equal, either, loaded)
  with pytest.raises(UserError, match=r"stem.kernel \(absent there"):
    finetuning.load_pretrained(initial, {"head": params()["head"]}, "runs/a", new_params="adapter")


def test_layerwise_factors_scale_the_updates():
  start, grads = params(fill=1.0), params(fill=0.5)
  optimizer = optax.adamw(0.1, weight_decay=0.5)
  factor_of = lambda name: 0.25 if name.startswith("stem.") else 1.0  # noqa: E731
  slow = finetuning.layerwise_lr_decay(optimizer, factor_of)
  updates, _ = slow.update(grads, slow.init(start), start)
  plain, _ = optimizer.update(grads, optimizer.init(start), start)
  np.testing.assert_allclose(updates["stem"]["kernel"], 0.25 * plain["stem"]["kernel"], rtol=1e-6)
  jax.tree.map(np.testing.assert_array_equal, updates["head"], plain["head"])


def test_frozen_parameters_have_no_gradient_and_the_others_are_unchanged():
  params = {"body": jnp.array([1.0, 2.0]), "head": {"kernel": jnp.array([3.0, 4.0])}}

  def loss(params):
    return (params["body"] * params["head"]["kernel"]).sum() ** 2

  whole = jax.grad(loss)(params)
  is_trained = lambda name: name.startswith("head.")  # noqa: E731
  some = jax.grad(lambda p: loss(finetuning.freeze(p, is_trained)))(params)
  np.testing.assert_array_equal(some["body"], 0)
  np.testing.assert_array_equal(some["head"]["kernel"], whole["head"]["kernel"])
  assert np.all(whole["body"] != 0)
