"""dlx.train in the folder of a run: what resumes, what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dlx
from dlx.errors import UserError
from dlx.experiment import Loss
from dlx.runs import lock


def test_a_workdir_that_is_not_a_folder_for_this_run_is_refused(get_config, tmp_path, files):
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match="file is a file; name a folder"):
    dlx.train(get_config(), tmp_path / "file")
  (tmp_path / "thesis").mkdir()
  (tmp_path / "thesis" / "chapter.tex").touch()
  with pytest.raises(UserError, match="thesis is neither empty nor a run; name another folder"):
    dlx.train(get_config(), tmp_path / "thesis")
  assert len(files.contents(tmp_path)) == 2


def test_a_workdir_in_use_is_refused(get_config, copied, files):
  before = files.contents(copied)
  with lock.held(copied), pytest.raises(UserError, match="another process is training in"):
    dlx.train(get_config(), copied)
  assert files.contents(copied) == before


# Resuming.


def test_the_same_command_again_changes_only_the_record_of_starts(get_config, copied, files):
  before = files.results(copied)
  dlx.train(get_config(), copied)
  assert files.results(copied) == before
  assert len(json.loads((copied / "run.json").read_text())) == 2


def test_another_config_is_refused_with_the_keys_unless_overridden(get_config, copied, files):
  before = files.contents(copied)
  changes = {"optimizer.learning_rate": 0.2, "seed": 1}
  message = r"another config: optimizer.learning_rate \(0.1 -> 0.2\), seed \(0 -> 1\). Name another"
  with pytest.raises(UserError, match=message):
    dlx.train(get_config(changes=changes), copied)
  assert files.contents(copied) == before
  dlx.train(get_config(changes=changes), copied, override=True)
  assert dlx.load_run(copied).config.optimizer.learning_rate == 0.2


@pytest.mark.parametrize("changed, name, message", [
    ("model", "params.w", r"is \(3,\) in its checkpoint 12 and \(4,\) with this config"),
    ("optimizer", "opt_state", "absent"), ("average", "ema", "is absent in its checkpoint 12 and"),
])  # fmt: skip
def test_a_run_of_another_architecture_is_refused_even_if_overridden(
    get_config, experiment, copied, files, monkeypatch, changed, name, message
):
  changes = {"average": {"training.ema_decay": 0.9}, "optimizer": {}, "model": {"seed": 1}}
  make = experiment.make

  def other(*args):
    if changed == "optimizer":
      return make(*args)._replace(optimizer=optax.sgd(0.1))
    task = make(*args)
    params = lambda: {"w": jnp.zeros(4), "b": jnp.zeros(())}  # noqa: E731
    out = lambda v, batch: batch["x"] @ v["params"]["w"][:3]  # noqa: E731
    init_fn = lambda rng, data: {"params": params(), "seen": jnp.zeros((), jnp.int32)}  # noqa: E731
    return task._replace(
        init_fn=init_fn, loss_fn=lambda v, batch, rng: Loss((out(v, batch) ** 2).mean()),
        eval_fn=lambda v, batch, rng: {"loss": out(v, batch)},
    )  # fmt: skip

  if changed != "average":
    monkeypatch.setattr(experiment, "make", other)
  before = files.contents(copied)
  with pytest.raises(UserError, match=f"another model or optimizer: {name}.*{message}") as refused:
    dlx.train(get_config(changes=changes[changed]), copied, override=True)
  assert "\n" not in str(refused.value) and files.contents(copied) == before


def test_keys_that_do_not_change_the_training_may_differ(get_config, copied):
  dlx.train(get_config(changes={"training.max_to_keep": 1}), copied)
  assert dlx.load_run(copied).config.training.max_to_keep == 1


@pytest.mark.full
def test_more_steps_continue_a_constant_schedule(get_config, copied, tmp_path, files):
  changes = {"training.total_steps": 18}
  dlx.train(get_config(changes=changes), copied)
  dlx.train(get_config(changes=changes), tmp_path / "uninterrupted")
  state, expected = files.last_state(copied), files.last_state(tmp_path / "uninterrupted")
  assert int(state["step"]) == 18
  jax.tree.map(np.testing.assert_array_equal, state, expected)


@pytest.mark.full
def test_more_steps_would_change_a_cosine_schedule(get_config, tmp_path, files):
  dlx.train(get_config("cosine"), tmp_path / "run")
  longer = get_config("cosine", changes={"training.total_steps": 18})
  message = r"total_steps \(12 -> 18\) \(.* changes the cosine schedule of every step\).*--override"
  with pytest.raises(UserError, match=message):
    dlx.train(longer, tmp_path / "run")
  assert int(files.last_state(tmp_path / "run")["step"]) == 12
  dlx.train(longer, tmp_path / "run", override=True)
  assert int(files.last_state(tmp_path / "run")["step"]) == 18


@pytest.mark.parametrize("old, new", [("0", "12"), ("12", "0")])
def test_a_run_without_steps_cannot_become_one_with_steps(get_config, tmp_path, old, new, files):
  config = lambda steps: get_config(changes={"training.total_steps": steps})  # noqa: E731
  dlx.train(config(old), tmp_path / "run")
  before = files.contents(tmp_path)
  with pytest.raises(UserError, match="with training.total_steps=0 there is no optimizer state"):
    dlx.train(config(new), tmp_path / "run")
  assert files.contents(tmp_path) == before


def test_a_resumed_run_uses_the_saved_assets(experiment, get_config, copied, monkeypatch, files):
  load, given = experiment.load, []
  saved = dlx.load_run(copied).assets

  def load_other(config, assets=None):
    given.append(assets)
    new = {"mean": np.full(3, 100, np.float32), "names": ["x"]}  # Learned anew without assets.
    return load(config, assets or new)

  monkeypatch.setattr(experiment, "load", load_other)
  before = files.results(copied)
  dlx.train(get_config(), copied)
  (assets,) = given
  assert assets.keys() == saved.keys() and assets["names"] == ["a", "b", "c"]
  np.testing.assert_array_equal(assets["mean"], saved["mean"])
  assert files.results(copied) == before
  dlx.evaluate(dlx.load_run(copied))
  np.testing.assert_array_equal(given[-1]["mean"], saved["mean"])


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_other_data_are_refused(experiment, get_config, copied, monkeypatch, split, files):
  load = experiment.load

  def load_other(config, assets=None):
    data = load(config, assets)
    arrays = getattr(data, split)
    return data._replace(**{split: {**arrays, "y": arrays["y"] + 1}})

  monkeypatch.setattr(experiment, "load", load_other)
  before = files.contents(copied)
  message = f"the {split} data are not those that the run in .* started with"
  if split != "test":  # Training does not read it.
    with pytest.raises(UserError, match=message):
      dlx.train(get_config(), copied)
  with pytest.raises(UserError, match=message):
    dlx.evaluate(dlx.load_run(copied), split)
  assert files.contents(copied) == before
