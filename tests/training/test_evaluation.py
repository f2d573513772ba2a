"""Evaluation: functions of all examples, weighted means, metrics and predictions of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlx
from dlx.errors import UserError
from dlx.experiment import Data, Task, numeric
from dlx.metrics import classification
from dlx.reports import confusions
from dlx.training import evaluation, sharding


def make_apply(variables=None, **options):
  return evaluation.make_apply(variables or {}, sharding.make_mesh(), **options)


def identity(variables, batch, rng):
  return batch


@pytest.mark.parametrize("count", [1, 2, 4, 5, 8, 13])
@pytest.mark.parametrize("chunk", [1, 4, 5, 100])
def test_every_example_comes_once_and_in_order(count, chunk):
  arrays = {"x": np.arange(count), "y": np.arange(6.0 * count, dtype=np.float32).reshape(-1, 2, 3)}
  found = make_apply(chunk=chunk)(identity, arrays)
  for name, array in arrays.items():
    assert isinstance(found[name], np.ndarray)
    np.testing.assert_array_equal(found[name], array)


def test_chunks_have_one_size_and_the_last_is_padded_with_its_first_example():
  chunks = []

  def function(variables, batch, rng):
    jax.debug.callback(lambda x: chunks.append(x.tolist()), batch["x"], ordered=True)
    return batch["x"]

  make_apply()(function, {"x": np.arange(10)}, chunk=4)
  jax.effects_barrier()
  assert chunks == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 8, 8]]


def noise(variables, batch, rng):
  return jax.random.normal(rng, batch["x"].shape)


def test_the_key_of_a_chunk_depends_on_the_seed_and_the_chunk():
  draw = make_apply(chunk=4, seed=3)
  found = draw(noise, {"x": np.arange(10)})
  keys = [jax.random.fold_in(jax.random.key(3), i) for i in range(3)]
  expected = np.concatenate([jax.random.normal(key, (4,)) for key in keys])[:10]
  # Another program than that of `draw`: its last bit may differ.
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  # More examples, or other ones, do not change the random numbers.
  np.testing.assert_array_equal(draw(noise, {"x": np.ones(23)})[:10], found)
  assert not set(make_apply(chunk=4, seed=4)(noise, {"x": np.arange(10)})) & set(found)


def test_arrays_of_objects_never_reach_the_function():
  names = []

  def function(variables, batch, rng):
    names.append(sorted(batch))
    return batch["x"]

  arrays = {"document": np.array(["a", "b"], object), "x": np.arange(2)}
  np.testing.assert_array_equal(make_apply()(function, arrays), [0, 1])
  assert names == [["x"]]
  assert set(numeric(arrays)) == {"x"}


def test_a_call_can_replace_the_variables_and_the_chunk():
  shapes = []

  def function(variables, batch, rng):
    shapes.append(batch["x"].shape)
    return {"scaled": variables["scale"] * batch["x"]}

  apply = make_apply({"scale": np.float32(2)}, chunk=2)
  arrays = {"x": np.arange(3.0, dtype=np.float32)}
  np.testing.assert_array_equal(apply(function, arrays)["scaled"], [0, 2, 4])
  other = apply(function, arrays, variables={"scale": np.float32(5)}, chunk=3)
  np.testing.assert_array_equal(other["scaled"], [0, 5, 10])
  assert shapes == [(2,), (3,)]


def test_a_classifier_reads_each_example_once_for_its_metrics_and_figures():
  chunks = []

  def logits_fn(variables, batch):
    jax.debug.callback(lambda x: chunks.append(len(x)), batch["x"], ordered=True)
    return jnp.stack([batch["x"], -batch["x"]], -1)

  classes, eval_fn = ("up", "down"), classification.make_eval(logits_fn)
  task = Task(
      None, eval_fn=eval_fn, measure_fn=classification.make_measure(eval_fn, classes),
      plot=confusions.make_plot(eval_fn, classes),
  )  # fmt: skip
  labels = np.array([0, 0, 1, 1, 1])
  split = {"x": np.array([1.0, -2, 1, -1, -1]), "labels": labels, "text": np.full(5, "a", object)}
  data, apply = Data(split, test=split), make_apply(chunk=4)
  metrics = evaluation.evaluate(task, {}, data, "test", apply)
  task.plot({}, data, "test", apply)
  jax.effects_barrier()
  assert chunks == [4, 4]
  assert metrics["accuracy"] == pytest.approx(0.6) and metrics["accuracy of down"] == 2 / 3
  assert "outputs" not in metrics


def test_a_function_is_compiled_once_for_all_evaluations():
  traced = []

  def function(variables, batch, rng):
    traced.append(True)
    return batch["x"] + variables["shift"]

  for shift in range(3):
    apply = make_apply({"shift": np.float32(shift)}, chunk=4)
    assert apply(function, {"x": np.zeros(9 + shift)}).tolist() == [shift] * (9 + shift)
  assert len(traced) == 1


def test_progress_is_shown_on_request(capsys, monkeypatch):
  clock = iter(range(0, 10**6, 100))  # Every call is 100 seconds later.
  monkeypatch.setattr("dlx.training.progress.time.monotonic", lambda: next(clock))
  make_apply(chunk=4)(identity, {"x": np.arange(10)})
  assert not capsys.readouterr().err
  make_apply(chunk=4, show_progress=True)(identity, {"x": np.arange(10)})
  lines = capsys.readouterr().err.splitlines()
  assert [line.split("  ")[0] for line in lines] == [f"example {n}/10" for n in (4, 8, 10)]


def test_means_are_weighted():
  values = np.array([[1.0, 2.0], [4.0, np.nan]])
  assert evaluation.mean(values[0]) == 1.5
  assert evaluation.mean(np.array([True, False, True, True])) == 0.75
  assert evaluation.mean((values, np.array([[1, 3], [0, 0]]))) == 7 / 4
  assert evaluation.mean((values, np.array([[True, False], [True, False]]))) == 2.5
  assert np.isnan(evaluation.mean(values))


@pytest.mark.filterwarnings("error")
def test_a_mean_without_weight_is_nan():
  assert np.isnan(evaluation.mean((np.array([1.0, np.inf]), np.zeros(2))))


def test_means_are_taken_in_float64():
  values = np.full(10**6, 0.1, np.float32)
  assert evaluation.mean(values) == pytest.approx(float(np.float32(0.1)), rel=1e-12)


DATA = Data(validation={"x": np.array([1.0, 2.0, 6.0])}, test={"x": np.array([5.0])})


def eval_fn(variables, batch, rng):
  value = variables["params"] * batch["x"]
  return {"loss": value, "of even": (value, batch["x"] % 2 == 0)}


def measure_fn(variables, data, split, apply):
  total = apply(lambda v, batch, rng: v["params"] * batch["x"], data.split(split)).sum()
  return {"sum": total, "largest": jnp.float32(data.split(split)["x"].max())}


MEANS, MEASURED = {"loss": 6.0, "of even": 8.0}, {"sum": 18.0, "largest": 6.0}


@pytest.mark.parametrize(
    "functions, everything, expected",
    [
        ({"eval_fn": eval_fn}, True, MEANS),
        ({"eval_fn": eval_fn}, False, MEANS),
        ({"measure_fn": measure_fn}, True, MEASURED),
        ({"measure_fn": measure_fn}, False, MEASURED),
        ({"eval_fn": eval_fn, "measure_fn": measure_fn}, True, MEANS | MEASURED),
        ({"eval_fn": eval_fn, "measure_fn": measure_fn}, False, MEANS),
    ],
    ids=["means", "means, quick", "measured", "measured, quick", "both", "both, quick"],
)
def test_metrics_are_means_and_measurements(functions, everything, expected):
  task, variables = Task(init_fn=None, **functions), {"params": 2.0}
  apply = make_apply(variables, chunk=2)
  found = evaluation.evaluate(task, variables, DATA, "validation", apply, everything=everything)
  assert found == expected
  assert all(type(value) is float for value in found.values())


def test_a_sum_of_splits_is_evaluated_together():
  task, variables = Task(init_fn=None, eval_fn=eval_fn), {"params": 1.0}
  found = evaluation.evaluate(task, variables, DATA, "validation+test", make_apply(variables))
  assert found["loss"] == 3.5


# Runs with eight virtual devices: the rows that each device computes.
PROGRAM = """
import jax, numpy as np
from dlx.training import evaluation, sharding

