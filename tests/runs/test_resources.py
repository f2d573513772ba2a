"""Checkpoints and the system: names of folders, descriptors, threads and memory."""

import gc
import pathlib
import threading

import jax.numpy as jnp
import numpy as np
import pytest

from dlx.runs.checkpoints import Checkpoints


def check_resources(folder, count):
  def used():
    gc.collect()
    descriptors = len(list(pathlib.Path("/proc/self/fd").iterdir()))
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return descriptors, threading.active_count(), pages

  with Checkpoints(folder / "checkpoints") as checkpoints:
    for step in range(count):
      tree = {"x": jnp.full(1000, step), "y": [jnp.zeros(3)]}
      checkpoints.save(step, tree, {"loss": 1.0 / (step + 1)})
      if step == 19:
        checkpoints.wait()
        before = used()
    checkpoints.wait()
    descriptors, threads, pages = used()
  assert descriptors <= before[0] + 5 and threads <= before[1] + 5
  assert pages <= 1.05 * before[2]


on_linux = pytest.mark.skipif(not pathlib.Path("/proc/self/fd").exists(), reason="needs /proc")


@on_linux
def test_saves_leave_no_descriptors_threads_or_memory(tmp_path):
  check_resources(tmp_path, 60)


@on_linux
@pytest.mark.full
def test_three_hundred_saves_leave_no_descriptors_threads_or_memory(tmp_path):
  check_resources(tmp_path, 320)


@pytest.mark.parametrize("name", ["p[ab]", "a*", "what?", "x:y z", "\u5b66\u7fd2"])
def test_any_name_of_a_folder_keeps_its_checkpoints(tmp_path, name):
  folder = tmp_path / name / "run"
  x = jnp.arange(1.0, 4.0)
  for read_only in (False, True):
    with Checkpoints(folder / "checkpoints", read_only=read_only) as checkpoints:
      if not read_only:
        checkpoints.save(1, {"x": x})
        checkpoints.wait()
      assert checkpoints.steps == [1]
      np.testing.assert_array_equal(checkpoints.restore(1)["x"], x)
  assert [path.name for path in tmp_path.iterdir()] == [name]
