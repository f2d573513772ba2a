"""Linear models: the function that is trained, whole trainings, predictions, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dlx
from dlx import presets
from dlx.errors import UserError
from dlx.experiment import Data
from dlx.models import linear_models, ridge
from experiments.linear_models import config as configs
from experiments.linear_models import experiment


def train(workdir, preset="points", **changes):
  if preset in ("points", "separable", "xor"):
    changes = {"data.num_points": 120, "data.num_validation": 40, **changes}
  dlx.train(configs.get_config(preset, changes), workdir)
  return dlx.load_run(workdir)


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_one_step_of_the_exam_on_the_function_that_is_trained(x64, compile_):
  """Final exam of February 26, 2022, part 3, question 3: w = [1.5 2 3 4.5] after one step."""
  params = {"kernel": jnp.array([[1.0], [2], [3], [4]]), "bias": jnp.array([-5.0])}
  phi, batch = jnp.array([[1.0, 0, 0, 1]]), {"labels": jnp.array([0])}  # +1: the class scored.

  def step(params):
    slope = jax.grad(linear_models.objective)(params, phi, batch, kind="one_vs_rest", l2=0.0)
    sgd = optax.sgd(1.0)
    return optax.apply_updates(params, sgd.update(slope, sgd.init(params))[0])

  new = compile_(step)(params)
  np.testing.assert_array_equal(new["kernel"][:, 0], [1.5, 2, 3, 4.5])
  np.testing.assert_array_equal(new["bias"], [-4.5])


def test_a_weighted_mean_leaves_out_what_fills_up_a_full_batch():
  rng = np.random.default_rng(0)
  params = {"kernel": jnp.asarray(rng.normal(size=(3, 1))), "bias": jnp.ones(1)}
  phi, y = rng.normal(size=(8, 3)), rng.normal(size=8)
  weights = np.array([1.0] * 6 + [0.0] * 2)
  one = linear_models.objective(params, phi[:6], {"targets": y[:6]}, kind="squared", l2=0.3)
  other = linear_models.objective(
      params, phi, {"targets": y, "weights": weights}, kind="squared", l2=0.3
  )
  errors = (phi[:6] @ params["kernel"][:, 0] + 1 - y[:6]) ** 2
  expected = errors.mean() + 0.15 * (params["kernel"] ** 2).sum()
  assert float(one) == pytest.approx(float(expected), rel=1e-5) == float(other)


def test_gradient_descent_reaches_the_closed_form(x64):
  """The functions of the experiment: 1e-6 of the weights, in float64."""
  changes = {"model.degree": 3, "model.l2": 0.1, "training.total_steps": 4000}
  config = configs.get_config("descent", changes)
  data = experiment.load(config)
  task = experiment.make(presets.in_steps(config, 1), data.assets)
  phi = np.asarray(experiment.features(config.model, data.assets)(data.train["inputs"]), float)
  (expected,) = ridge.fit(phi, data.train["targets"], [0.05])
  variables = jax.tree.map(lambda p: p.astype(float), task.init_fn(jax.random.key(0), Data()))

  def step(params, _):
    loss = lambda p: task.loss_fn({"params": p}, data.train, None).value  # noqa: E731
    return jax.tree.map(lambda p, d: p - 0.2 * d, params, jax.grad(loss)(params)), None

  found, _ = jax.lax.scan(step, variables["params"], length=4000)
  np.testing.assert_allclose(found["kernel"], expected["kernel"], rtol=1e-6, atol=1e-6)
  np.testing.assert_allclose(found["bias"], expected["bias"], rtol=1e-6, atol=1e-6)


def test_the_lasso_of_a_run_has_exact_zeros(tmp_path):
  run = train(tmp_path / "run", "lasso", **{
      "training.total_steps": 2000, "training.eval_every": 1000, "model.l1": 0.1,
  })  # fmt: skip
  kernel = np.asarray(run.params["kernel"])
  assert 4 <= (kernel == 0).sum() < kernel.size and run.evaluate("test")["R^2"] > 0.3


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["softmax", "one_vs_rest", "one_vs_one", "naive_bayes"])
def test_three_classes_in_the_plane_are_told_apart(tmp_path, kind):
  surface = {"loss_surface": kind == "softmax"} if kind != "naive_bayes" else {}
  run = train(tmp_path / "run", **{"model.kind": kind, **surface})
  assert run.evaluate("test")["accuracy"] > 0.88
  names = {path.stem for path in run.workdir.glob("*.png")}
  assert {"plane_validation", "confusion_validation", "weights"} <= names
  assert ("loss_surface" in names) == (kind == "softmax")
  lines = ["x=0,y=1.5", '{"y": -1, "x": 1.5}']
  found = run.predict(lines)
  assert found[0].startswith("x=0,y=1.5: first") and ": third" in found[1]
  answer = run.predict(lines[:1], json=True)[0]
  assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("average", [False, True])
def test_the_perceptron_counts_its_mistakes_and_their_bound(tmp_path, average):
  run = train(tmp_path / "run", "separable", **{"model.average": average})
  found = run.evaluate("test")
  assert 0 < found["mistakes"] <= found["bound of mistakes"]
  assert found["mistakes in the last pass"] == 0 and found["accuracy"] > 0.97


def test_xor_needs_the_product_of_both_inputs(tmp_path):
  found = train(tmp_path / "product", "xor").evaluate("test")
  assert found["accuracy"] > 0.98 and 0 < found["mistakes"] <= found["bound of mistakes"]
  found = train(tmp_path / "line", "xor", **{"model.degree": 1}).evaluate("test")
  assert found["accuracy"] < 0.8 and found["mistakes in the last pass"] > 0
  assert "bound of mistakes" not in found


def test_the_bound_of_several_classes_is_that_of_the_bias_as_a_feature(x64):
  rng = np.random.default_rng(0)
  labels = np.arange(30) % 3
  phi = rng.uniform(-0.5, 0.5, (30, 2)) + 3 * np.eye(3, 2)[labels]
  fitted = linear_models.fit("perceptron", phi, {"labels": labels}, 3, passes=50)
  mistakes = np.asarray(fitted["mistakes"])
  found = linear_models.convergence(mistakes, phi, labels, 3)
  assert mistakes.sum() == found["mistakes"] <= found["bound of mistakes"]
  few = linear_models.convergence(np.array([3, 1]), phi, labels, 3)
  assert few == {"mistakes": 4, "mistakes in the last pass": 1}


def test_a_polynomial_overfits_as_its_degree_grows(tmp_path):
  """A line underfits a sine, degree 3 fits it, degree 12 fits the noise of 20 examples."""
  errors = {}
  for degree in (1, 3, 12):
    run = train(tmp_path / str(degree), "polynomial", **{"model.degree": degree})
    errors[degree] = [run.evaluate(split)["RMSE"] for split in ("train", "test")]
  (one, _), (three, test), (twelve, overfitted) = errors.values()
  assert one > three > twelve and overfitted > 1.3 * test and errors[1][1] > 1.2 * test
  assert 0.25 < test < 0.45  # The noise has a standard deviation of 0.3.
  names = {path.stem for path in run.workdir.glob("*.png")}
  assert {"curve_validation", "degrees_validation", "weights"} <= names


def table(tmp_path, rows):
  path = tmp_path / "x.csv"
  path.write_text("\n".join(["a,b,c,price", *rows]))
  return {"data.file": str(path), "data.target": "price", "data.num_validation": 4}


def test_a_table_of_numbers_is_fitted_and_predicted_in_its_units(tmp_path):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(60, 3)) * [1, 10, 0.1] + 5
  rows = [f"{a},{b},{c},{1000 + 20 * a - 3 * b + 100 * c}" for a, b, c in x]
  changes = {**table(tmp_path, rows), "model.degree": 1, "loss_surface": False}
  run = train(tmp_path / "run", "polynomial", **changes)
  assert run.evaluate("test")["R^2"] == pytest.approx(1, abs=1e-5)
  assert run.predict(["a=1,b=2,c=3"]) == ["a=1,b=2,c=3: 1314"]
  assert run.predict(["c=3,b=2,a=1"], json=True)[0]["prediction"] == pytest.approx(1314, abs=0.1)
  names = {path.stem for path in run.workdir.glob("*.png")}
  assert {"predictions_validation", "weights", "degrees_validation"} <= names


def test_more_features_than_rows_are_refused_without_a_penalty(tmp_path):
  rng = np.random.default_rng(0)
  rows = [",".join(map(str, row)) for row in rng.normal(size=(16, 4))]
  changes = {**table(tmp_path, rows), "model.degree": 3, "loss_surface": False}
  with pytest.raises(UserError, match="19 features has no unique .* give an L2 penalty above 0"):
    train(tmp_path / "run", "polynomial", **changes)
  assert not (tmp_path / "run").exists()
  run = train(tmp_path / "run", "polynomial", **changes, **{"model.l2": 0.1})
  assert np.isfinite(run.evaluate("test")["RMSE"])


def test_high_degrees_of_images_are_refused(tmp_path):
  with pytest.raises(UserError, match="64 inputs have more than 10,000 monomials up to degree 4"):
    train(tmp_path / "run", "debug", **{"model.degree": 4})


def test_images_are_classified_by_file_name(tmp_path):
  from PIL import Image

  run = train(tmp_path / "run", "debug")
  pixels = run.experiment.load(run.config, run.assets).test["inputs"][:3] + run.assets["mean"]
  lines = []
  for i, row in enumerate(np.rint(255 * pixels).astype(np.uint8)):
    Image.fromarray(row.reshape(8, 8)).save(tmp_path / f"{i}.png")
    lines.append(str(tmp_path / f"{i}.png"))
  found = [answer["probabilities"] for answer in run.predict(lines, json=True)]
  scores = pixels - run.assets["mean"]
  scores = scores @ np.asarray(run.params["kernel"]) + np.asarray(run.params["bias"])
  for row, probabilities in zip(scores, found):
    assert max(probabilities, key=probabilities.get) == run.assets["classes"][row.argmax()]


def test_the_fit_is_that_of_scikit_learn(x64):
  linear_model = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
  rng = np.random.default_rng(0)
  labels = np.arange(90) % 3
  phi = rng.normal(size=(90, 4)) + np.eye(3, 4)[labels]
  found = linear_models.fit("softmax", phi, {"labels": labels}, 3, l2=0.01)["params"]
  other = linear_model.LogisticRegression(C=1 / (0.01 * 90), tol=1e-10, max_iter=10_000)
  other.fit(phi, labels)
  np.testing.assert_allclose(found["kernel"].T, other.coef_, atol=1e-4)
