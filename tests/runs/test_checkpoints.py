"""Checkpoints: exact, rotated, and proof against every kind of damaged file."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlx.errors import UserError
from dlx.runs import checksums
from dlx.training import sharding
from dlx.training import state as states
from dlx.runs.checkpoints import Checkpoints, target_of

# Orbax leaves reads that fail for the garbage collector to complain about.
pytestmark = pytest.mark.filterwarnings("ignore")


def make_state(step=0):
  """A State with optax state, an average and awkward values, all different for each step."""
  rng = np.random.default_rng(step)
  params = {
      "kernel": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32),
      "layers": [{"bias": jnp.asarray([np.nan, -0.0, 1e-45, np.inf], jnp.float32)}],
      "half": jnp.asarray(rng.normal(size=5), jnp.bfloat16),
      "ids": jnp.asarray(rng.integers(0, 99, 7), jnp.int32),
  }
  optimizer = optax.adamw(1e-3)
  state = states.create(
      params, optimizer, variables={"carries": [jnp.full((2, 3), step, jnp.float32)]}, averaged=True
  )
  return state.replace(step=jnp.asarray(step, jnp.int32))


def target():
  everywhere = sharding.replicated(sharding.make_mesh())
  shapes = jax.eval_shape(make_state)
  return target_of(shapes, jax.tree.map(lambda _: everywhere, shapes))


def assert_same_bits(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
    assert (x.dtype, x.shape) == (y.dtype, y.shape)
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def save(directory, steps, **options):
  """Saves a state a step; `steps` is {step: validation loss or None}."""
  with Checkpoints(directory, **options) as checkpoints:
    for step, loss in steps.items():
      checkpoints.save(step, make_state(step), None if loss is None else {"loss": loss})
    checkpoints.wait()
    return checkpoints.steps, checkpoints.best


def restore(directory, **options):
  """(state, the lines that were said)."""
  said = []
  with Checkpoints(directory, warn=said.append, **options) as checkpoints:
    return checkpoints.restore_latest(target()), said


def files_of_a_checkpoint(directory, step):
  folder = pathlib.Path(directory) / str(step)
  return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def two_saved(tmp_path_factory):
  """A folder with the checkpoints 1 (the best) and 2, to be copied."""
  folder = tmp_path_factory.mktemp("two")
  save(folder / "checkpoints", {1: 1.0, 2: 2.0})
  return folder


def test_a_state_comes_back_bit_for_bit(tmp_path):
  save(tmp_path / "checkpoints", {7: None})
  state, said = restore(tmp_path / "checkpoints")
  assert not said
  assert_same_bits(state, make_state(7))
  assert state.step.sharding.mesh.axis_names == ("data", "fsdp")


def test_one_checkpoint_as_nested_dicts_has_the_same_values(two_saved):
  with Checkpoints(two_saved / "checkpoints", read_only=True) as checkpoints:
    tree = checkpoints.restore(1)
  state = make_state(1)
  assert np.asarray(tree["ema"]["kernel"]).tobytes() == np.asarray(state.ema["kernel"]).tobytes()
  bias = tree["params"]["layers"][0]["bias"]
  assert np.asarray(bias).tobytes() == np.asarray(state.params["layers"][0]["bias"]).tobytes()


def test_an_empty_folder_gives_none(tmp_path):
  assert restore(tmp_path / "checkpoints") == (None, [])


def test_what_is_saved_is_the_moment_of_the_call(tmp_path):
  # The loop donates the state to the next steps while the files are still being written.
  increase = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
  with Checkpoints(tmp_path / "checkpoints") as checkpoints:
    state = {"x": jnp.zeros(200_000)}
    checkpoints.save(0, state)
    for _ in range(3):
      state = increase(state)
    checkpoints.wait()
    assert not np.asarray(checkpoints.restore(0)["x"]).any()


@pytest.mark.parametrize(
    "keep, losses, expected, best",
    [
        (2, {1: 3.0, 2: 1.0, 3: 2.0, 4: 2.5, 5: None}, [2, 4, 5], 2),
        (1, {1: 3.0, 2: 2.0, 3: 1.0}, [3], 3),
        (3, {1: None, 2: None, 3: None, 4: None}, [2, 3, 4], None),
        (2, {1: 1.0, 2: None, 3: None, 4: None}, [1, 3, 4], 1),
    ],
)
def test_the_latest_few_and_the_best_stay(tmp_path, keep, losses, expected, best):
  assert save(tmp_path / "checkpoints", losses, keep=keep) == (expected, best)
  folders = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
  assert folders == expected
  # The record of the files' checksums goes with a checkpoint.
  assert sorted(int(p.stem) for p in (tmp_path / "checksums").iterdir()) == expected


def test_which_stay_does_not_depend_on_a_restart(tmp_path):
  losses = {1: 3.0, 2: 1.0, 3: 2.0, 4: 2.5, 5: None}
  for step, loss in losses.items():
    result = save(tmp_path / "checkpoints", {step: loss})
  assert result == ([2, 4, 5], 2)


def empty(path):
  path.write_bytes(b"")


def truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path):
  path.unlink()


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 0x10
  path.write_bytes(bytes(content))


DAMAGES = [empty, truncate, remove, flip]


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "no_record"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_any_damaged_file_costs_one_checkpoint_at_most(two_saved, tmp_path, damage, recorded):
  """A kill between a save and the record of its checksums leaves a checkpoint without one."""
  names = [
      path.relative_to(two_saved) for path in files_of_a_checkpoint(two_saved / "checkpoints", 2)
  ]
  assert len(names) > 5
  for i, name in enumerate(names):
    folder = tmp_path / str(i)
    shutil.copytree(two_saved, folder)
    if not recorded:
      (folder / "checksums" / "2.json").unlink()
    damage(folder / name)
    damaged = (folder / name).read_bytes() if (folder / name).exists() else None
    state, said = restore(folder / "checkpoints")
    if not said:
      assert not recorded, name
      # The folder's own files can miss what it does not need, but never change a value.
      assert_same_bits(state, make_state(int(state.step)))
      continue
    assert len(said) == 1 and "\n" not in said[0], (name, said)
    assert "checkpoint 2 is damaged" in said[0] and "the one before" in said[0]
    assert_same_bits(state, make_state(1))
    # Moved aside as it is: nothing is deleted, and its step can be saved again.
    aside = folder / "damaged-2" / pathlib.Path(*name.parts[2:])
    assert (aside.read_bytes() if aside.exists() else None) == damaged
    assert len(files_of_a_checkpoint(folder, "damaged-2")) == len(names) - (damaged is None)
    if i == 0:
      assert save(folder / "checkpoints", {2: 0.5}) == ([1, 2], 2)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_of_checksums_loses_no_run(two_saved, tmp_path, damage):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  damage(folder / "checksums" / "2.json")
  state, said = restore(folder / "checkpoints")
  assert int(state.step) == (1 if said else 2)
  assert_same_bits(state, make_state(int(state.step)))


def test_a_record_that_is_not_text_counts_as_none(two_saved, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  (folder / "checksums" / "2.json").write_bytes(b"\xff\xfe\x00[")
  state, said = restore(folder / "checkpoints")
  assert not said
  assert_same_bits(state, make_state(2))


def test_a_checkpoint_is_not_judged_by_the_record_of_one_before_it(
    two_saved, tmp_path, monkeypatch
):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  shutil.rmtree(folder / "checkpoints" / "2")
  # A kill between the save and its record.
  monkeypatch.setattr(checksums, "write", lambda *_: None)
  save(folder / "checkpoints", {2: 2.0})
  state, said = restore(folder / "checkpoints")
  assert not said and int(state.step) == 2


def test_all_damaged_is_a_user_error_and_nothing_is_deleted(two_saved, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  for step in (1, 2):
    empty(folder / "checkpoints" / str(step) / "state" / "manifest.ocdbt")
  said = []
  with Checkpoints(folder / "checkpoints", warn=said.append) as checkpoints:
    with pytest.raises(UserError, match="no checkpoint .* can be read.*--workdir"):
      checkpoints.restore_latest(target())
  assert ["checkpoint 2" in said[0], "none is left" in said[1]] == [True, True]
  for step in (1, 2):
    assert len(files_of_a_checkpoint(folder, f"damaged-{step}")) > 5


def test_reading_one_damaged_checkpoint_is_a_user_error_and_moves_nothing(two_saved, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  empty(folder / "checkpoints" / "2" / "state" / "manifest.ocdbt")
  with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
    with pytest.raises(UserError, match="checkpoint 2 .* is damaged"):
      checkpoints.restore(2)
  assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "checksums"]


def test_reading_a_changed_file_is_a_user_error_or_exact(two_saved, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  names = files_of_a_checkpoint(folder / "checkpoints", 2)
  for path in names:
    content = path.read_bytes()
    flip(path)
    try:
      with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        tree = checkpoints.restore(2)
    except UserError:
      pass
    else:
      state = make_state(2)
      for name in ("params", "variables", "ema"):
        assert_same_bits(tree[name], getattr(state, name))
    path.write_bytes(content)


@pytest.mark.parametrize("read_only", [True, False])
def test_only_a_writer_removes_the_folder_of_an_unfinished_save(two_saved, tmp_path, read_only):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  unfinished = folder / "checkpoints" / "3.orbax-checkpoint-tmp"  # As a killed save leaves it.
  (unfinished / "state.orbax-checkpoint-tmp").mkdir(parents=True)
  (unfinished / "state.orbax-checkpoint-tmp" / "_sharding").write_text("{}")
  with Checkpoints(folder / "checkpoints", read_only=read_only) as checkpoints:
    assert checkpoints.steps == [1, 2]
    if read_only:
      kernel = checkpoints.restore(2)["params"]["kernel"]
      assert np.asarray(kernel).tobytes() == np.asarray(make_state(2).params["kernel"]).tobytes()
      assert unfinished.exists()
    else:  # It is removed in the background, before the next save.
      checkpoints.save(3, make_state(3))
      checkpoints.wait()
      assert checkpoints.steps == [1, 2, 3]
      assert not unfinished.exists()
