"""The benchmark of residual networks compares equal computations, and its program runs."""

import json

from absl.testing import flagsaver
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import resnet
from dlx.models import fast_resnet
from dlx.models import resnet as models

_SMALL = models.ResNet(10, depths=(1, 1), channels=(4, 8), stem_channels=4)
TINY = resnet.Network("tiny", _SMALL, "ResNet", ((1, 1), (4, 8)), 2, 2)
FAST = resnet.Network(
    "fast", fast_resnet.FastResNet(10, widths=(4, 8, 8)), "FastResNet", ((4, 8, 8),), 2, 1
)


@pytest.fixture(autouse=True)
def one_torch_thread(monkeypatch):
  """Spinning OpenMP threads take minutes when another process shares the cores."""
  monkeypatch.setattr(resnet.timing.doctor, "cores", lambda: 1)
  if resnet.torch is not None:
    resnet.torch.set_num_threads(1)


@pytest.mark.full
@pytest.mark.parametrize("network", [TINY, FAST], ids=["published", "fast"])
def test_the_libraries_compute_the_same_loss_and_gradients(network):
  values = resnet.check_equal(network)
  params, variables = resnet.make_state(network)
  images, labels = (v[0] for v in resnet.make_batches(network))

  def grads(apply):
    def loss(params):
      return resnet.jax_loss(apply, params, variables, images, labels)[0]

    return jax.jit(jax.grad(loss))(params)

  applies = resnet.applies(network)
  ours, theirs = grads(applies["dlx"]), grads(applies["Flax"])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours, theirs)
  assert values["dlx"] == pytest.approx(values["Flax"], abs=1e-4)

  if resnet.torch is None:
    pytest.skip("PyTorch is not installed")
  model = network.torch(params, variables)
  resnet.torch_loss(model, *resnet._torch_batch(images, labels)).backward()
  layer = "stem" if network is TINY else "conv0"
  kernel = getattr(model, layer).weight.grad.permute(2, 3, 1, 0)
  np.testing.assert_allclose(ours[layer]["kernel"], kernel, atol=1e-4)
  np.testing.assert_allclose(ours["head"]["kernel"], model.head.weight.grad.T, atol=1e-4)


@pytest.mark.full
def test_different_weights_are_refused(monkeypatch):
  ours = resnet.applies(TINY)["dlx"]

  def scaled(variables, images, **options):
    logits, new = ours(variables, images, **options)
    return 1.01 * logits, new

  monkeypatch.setattr(resnet, "applies", lambda network: {"dlx": ours, "Flax": scaled})
  with pytest.raises(RuntimeError, match="tiny: the losses of the same weights differ"):
    resnet.check_equal(TINY)


def test_flops_are_mostly_those_of_the_convolutions():
  products = 32 * 32 * (9 * 3 * 4 + 2 * 9 * 4 * 4) + 16 * 16 * (9 * 4 * 8 + 9 * 8 * 8 + 4 * 8)
  least = 3 * 2 * TINY.batch * (products + 8 * 10)
  # Kernels at the border have fewer products; norms and sums add a few FLOPs per element.
  assert 0.9 * least < resnet.flops(TINY) < 1.4 * least


def test_the_optimizers_take_the_same_step(monkeypatch):
  torch = pytest.importorskip("torch")
  network = TINY._replace(steps=1)
  params, variables = resnet.make_state(network)
  images, labels = (jnp.asarray(v[0]) for v in resnet.make_batches(network))

  def loss(params):
    return resnet.jax_loss(resnet.applies(network)["dlx"], params, variables, images, labels)[0]

  kernel = params["head"]["kernel"]
  gradient = jax.jit(jax.grad(loss))(params)["head"]["kernel"] + resnet.DECAY * kernel
  expected = kernel - resnet.RATE * (1 + resnet.MOMENTUM) * gradient  # Nesterov's first step.

  models_made = []
  load = resnet.resnet_torch.load
  monkeypatch.setattr(
      resnet.resnet_torch, "load", lambda *args: models_made.append(load(*args)) or models_made[0]
  )
  resnet._torch_call(network, half=False)[0]()
  with torch.no_grad():
    np.testing.assert_allclose(models_made[0].head.weight.T, expected, atol=1e-5)


@pytest.mark.full
def test_main_prints_and_writes_the_rows(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(resnet, "NETWORKS", (TINY,))
  monkeypatch.setattr(resnet.timing, "PEAK_SIZE", 64)
  output = tmp_path / "result.json"
  with flagsaver.as_parsed(rounds="1", output=str(output)):
    resnet.main(["resnet"])
  rows = json.loads(output.read_text())["rows"]
  libraries = ["dlx", "Flax"] + ["PyTorch", "PyTorch, bfloat16"] * (resnet.torch is not None)
  assert [row["library"] for row in rows] == libraries
  assert all(row["images_per_second"] > 0 for row in rows)
  assert "tiny: same loss" in capsys.readouterr().out
