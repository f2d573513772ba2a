"""Autoencoders: the linear one is PCA, penalties in closed form, noise, greedy layers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlx
from dlx import presets
from dlx.data import augmentation
from dlx.errors import UserError
from dlx.metrics import representations
from dlx.models import autoencoder
from experiments.autoencoder import config as configs
from experiments.autoencoder import experiment


@pytest.fixture(scope="module")
def debug_run(tmp_path_factory):
  """The folder of a run of the preset debug."""
  return dlx.train(configs.get_config("debug"), tmp_path_factory.mktemp("runs") / "debug")


def layers(rng, *sizes, **options):
  params = autoencoder.init(jax.random.key(rng), sizes, **{"tied": True, "bias": True, **options})
  params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)
  return [params[f"layer{i}"] for i in range(len(params))]


def task_of(preset, changes, size=4):
  config = configs.get_config(preset, changes)
  presets.check(config)
  assets = {"classes": ["a"], "shape": [size, size, 1], "mean": np.zeros(size**2, np.float32)}
  return experiment.make(presets.in_steps(config, 100), assets)


@pytest.mark.parametrize("tied", [True, False])
def test_gradient_descent_on_the_linear_autoencoder_finds_pca(x64, tied):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(200, 6)) * [3, 2.5, 2, 0.5, 0.4, 0.3]
  x = (x - x.mean(0)) @ np.linalg.qr(rng.normal(size=(6, 6)))[0]

  def error(layers):
    h = autoencoder.encode(layers, x, "identity")
    return autoencoder.distance(x, autoencoder.decode(layers, h, "identity"), "identity").mean()

  def step(layers, _):
    return jax.tree.map(lambda p, g: p - 0.01 * g, layers, jax.grad(error)(layers)), None

  start = layers(0, 6, 3, tied=tied, bias=False)
  found, _ = jax.lax.scan(step, start, None, length=10000)
  basis = autoencoder.decode(found, jnp.eye(3), "identity").T
  components = representations.principal_components(x, 3)
  assert representations.principal_angles(basis, components)[0] < 1e-3
  residual = np.square(x - x @ components @ components.T).sum(-1).mean()
  np.testing.assert_allclose(error(found), residual, rtol=1e-8)


@pytest.mark.full
def test_the_linear_preset_reaches_the_subspace_and_the_error_of_pca(tmp_path):
  workdir = dlx.train(configs.get_config("debug_linear"), tmp_path / "run")
  found = json.loads((workdir / "validation.json").read_text())
  assert found["angle to PCA"] < 1
  np.testing.assert_allclose(found["error"], found["PCA error"], rtol=1e-3)


@pytest.mark.full
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jitted"])
def test_the_closed_form_of_the_contractive_penalty_is_the_jacobian_norm(x64, transform):
  x = jax.random.normal(jax.random.key(0), (5, 7), jnp.float64)
  one = layers(1, 7, 4)

  def by_hand(layers):
    kernel = layers[0]["encoder"]["kernel"]
    h = autoencoder.encode(layers, x, "sigmoid")
    return autoencoder.sigmoid_jacobian_norm(kernel, h)

  def general(layers):
    return autoencoder.jacobian_norm(lambda x: autoencoder.encode(layers, x, "sigmoid"), x)

  np.testing.assert_allclose(transform(by_hand)(one), transform(general)(one), rtol=1e-12)
  gradients = [transform(jax.grad(lambda p, f=f: f(p).sum()))(one) for f in (by_hand, general)]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), *gradients)


@pytest.mark.full
def test_the_jacobian_norm_of_two_layers_is_that_of_the_product_of_their_jacobians(x64):
  x = jax.random.normal(jax.random.key(0), (3, 7), jnp.float64)
  two = layers(1, 7, 5, 2)
  found = autoencoder.penalty("contractive", two, x, None, "sigmoid")
  first = autoencoder.encode(two[:1], x, "sigmoid")
  second = autoencoder.encode(two, x, "sigmoid")
  for i in range(3):
    a, b = (two[k]["encoder"]["kernel"] for k in (0, 1))
    jacobian = (a * (first[i] * (1 - first[i]))) @ (b * (second[i] * (1 - second[i])))
    np.testing.assert_allclose(found[i], np.square(jacobian).sum(), rtol=1e-12)


def test_the_jacobian_norm_of_a_linear_encoder_is_that_of_its_kernel(x64):
  one = layers(0, 6, 3, bias=False)
  found = autoencoder.penalty("contractive", one, jnp.ones((2, 6)), None, "identity")
  np.testing.assert_allclose(found, np.square(one[0]["encoder"]["kernel"]).sum(), rtol=1e-12)


def test_the_sparsity_penalties_by_hand(x64):
  h = jnp.array([[0.1, 0.5], [0.3, 0.9]], jnp.float64)  # Mean activations 0.2 and 0.7.
  np.testing.assert_allclose(autoencoder.penalty("l1", [], None, h, "sigmoid"), [0.6, 1.2])
  expected = sum(0.2 * np.log(0.2 / m) + 0.8 * np.log(0.8 / (1 - m)) for m in (0.2, 0.7))
  np.testing.assert_allclose(autoencoder.rate_divergence(h, 0.2), expected, rtol=1e-12)
  same = autoencoder.rate_divergence(jnp.full((3, 2), 0.2), 0.2)
  assert float(same) == pytest.approx(0, abs=1e-6)


def test_the_target_of_a_denoising_autoencoder_is_the_clean_image():
  task = task_of("denoising", {"model.sizes": "3", "corruption.amount": 0.5})
  images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1), dtype=np.uint8)
  variables = task.init_fn(jax.random.key(0), experiment.Data())
  rng = jax.random.key(1)
  found = task.eval_fn(variables, {"images": images}, rng)["loss"]
  x, one = images.reshape(8, -1) / 255, [variables["params"]["layer0"]]
  noise_rng, _ = jax.random.split(rng)
  noisy = augmentation.corrupt(noise_rng, jnp.asarray(x, jnp.float32), "masking", 0.5)
  assert (noisy != x).any()
  a = autoencoder.decode(one, autoencoder.encode(one, noisy, "sigmoid"), "sigmoid")
  p = np.float64(jax.nn.sigmoid(a))
  np.testing.assert_allclose(
      found, -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(-1), rtol=1e-5
  )


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_stochastic_codes_have_mean_h_and_the_gradient_of_h(kind):
  h = jnp.array([0.1, 0.5, 0.8])
  draws = jax.vmap(lambda rng: autoencoder.draw(rng, h, kind, 0.2))
  z = draws(jax.random.split(jax.random.key(0), 20000))
  np.testing.assert_allclose(z.mean(0), h, atol=0.02)
  if kind == "bernoulli":
    assert set(np.unique(z.round(6))) == {0.0, 1.0}
  else:
    np.testing.assert_allclose(z.std(0), 0.2, atol=0.01)
  jacobian = jax.jacobian(lambda h: autoencoder.draw(jax.random.key(0), h, kind, 0.2))(h)
  np.testing.assert_array_equal(jacobian, np.eye(3))


def test_gaussian_codes_give_an_unbiased_gradient(x64):
  """E[z^2] = h^2 + std^2, so the gradient's mean is 2 h."""
  h = jnp.array([0.1, 0.5, 0.8])

  def gradient(rng):
    return jax.grad(lambda h: jnp.square(autoencoder.draw(rng, h, "gaussian", 0.2)).sum())(h)

  found = jax.vmap(gradient)(jax.random.split(jax.random.key(0), 20000)).mean(0)
  np.testing.assert_allclose(found, 2 * h, atol=0.02)


