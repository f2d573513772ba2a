"""Checkpoints: exact, rotated, and robust to any corrupted file."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlx.errors import UserError
from dlx.runs import record
from dlx.runs.checkpoints import Checkpoints, target_of
from dlx.training import sharding
from dlx.training import state as states

# The garbage collector warns about the failed reads of Orbax.
pytestmark = pytest.mark.filterwarnings("ignore")


def make_state(step=0):
  """A State with nan, denormal and bfloat16 values, which differ for each step."""
  rng = np.random.default_rng(step)
  params = {
      "kernel": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32),
      "layers": [{"bias": jnp.asarray([np.nan, -0.0, 1e-45, np.inf], jnp.float32)}],
      "half": jnp.asarray(rng.normal(size=5), jnp.bfloat16),
      "ids": jnp.asarray(rng.integers(0, 99, 7), jnp.int32),
  }
  variables = {"params": params, "carries": [jnp.full((2, 3), step, jnp.float32)]}
  state = states.create(variables, optax.adamw(1e-3), averaged=True)
  return state.replace(step=jnp.asarray(step, jnp.int32))


def target():
  replicated = sharding.replicated(sharding.make_mesh())
  shapes = jax.eval_shape(make_state)
  return target_of(shapes, jax.tree.map(lambda _: replicated, shapes))


def assert_same_bits(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
    assert (x.dtype, x.shape) == (y.dtype, y.shape)
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def save(directory, steps, **options):
  """Saves one state per step; `steps` is {step: validation loss or None}."""
  with Checkpoints(directory, **options) as checkpoints:
    for step, loss in steps.items():
      checkpoints.save(step, make_state(step), None if loss is None else {"loss": loss})
    checkpoints.wait()
    return checkpoints.steps, checkpoints.best


def restore(directory, **options):
  """(state, the warnings)."""
  warnings = []
  with Checkpoints(directory, warn=warnings.append, **options) as checkpoints:
    return checkpoints.restore_latest(target()), warnings


def files_of_a_checkpoint(directory, step):
  folder = pathlib.Path(directory) / str(step)
  return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def two_saved(tmp_path_factory):
  """A folder with the checkpoints 1 (the best) and 2; tests copy it."""
  folder = tmp_path_factory.mktemp("two")
  save(folder / "checkpoints", {1: 1.0, 2: 2.0})
  return folder


def test_a_state_is_restored_bit_for_bit(tmp_path):
  save(tmp_path / "checkpoints", {7: None})
  state, warnings = restore(tmp_path / "checkpoints")
  assert not warnings
  assert_same_bits(state, make_state(7))
  assert state.step.sharding.mesh.axis_names == ("data", "fsdp")


def test_a_checkpoint_can_be_read_as_nested_dicts(two_saved):
  with Checkpoints(two_saved / "checkpoints", read_only=True) as checkpoints:
    tree = checkpoints.restore(1)
  state = make_state(1)
  assert np.asarray(tree["ema"]["kernel"]).tobytes() == np.asarray(state.ema["kernel"]).tobytes()
  bias = tree["params"]["layers"][0]["bias"]
  assert np.asarray(bias).tobytes() == np.asarray(state.params["layers"][0]["bias"]).tobytes()


def test_an_empty_folder_has_no_checkpoint(tmp_path):
  assert restore(tmp_path / "checkpoints") == (None, [])


def test_a_save_is_of_the_values_at_the_call(tmp_path):
  # The loop donates the state to the next steps while the files are being written.
  increase = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
  with Checkpoints(tmp_path / "checkpoints") as checkpoints:
    state = {"x": jnp.zeros(200_000)}
    checkpoints.save(0, state)
    for _ in range(3):
      state = increase(state)
    checkpoints.wait()
    assert not np.asarray(checkpoints.restore(0)["x"]).any()


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "max_to_keep, losses, expected, best",
    [
        (2, {1: 3.0, 2: 1.0, 3: 2.0, 4: 2.5, 5: None}, [2, 4, 5], 2),
        (1, {1: 3.0, 2: 2.0, 3: 1.0}, [3], 3),
        (3, {1: None, 2: None, 3: None, 4: None}, [2, 3, 4], None),
        (2, {1: 1.0, 2: None, 3: None, 4: None}, [1, 3, 4], 1),
        (1, {1: 0.5, 2: np.nan, 3: 0.7}, [1, 3], 1),  # nan is not the best,
        (1, {1: np.nan, 2: 0.5, 3: np.nan}, [2, 3], 2),
        (1, {1: np.nan, 2: np.inf, 3: np.nan}, [3], None),  # nor is anything infinite.
    ],
)
def test_the_latest_few_and_the_best_are_kept(tmp_path, max_to_keep, losses, expected, best):
  assert save(tmp_path / "checkpoints", losses, max_to_keep=max_to_keep) == (expected, best)
  folders = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
  assert folders == expected
  # A deleted checkpoint leaves the record, too.
  assert sorted(map(int, record.load(tmp_path)["checkpoints"])) == expected
  assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "record.json"]


def test_rotation_does_not_depend_on_restarts(tmp_path):
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


CORRUPTIONS = [empty, truncate, remove, flip]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_any_corrupted_file_loses_at_most_one_checkpoint(two_saved, tmp_path, corrupt):
  names = [
      path.relative_to(two_saved) for path in files_of_a_checkpoint(two_saved / "checkpoints", 2)
  ]
  assert len(names) > 5
  for i, name in enumerate(names):
    folder = tmp_path / str(i)
    shutil.copytree(two_saved, folder)
    corrupt(folder / name)
    corrupted = (folder / name).read_bytes() if (folder / name).exists() else None
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
      with pytest.raises(UserError, match="checkpoint 2 .* is corrupted") as refused:
        checkpoints.restore(2)
    assert "\n" not in str(refused.value)
    state, warnings = restore(folder / "checkpoints")
    assert len(warnings) == 1 and "\n" not in warnings[0], (name, warnings)
    assert "checkpoint 2 is corrupted" in warnings[0] and "the previous one" in warnings[0]
    assert_same_bits(state, make_state(1))
    # It is quarantined as it is: nothing is deleted, and its step can be saved again.
    moved = folder / "corrupted-2" / pathlib.Path(*name.parts[2:])
    assert (moved.read_bytes() if moved.exists() else None) == corrupted
    assert len(files_of_a_checkpoint(folder, "corrupted-2")) == len(names) - (corrupted is None)
    if i == 0:
      assert save(folder / "checkpoints", {2: 0.5}) == ([1, 2], 2)


def test_a_checkpoint_that_is_deleted_by_hand_is_reported(two_saved, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  shutil.rmtree(folder / "checkpoints" / "2")
  state, warnings = restore(folder / "checkpoints")
  assert len(warnings) == 1 and "checkpoint 2 is corrupted" in warnings[0]
  assert "missing" in warnings[0]
  assert_same_bits(state, make_state(1))


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
@pytest.mark.parametrize("read_only", [True, False])
def test_a_corrupted_record_is_a_user_error_and_changes_nothing(
    two_saved, tmp_path, corrupt, read_only
):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  corrupt(folder / "record.json")
  before = sorted(folder.rglob("*"))
  with pytest.raises(UserError, match="record.json is (missing|corrupted).*--override") as refused:
    Checkpoints(folder / "checkpoints", read_only=read_only)
  assert "\n" not in str(refused.value) and sorted(folder.rglob("*")) == before
  record.rebuild(folder, [])
  state, warnings = restore(folder / "checkpoints")
  assert not warnings
  assert_same_bits(state, make_state(2))
  with Checkpoints(folder / "checkpoints") as checkpoints:
    assert checkpoints.best == 1


def test_a_kill_between_a_save_and_its_record_loses_that_save_only(
    two_saved, tmp_path, monkeypatch
):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  with monkeypatch.context() as patched:
    patched.setattr(Checkpoints, "_record", lambda self: None)
    save(folder / "checkpoints", {3: 2.0})
  assert (folder / "checkpoints" / "3").exists()
  state, warnings = restore(folder / "checkpoints")
  assert not warnings
  assert_same_bits(state, make_state(2))
  assert len(files_of_a_checkpoint(folder, "unrecorded-3")) > 5  # Nothing is deleted.
  assert save(folder / "checkpoints", {3: 2.0}) == ([1, 2, 3], 1)


def test_a_kill_while_a_checkpoint_is_deleted_leaves_nothing(two_saved, tmp_path, monkeypatch):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  with monkeypatch.context() as patched:
    patched.setattr(shutil, "rmtree", lambda *_, **__: None)
    assert save(folder / "checkpoints", {3: 2.0, 4: 2.0})[0] == [1, 3, 4]
  assert (folder / "removed-2").exists()
  state, warnings = restore(folder / "checkpoints")
  assert not warnings and int(state.step) == 4
  names = sorted(path.name for path in folder.iterdir())
  assert names == ["checkpoints", "record.json"]


def test_if_all_are_corrupted_it_is_a_user_error_and_nothing_is_deleted(two_saved, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  for step in (1, 2):
    empty(folder / "checkpoints" / str(step) / "state" / "manifest.ocdbt")
  warnings = []
  with Checkpoints(folder / "checkpoints", warn=warnings.append) as checkpoints:
    with pytest.raises(UserError, match="no checkpoint .* can be read.*another workdir"):
      checkpoints.restore_latest(target())
  assert "checkpoint 2" in warnings[0] and "no other is left" in warnings[1]
  for step in (1, 2):
    assert len(files_of_a_checkpoint(folder, f"corrupted-{step}")) > 5


def test_reading_a_corrupted_checkpoint_is_a_user_error_and_moves_nothing(two_saved, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  empty(folder / "checkpoints" / "2" / "state" / "manifest.ocdbt")
  with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
    with pytest.raises(UserError, match="checkpoint 2 .* is corrupted"):
      checkpoints.restore(2)
  names = sorted(path.name for path in folder.iterdir())
  assert names == ["checkpoints", "record.json"]


@pytest.mark.parametrize("read_only", [True, False])
def test_only_a_writer_removes_unfinished_saves(two_saved, tmp_path, read_only):
  folder = tmp_path / "run"
  shutil.copytree(two_saved, folder)
  unfinished = folder / "checkpoints" / "3.orbax-checkpoint-tmp"  # As a killed process leaves it.
  (unfinished / "state.orbax-checkpoint-tmp").mkdir(parents=True)
  (unfinished / "state.orbax-checkpoint-tmp" / "_sharding").write_text("{}")
  with Checkpoints(folder / "checkpoints", read_only=read_only) as checkpoints:
    assert checkpoints.steps == [1, 2]
    if read_only:
      kernel = checkpoints.restore(2)["params"]["kernel"]
      assert np.asarray(kernel).tobytes() == np.asarray(make_state(2).params["kernel"]).tobytes()
      assert unfinished.exists()
    else:  # Orbax removes it in the background, before the next save.
      checkpoints.save(3, make_state(3))
      checkpoints.wait()
      assert checkpoints.steps == [1, 2, 3]
      assert not unfinished.exists()



def test_a_lost_record_is_rebuilt_with_metrics_that_are_not_finite(tmp_path):
  save(tmp_path / "checkpoints", {1: 1.0, 2: np.nan})
  (tmp_path / "record.json").unlink()
  record.rebuild(tmp_path, [])
  with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
    assert (checkpoints.steps, checkpoints.best) == ([1, 2], 1)
