"""The page of seq2seq: losses, searches and predictions of models that were not trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlx
from dlx.data import pairs
from dlx.errors import UserError
from dlx.layers import losses
from dlx.models import seq2seq
from dlx.training import evaluation, sharding, train
from experiments.seq2seq import config as configs
from experiments.seq2seq import experiment


@pytest.fixture(scope="module", params=["debug", "debug_recurrent"])
def opened(request):
  """(config, data, task, variables) of a preset."""
  config = configs.get_config(request.param)
  data = experiment.load(config)
  task = experiment.make(config, data.assets)
  return config, data, task, jax.jit(lambda: task.init_fn(jax.random.key(0), data))()


@pytest.mark.full
def test_the_metrics_are_means_over_the_tokens_of_all_targets(opened):
  """Against the logits of one pair at a time, without padding."""
  config, data, task, variables = opened
  examples = {name: data.validation[name][-2:] for name in ("source", "target", "lengths")}
  found = jax.jit(task.eval_fn)(variables, examples, None)
  source, target = pairs.tokens_of(data.assets)
  options = {**config.model, "shared": config.data.joint_vocabulary}
  model = seq2seq.make(options, len(source), len(target), config.data.max_length)
  total = count = 0
  for x, y in zip(data.validation["source_text"][-2:], data.validation["target_text"][-2:]):
    x, y = source.encode(x)[None], target.encode(y)[None]
    inputs = np.concatenate([[[pairs.START]], y[:, :-1]], 1)
    logits = model.apply({"params": variables["params"]}, x, x > 0, jnp.asarray(inputs))
    total += float(losses.cross_entropy(logits, jnp.asarray(y))) * y.size
    count += y.size
  assert evaluation.mean(found["loss"]) == pytest.approx(total / count, rel=1e-5)
  assert int(found["loss"][1].sum()) == count


@pytest.mark.full
def test_predictions_do_not_depend_on_other_lines_and_have_scores(opened):
  config, data, task, variables = opened
  apply = evaluation.make_apply(variables, sharding.make_mesh(), chunk=4)
  lines = list(data.test["source_text"][:3])
  texts = task.predict(variables, lines, apply)
  scored = task.predict(variables, [f"  {lines[1]} "], apply, json=True)
  assert scored[0]["output"] == texts[1] and scored[0]["score"] < 0
  greedy, = task.predict(variables, lines[1:2], apply, width=1, json=True)
  few = data._replace(test={name: array[:3] for name, array in data.test.items()})
  measured = task.measure_fn(variables, few, "test", apply)
  assert set(measured) == {
      f"{name}, {search}"
      for name in ("exact match", "symbol error rate") for search in ("greedy", "beam")
  }  # fmt: skip
  assert greedy["score"] < 0


@pytest.mark.sampled(1)
def test_a_line_that_is_too_long_is_cut_and_it_is_said(opened, capsys):
  config, data, task, variables = opened
  apply = evaluation.make_apply(variables, sharding.make_mesh(), chunk=4)
  line = " ".join("4" * 50)
  assert len(task.predict(variables, [line], apply)) == 1
  limit = config.data.max_length
  assert f"1 of 1 lines have more than {limit} tokens, data.max_length, and are cut" in (
      capsys.readouterr().err
  )
  if config.data.source_tokens == "characters":
    with pytest.raises(UserError, match="the character 'ж' .* is not among"):
      task.predict(variables, ["ж"], apply)


SPANS = "experiments.seq2seq:debug_spans"


def started_from(folder, **changes):
  changes = {key.replace("__", "."): value for key, value in changes.items()}
  changes = {"init_from": str(folder), "data.joint_vocabulary": True, **changes}
  return train.prepare(configs.get_config("debug", changes), None)


@pytest.mark.full
def test_pairs_start_from_the_parameters_sizes_and_tokens_of_a_run_of_spans(trained):
  run = dlx.load_run(trained(SPANS))
  started = started_from(run.workdir, model__d_model=64)
  names = ("source", "target", "sentinels")
  assert {n: started.data.assets[n] for n in names} == {n: run.assets[n] for n in names}
  assert run.assets["sentinels"] == 1 and "network" not in run.assets
  params = started.task.init_fn(jax.random.key(0), started.data)["params"]
  jax.tree.map(np.testing.assert_array_equal, params, run.params)
  # A run that starts from it needs it no more.
  again = experiment.make(started.config, started.data.assets)
  fresh = jax.eval_shape(lambda: again.init_fn(jax.random.key(0), dlx.experiment.Data()))
  shapes = lambda params: jax.tree.map(lambda leaf: leaf.shape, params)  # noqa: E731
  assert shapes(fresh["params"]) == shapes(run.params)


@pytest.mark.full
def test_pairs_that_do_not_match_the_run_are_refused_in_one_line(trained):
  folder = trained(SPANS)
  for changes, message in (
      ({"data__joint_vocabulary": False}, "config.data.joint_vocabulary is False, but True in"),
      ({"data__source_tokens": "characters"}, "config.data.source_tokens is characters, but words"),
      ({"model__architecture": "recurrent"}, "architecture is recurrent, but transformer in"),
      ({"data__max_length": 17}, "config.data.max_length is 17; expected at most 16, that of"),
  ):
    with pytest.raises(UserError, match=message) as refused:
      started_from(folder, **changes)
    assert "\n" not in str(refused.value)


@pytest.mark.full
def test_a_run_of_another_experiment_is_refused(trained):
  with pytest.raises(UserError, match="is a run of experiments.gru_lm; expected experiments.seq"):
    started_from(trained("experiments.gru_lm:debug"))
