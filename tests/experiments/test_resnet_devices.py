"""The image classifier over eight devices is the one on a single device."""

# Runs where the host pretends to be eight devices, with double precision at hand.
PROGRAM = r'''
import jax, jax.numpy as jnp, numpy as np
from dlx.data import images as image_data
from dlx.models import fast_resnet
from dlx.training import sharding, state as states, step as steps
from experiments.resnet_cifar10 import config as configs, evaluation, experiment

data = image_data.shapes(96, size=16)
arrays = {"images": jnp.asarray(data.images), "labels": jnp.asarray(data.labels)}

def trained(devices, count, dtype):
  """The start, and the state and losses after `count` steps with all augmentation on."""
  mesh = sharding.make_mesh(devices=jax.devices()[:devices])
  config = configs.get_config("debug")
  config.model.dtype = dtype
  config.optimizer.warmup_steps = 0
  model = fast_resnet.FastResNet(3, widths=(8, 8))
  optimizer = experiment.make_optimizer(config, model)
  params, variables = jax.jit(
      lambda rng: experiment.init_variables(model, rng, data)
  )(jax.random.key(0))
  params, variables = jax.tree.map(lambda x: x.astype(dtype), (params, variables))
  place = lambda tree: jax.device_put(jax.tree.map(jnp.copy, tree), sharding.replicated(mesh))
  start = states.create(params, optimizer, variables=variables, averaged=True)
  step = steps.make_step(
      experiment.make_loss(config, model, 3), experiment.make_batch(config, 96), optimizer,
      seed=0, mesh=mesh, ema_decay=0.9,
  )
  state, metrics = steps.make_steps(step, mesh)(place(start), place(arrays), count)
  flat = lambda s: np.concatenate(
      [np.ravel(x) for x in jax.tree.leaves((s.params, s.variables["batch_stats"], s.ema))]
  ).astype(np.float64)
  return flat(start), flat(state), np.asarray(metrics["loss"], np.float64)

start, one, losses = trained(1, 20, "float64")
_, eight, losses_of_eight = trained(8, 20, "float64")
assert np.linalg.norm(one - start) > 0.1 * np.linalg.norm(start)  # It has learned something.
assert np.linalg.norm(eight - one) < 1e-10 * np.linalg.norm(one)
np.testing.assert_allclose(losses_of_eight, losses, rtol=1e-10)
print("float64: 20 steps agree")

start, one, losses = trained(1, 1, "float32")
_, eight, losses_of_eight = trained(8, 1, "float32")
np.testing.assert_allclose(losses_of_eight, losses, rtol=1e-5)
gradient, gradient_of_eight = one - start, eight - start  # Times the rate.
assert np.linalg.norm(gradient_of_eight - gradient) < 1e-5 * np.linalg.norm(gradient)
print("float32: the first step agrees")

# 96 images: a hundred at a time do on one device, eight share 96, and 95 leave one a place.
model = fast_resnet.FastResNet(3, widths=(8, 8))
params, variables = experiment.init_variables(model, jax.random.key(1), data)
params = jax.tree.map(lambda x: x.astype(jnp.float64), params)
for images in (data.images, data.images[:95], data.images[:3]):
  one, eight = (
      evaluation.make_classify(
          model, jnp.float64, "flip", sharding.make_mesh(devices=jax.devices()[:count])
      )(params, variables, images)
      for count in (1, 8)
  )
  assert one.shape == (len(images), 3) and np.ptp(one[:, 0]) > 1e-3
  np.testing.assert_allclose(eight, one, rtol=1e-10, atol=1e-12)
print("logits agree")
'''


def test_eight_devices_train_what_one_device_trains(on_eight_devices):
  assert on_eight_devices(PROGRAM) == [
      "float64: 20 steps agree",
      "float32: the first step agrees",
      "logits agree",
  ]