@pytest.mark.full
def test_a_stacked_run_starts_from_and_keeps_the_layer_below_until_fine_tuning(debug_run, tmp_path):
  changes = {"init_from": str(debug_run)}
  config = configs.get_config("debug_stacked", changes)
  run = dlx.load_run(dlx.train(config, tmp_path / "stacked"))
  below = dlx.load_run(debug_run).params
  assert set(run.params) == {"layer0", "layer1"}
  jax.tree.map(np.testing.assert_array_equal, run.params["layer0"], below["layer0"])
  start = run.task.init_fn(jax.random.key(0), experiment.Data(pretrained={"params": below}))
  moved = start["params"]["layer1"]["encoder"]["kernel"] - run.params["layer1"]["encoder"]["kernel"]
  assert np.abs(moved).max() > 1e-3
  changes = {"init_from": str(tmp_path / "stacked"), "trainable": "all"}
  config = configs.get_config("debug_stacked", changes)
  tuned = dlx.load_run(dlx.train(config, tmp_path / "tuned")).params
  moved = tuned["layer0"]["encoder"]["kernel"] - below["layer0"]["encoder"]["kernel"]
  assert np.abs(moved).max() > 1e-3


def test_the_loss_of_a_stacked_run_is_that_of_its_last_layer_on_the_codes_below():
  changes = {"init_from": "unused", "model.sizes": "5-2", "model.code": "deterministic",
             "corruption.kind": "none", "penalty.kind": "none"}  # fmt: skip
  task = task_of("debug_stacked", changes)
  below = autoencoder.init(jax.random.key(7), [16, 5], tied=True, bias=True)
  data = experiment.Data(pretrained={"params": below})
  variables = task.init_fn(jax.random.key(0), data)
  images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1), dtype=np.uint8)
  found = task.eval_fn(variables, {"images": images}, jax.random.key(1))
  first, last = (variables["params"][f"layer{i}"] for i in (0, 1))
  x = autoencoder.encode([first], images.reshape(8, -1) / 255, "sigmoid")
  a = autoencoder.decode([last], autoencoder.encode([last], x, "sigmoid"), "sigmoid")
  np.testing.assert_allclose(found["loss"], autoencoder.distance(x, a, "sigmoid"), rtol=1e-5)


@pytest.mark.full
def test_a_run_of_other_sizes_is_refused_before_anything_is_written(debug_run, tmp_path):
  changes = {"init_from": str(debug_run), "model.sizes": "6-2"}
  with pytest.raises(UserError, match="another architecture.*layer0") as error:
    dlx.train(configs.get_config("debug_stacked", changes), tmp_path / "run")
  assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("rule", configs.RULES, ids=lambda rule: next(iter(rule.wrong)))
def test_settings_that_contradict_each_other_are_refused(rule):
  with pytest.raises(UserError):
    presets.check(configs.get_config("debug", dict(rule.wrong)))


def test_an_incomplete_folder_of_idx_files_is_refused_in_one_line(tmp_path):
  (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"")
  config = configs.get_config("sigmoid", {"data.images": str(tmp_path)})
  with pytest.raises(UserError, match="train-images-idx3-ubyte.* is missing") as error:
    dlx.train(config, tmp_path / "run")
  assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


@pytest.mark.full
def test_codes_and_pictures_of_a_run(debug_run):
  run = dlx.load_run(debug_run)
  data = run.experiment.load(run.config, run.assets)
  codes = run.task.outputs_fn(run.eval_variables, data.test)
  assert codes.shape == (96, 8) and ((codes > 0) & (codes < 1)).all()
  for name in ("reconstructions_validation.png", "filters.png", "curves.png"):
    assert (debug_run / name).is_file()
