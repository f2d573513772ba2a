"""Linear models: the function that is trained, whole trainings, predictions, bad input."""

import fitted
import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image
import pytest

import dlx
from dlx.data import schema
from dlx.errors import UserError
from dlx.experiment import Data
from dlx.models import linear_models, ridge
from experiments.linear_models import config as configs
from experiments.linear_models import experiment


def config_of(preset, **changes):
  if preset in ("points", "separable", "xor"):
    changes = {"data.num_points": 120, "data.num_validation": 40, **changes}
  return configs.get_config(preset, changes)


def fit(preset, **changes):
  return fitted.fit(config_of(preset, **changes))


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
  steps = {"training.total_steps": 4000, "optimizer.learning_rate": 0.2}
  found = fit("descent", **{"model.degree": 3, "model.l2": 0.1, **steps})
  config, data = config_of("descent", **{"model.degree": 3}), found.data
  phi = experiment.features(config.model, data.assets)(data.train["inputs"])
  (expected,) = ridge.fit(phi, data.train["targets"], [0.05])
  for name, value in found.variables["params"].items():
    np.testing.assert_allclose(value, expected[name], rtol=1e-6, atol=1e-6)
  exact = fit("ridge", **{"model.degree": 3, "model.l2": 0.1}).variables["params"]
  np.testing.assert_allclose(exact["kernel"], expected["kernel"], rtol=1e-12)


def test_the_lasso_has_exact_zeros():
  found = fit("lasso", **{"training.total_steps": 2000, "model.l1": 0.1})
  kernel = np.asarray(found.variables["params"]["kernel"])
  assert 4 <= (kernel == 0).sum() < kernel.size and found.measure()["R^2"] > 0.3


@pytest.mark.full
def test_three_classes_in_the_plane_are_told_apart(tmp_path):
  dlx.train(config_of("points"), tmp_path / "run")
  run = dlx.load_run(tmp_path / "run")
  assert run.evaluate("test")["accuracy"] > 0.88
  names = {path.stem for path in run.workdir.glob("*.png")}
  assert {"plane_validation", "confusion_validation", "weights", "loss_surface"} <= names
  lines = ["x=0,y=1.5", '{"y": -1, "x": 1.5}']
  found = run.predict(lines)
  assert found[0].startswith("x=0,y=1.5: first") and ": third" in found[1]
  answer = run.predict(lines[:1], json=True)[0]
  assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["one_vs_rest", "one_vs_one", "naive_bayes", "perceptron"])
def test_they_are_by_the_other_models_too(kind):
  average = {"model.average": True} if kind == "perceptron" else {}
  found = fit("points", **{"model.kind": kind, **average})
  assert found.measure()["accuracy"] > 0.88


@pytest.mark.parametrize("average", [False, True])
def test_the_perceptron_counts_its_mistakes_and_their_bound(average):
  found = fit("separable", **{"model.average": average}).measure()
  assert 0 < found["mistakes"] <= found["bound of mistakes"]
  assert found["mistakes in the last pass"] == 0 and found["accuracy"] > 0.97


def test_xor_needs_the_product_of_both_inputs():
  found = fit("xor").measure()
  assert found["accuracy"] > 0.98 and 0 < found["mistakes"] <= found["bound of mistakes"]
  found = fit("xor", **{"model.degree": 1}).measure()
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


def test_a_polynomial_overfits_as_its_degree_grows():
  """A line underfits a sine, degree 3 fits it, degree 12 fits the noise of 20 examples."""
  runs = {n: fit("polynomial", **{"model.degree": n}) for n in (1, 3, 12)}
  train, test = (
      {n: run.measure(split)["RMSE"] for n, run in runs.items()} for split in ("train", "test")
  )
  assert train[1] > train[3] > train[12] and test[12] > 1.3 * test[3] and test[1] > 1.2 * test[3]
  assert 0.25 < test[3] < 0.45  # The noise has a standard deviation of 0.3.
  assert {"curve_validation", "degrees_validation", "weights"} <= set(runs[12].plot())


