"""Every small file of a run, damaged in every way: one line that names it, or no effect at all.

The arrays of checkpoints are in tests/runs/test_checkpoints.py.
"""

import json
import os
import shutil

import jax
import numpy as np
import pytest

import dlx
from dlx.errors import UserError
from dlx.reports import comparison
from dlx.runs import export, record

DEEP = b"[" * 100_000
DAMAGES = {
    "deleted": None, "emptied": lambda x: b"", "half": lambda x: x[: len(x) // 2],
    "flipped": lambda x: x[: len(x) // 3] + bytes([x[len(x) // 3] ^ 1]) + x[len(x) // 3 + 1 :]
    if x else x,
    "zeros": lambda x: bytes(len(x)), "random": lambda x: np.random.default_rng(0).bytes(len(x)),
    "list": lambda x: b"[]", "dict": lambda x: b"{}", "null": lambda x: b"null",
    "deep": lambda x: DEEP, "latin-1": lambda x: b'{"\xe9": 1}', "folder": None, "link": None,
}  # fmt: skip
FILES = (
    "config.json", "run.json", "data.json", "assets.json", "assets.safetensors", "record.json",
    "metrics.jsonl", "validation.json", "lock",
)  # fmt: skip
EXPORTED = ("config.json", "data.json", "assets.json", "model.safetensors", "record.json")


def damage(folder, name, how):
  path = folder / name
  content = path.read_bytes()
  path.unlink()
  if how == "folder":
    path.mkdir()
  elif how == "link":
    outside = folder.with_name("outside")
    outside.write_bytes(content)
    path.symlink_to(outside)
  elif DAMAGES[how]:
    path.write_bytes(DAMAGES[how](content))


def opened(folder):
  """All that evaluation, prediction and sampling use."""
  run = dlx.load_run(folder)
  leaves = [np.asarray(x).tobytes() for x in jax.tree.leaves(run.variables)]
  assert run.task
  return str(run.config), run.step, leaves, str(run.assets)


def exported(folder):
  out = folder.with_name("exported")
  try:
    export.export(dlx.load_run(folder), out)
    return {path.name: path.read_bytes() for path in out.iterdir()}
  finally:
    if out.exists():
      assert (out / "model.safetensors").exists()  # Whole or not at all.
      shutil.rmtree(out)


def compared(folder):
  (run,) = comparison.read([folder])
  return run.config, run.lines


USES = {"opened": opened, "exported": exported, "compared": compared}


def refused_or_equal(use, folder, expected, name) -> str:
  before = sorted(map(str, folder.rglob("*")))
  try:
    found = use(folder)
  except UserError as e:
    assert "\n" not in str(e) and len(str(e)) < 500
    assert name in str(e) or "is not a run" in str(e), e
    assert sorted(map(str, folder.rglob("*"))) == before
    return "refused"
  assert found == expected
  return "equal"


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("use", USES)
def test_a_damaged_file_is_named_or_not_needed(trained, tmp_path, name, use):
  expected = USES[use](shutil.copytree(trained, tmp_path / "whole"))
  outcomes = {}
  for how in DAMAGES:
    folder = shutil.copytree(trained, tmp_path / how)
    damage(folder, name, how)
    outcomes[how] = refused_or_equal(USES[use], folder, expected, name)
  needed = {
      "opened": {"config.json", "data.json", "assets.json", "assets.safetensors", "record.json"},
      "exported": {"config.json", "data.json", "assets.json", "assets.safetensors", "record.json"},
      "compared": {"config.json", "record.json", "metrics.jsonl"},
  }[use]
  expected_outcomes = {"refused" if name in needed else "equal"}
  if (use, name) == ("compared", "record.json"):
    outcomes.pop("deleted")  # Published results have none, which a notice says.
  assert set(outcomes.values()) == expected_outcomes, outcomes


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", FILES)
def test_training_names_a_damaged_file_or_writes_it_anew(
    get_config, trained, tmp_path, name, capsys
):
  for how in ("deleted", "flipped", "deep", "folder", "link"):
    folder = shutil.copytree(trained, tmp_path / how)
    damage(folder, name, how)
    if (name, how) == ("config.json", "deleted"):
      with pytest.raises(UserError, match="neither empty nor a run"):
        dlx.train(get_config(), folder)
      continue
    try:
      dlx.train(get_config(), folder)
    except UserError as e:
      assert name in str(e) and "\n" not in str(e), e
    else:
      assert name in ("validation.json", "lock"), how
      if name != "lock":
        assert (folder / name).read_bytes() == (trained / name).read_bytes()
    if how == "link":
      outside = (tmp_path / "outside").read_bytes()
      assert outside == (trained / name).read_bytes()


@pytest.mark.parametrize("name", EXPORTED)
def test_a_damaged_file_of_an_export_is_named(trained, tmp_path, name):
  export.export(dlx.load_run(trained), tmp_path / "whole")
  for how in DAMAGES:
    folder = shutil.copytree(tmp_path / "whole", tmp_path / how)
    damage(folder, name, how)
    with pytest.raises(UserError, match=f"{name}|is not a run"):
      opened(folder)


@pytest.mark.parametrize("name", ["config.json", "data.json", "assets.json"])
def test_a_stranger_whose_checksums_fit_gets_one_line(trained, tmp_path, name):
  for how in ("emptied", "half", "list", "dict", "null", "deep", "latin-1"):
    folder = shutil.copytree(trained, tmp_path / how)
    damage(folder, name, how)
    record.rebuild(folder, [n for n in FILES if n.endswith(("json", "safetensors"))])
    for use in (opened, exported):
      if name != "config.json" and how == "dict":  # This experiment needs neither to be opened.
        continue
      with pytest.raises(UserError) as refused:
        use(folder)
      assert "\n" not in str(refused.value), how


@pytest.mark.parametrize("use", [opened, exported])
@pytest.mark.parametrize("changes", [
    None, {"model_type": "bert"}, {"experiment": "linear_regression"}, {"seed": "0"},
    {"training": 3}, {"data": {"batch_size": -1}}, {"more": {"key": 1}},
])  # fmt: skip
def test_a_config_that_is_not_one_of_its_experiment_is_named(trained, tmp_path, use, changes):
  folder = shutil.copytree(trained, tmp_path / "run")
  whole = json.loads((folder / "config.json").read_text())
  is_whole = changes is None or {"model_type", "experiment"} & changes.keys()
  content = (changes or {}) if is_whole else {**whole, **changes}
  (folder / "config.json").write_text(json.dumps(content))
  record.rebuild(folder, ["config.json", "data.json", "assets.json", "assets.safetensors"])
  with pytest.raises(UserError, match="config.json") as refused:
    use(folder)
  assert "\n" not in str(refused.value)


@pytest.mark.parametrize("experiment", ["..x", ".x", "", None, 3, "os", "runs.payload", "a b"])
def test_a_config_imports_no_code_beside_the_caller(trained, tmp_path, experiment, monkeypatch):
  folder = shutil.copytree(trained, tmp_path / "run")
  (tmp_path / "runs" / "payload").mkdir(parents=True)
  for name in ("config", "experiment"):
    (tmp_path / "runs" / "payload" / f"{name}.py").write_text("open('RAN', 'w')\n")
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  config = json.loads((folder / "config.json").read_text())
  (folder / "config.json").write_text(json.dumps({**config, "experiment": experiment}))
  record.rebuild(folder, ["config.json", "data.json", "assets.json", "assets.safetensors"])
  with pytest.raises(UserError, match="experiment") as refused:
    dlx.load_run(folder)
  assert "\n" not in str(refused.value) and not os.path.exists("RAN")


@pytest.mark.parametrize("name", ["curves.png", "samples.txt", "timings.jsonl"])
def test_a_link_in_the_folder_is_replaced_and_not_written_through(
    get_config, trained, tmp_path, name
):
  folder, outside = shutil.copytree(trained, tmp_path / "run"), tmp_path / "outside"
  outside.write_bytes((folder / name).read_bytes() if name == "timings.jsonl" else b"mine")
  before = outside.read_bytes()
  (folder / name).unlink()
  (folder / name).symlink_to(outside)
  try:
    dlx.train(get_config(), folder)
  except UserError as e:
    assert f"{name} is a link" in str(e)
  else:
    assert not (folder / name).is_symlink()
  assert outside.read_bytes() == before


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard"])
def test_a_folder_that_is_a_link_is_refused(get_config, trained, tmp_path, name):
  folder = shutil.copytree(trained, tmp_path / "run")
  (folder / name).rename(tmp_path / "outside")
  (folder / name).symlink_to(tmp_path / "outside")
  before = sorted(tmp_path.rglob("*"))
  with pytest.raises(UserError, match=f"{name} is a link"):
    dlx.train(get_config(), folder)
  assert sorted(tmp_path.rglob("*")) == before


def test_a_file_address_does_not_make_a_folder_that_of_a_bucket(trained, tmp_path):
  folder = shutil.copytree(trained, tmp_path / "run")
  (folder / ".address").write_text("gs://elsewhere/run")
  assert opened(folder) == opened(trained)