rows = set()

def function(variables, batch, rng):
  shape = batch["x"].shape
  jax.debug.inspect_array_sharding(
      batch["x"], callback=lambda s: rows.add((*shape, *s.shard_shape(shape)))
  )
  return batch["x"] + jax.random.normal(rng, shape)

x = {"x": np.arange(21.0)}
results = []
for count in (1, 8):
  mesh = sharding.make_mesh(devices=jax.devices()[:count])
  results.append(evaluation.make_apply({}, mesh, chunk=16)(function, x))
  print(*sorted(rows))
  rows.clear()
np.testing.assert_array_equal(*results)
print(*evaluation.make_apply({}, mesh, chunk=17)(function, x).shape, *rows)
"""


def test_eight_devices_share_a_chunk_and_compute_the_same(on_eight_devices):
  assert on_eight_devices(PROGRAM) == ["(16, 16)", "(16, 2)", "21 (24, 3)"]


# Programs of an opened run.


def test_a_run_predicts_line_by_line_in_blocks(trained):
  run = dlx.load_run(trained)
  lines = [f"{i} {-i} 1" for i in range(1100)]  # Blocks of 512 lines, chunks of 16.
  x = np.array([line.split() for line in lines], np.float32)
  expected = run.task.outputs_fn(run.eval_variables, {"x": x})
  found = list(dlx.predict(run, iter(lines), digits=1))
  np.testing.assert_allclose(np.array(found, float), expected, atol=0.06)


def test_a_run_samples_with_options_and_a_seed(trained):
  run = dlx.load_run(trained)
  first, again, other = (list(dlx.sample(run, seed=s, count=3)) for s in (0, 0, 1))
  assert first == again != other and len(first) == 3


def test_programs_that_a_run_has_not_are_refused(change_task, trained):
  change_task(predict=None)
  with pytest.raises(UserError, match="linear_regression does not predict"):
    next(dlx.predict(dlx.load_run(trained), ["1 2 3"]))
  with pytest.raises(UserError, match="split: expected train, validation, test"):
    dlx.evaluate(dlx.load_run(trained), "tset")


def test_splits_differ_and_can_be_joined(trained):
  run = dlx.load_run(trained)
  found = {s: dlx.evaluate(run, s) for s in ("validation", "test", "validation+test", "train")}
  assert [metrics["examples"] for metrics in found.values()] == [30, 10, 40, 64]
  assert len({metrics["loss"] for metrics in found.values()}) == 4
  mean = (30 * found["validation"]["loss"] + 10 * found["test"]["loss"]) / 40
  assert found["validation+test"]["loss"] == pytest.approx(mean, rel=1e-6)
  data = run.experiment.load(run.config, run.assets)
  assert dlx.evaluate(run, "test", data) == found["test"]
  with pytest.raises(UserError, match="no test examples"):
    dlx.evaluate(run, "test", Data(data.train, data.validation))