def table(tmp_path, rows):
  path = tmp_path / "x.csv"
  path.write_text("\n".join(["a,b,c,price", *rows]))
  return {"data.file": str(path), "data.target": "price", "data.num_validation": 4}


def test_a_table_of_numbers_is_fitted_and_predicted_in_its_units(tmp_path):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(60, 3)) * [1, 10, 0.1] + 5
  rows = [f"{a},{b},{c},{1000 + 20 * a - 3 * b + 100 * c}" for a, b, c in x]
  changes = {**table(tmp_path, rows), "model.degree": 1, "loss_surface": False}
  run = fit("polynomial", **changes)
  assert run.measure()["R^2"] == pytest.approx(1, abs=1e-5)
  assert run.predict(["a=1,b=2,c=3"]) == ["a=1,b=2,c=3: 1314"]
  assert run.predict(["c=3,b=2,a=1"], json=True)[0]["prediction"] == pytest.approx(1314, abs=0.1)
  assert {"predictions_validation", "weights", "degrees_validation"} <= set(run.plot())


def test_more_features_than_rows_are_refused_without_a_penalty(tmp_path):
  rng = np.random.default_rng(0)
  rows = [",".join(map(str, row)) for row in rng.normal(size=(16, 4))]
  changes = {**table(tmp_path, rows), "model.degree": 3, "loss_surface": False}
  with pytest.raises(UserError, match="19 features has no unique .* give an L2 penalty above 0"):
    dlx.train(config_of("polynomial", **changes), tmp_path / "run")
  assert not (tmp_path / "run").exists()
  assert np.isfinite(fit("polynomial", **changes, **{"model.l2": 0.1}).measure()["RMSE"])


def test_errors_are_drawn_up_to_a_degree_that_takes_no_long_time():
  rng = np.random.default_rng(0)
  part = {"inputs": rng.normal(size=(40, 150)), "targets": rng.normal(size=40)}
  known = schema.Schema([str(i) for i in range(150)], None, np.zeros(150), np.ones(150), None)
  options = config_of("ridge").model
  drawn = experiment.draw_degrees(Data(part, part), "validation", options, known)
  (line, _) = drawn["degrees_validation"].axes[0].lines
  assert line.get_xdata().tolist() == [1]  # Degree 2 has 11,475 monomials.


def test_high_degrees_of_images_are_refused():
  with pytest.raises(UserError, match="64 inputs have more than 10,000 monomials up to degree 4"):
    fit("debug", **{"model.degree": 4})


def test_images_are_classified_by_file_name(tmp_path):
  run = fit("debug")
  inputs, assets = run.data.test["inputs"][:3], run.data.assets
  lines = []
  for i, row in enumerate(np.rint(255 * (inputs + assets["mean"])).astype(np.uint8)):
    lines.append(str(tmp_path / f"{i}.png"))
    Image.fromarray(row.reshape(8, 8)).save(lines[-1])
  params = run.variables["params"]
  scores = inputs @ np.asarray(params["kernel"]) + np.asarray(params["bias"])
  for row, answer in zip(scores, run.predict(lines, json=True)):
    expected = np.exp(row) / np.exp(row).sum()
    found = [answer["probabilities"][name] for name in assets["classes"]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_fit_is_that_of_scikit_learn(x64):
  linear_model = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
  rng = np.random.default_rng(0)
  labels = np.arange(90) % 3
  phi = rng.normal(size=(90, 4)) + np.eye(3, 4)[labels]
  found = linear_models.fit("softmax", phi, {"labels": labels}, 3, l2=0.01)["params"]
  other = linear_model.LogisticRegression(C=1 / (0.01 * 90), tol=1e-10, max_iter=10_000)
  other.fit(phi, labels)
  np.testing.assert_allclose(found["kernel"].T, other.coef_, atol=1e-4)
