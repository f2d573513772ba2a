"""The doctor passes on a working machine and reports a faulty one in one line."""

import json
import os
import subprocess
import sys
import time

import jax
import pytest

from dlx import doctor
from dlx.errors import UserError


def _corrupt(monkeypatch, name, wrong):
  compiled, reference, shape = doctor.CHECKS[name]
  monkeypatch.setitem(doctor.CHECKS, name, (lambda x: wrong(compiled(x)), reference, shape))


def _run(**environment):
  return subprocess.run(
      [sys.executable, "-m", "dlx.doctor"],
      env={**os.environ, **environment},
      capture_output=True,
      text=True,
  )


def test_this_machine_passes_within_a_second():
  doctor.check()
  start = time.perf_counter()
  doctor.check()
  assert time.perf_counter() - start < 1


@pytest.mark.parametrize("name", doctor.CHECKS)
def test_one_wrong_number_is_reported_in_one_line(monkeypatch, capsys, name):
  _corrupt(monkeypatch, name, lambda y: y.at[(3,) + (0,) * (y.ndim - 1)].add(0.01 * y.max()))
  with pytest.raises(UserError, match=f"jax {jax.__version__} computes a wrong {name}"):
    doctor.check()
  assert doctor.main() == 2
  error = capsys.readouterr().err
  assert error.count("\n") == 1
  assert 'pip install "jax>=0.10.1,!=0.10.2,!=0.11.0,!=0.11.1"' in error


def test_nan_is_reported(monkeypatch):
  _corrupt(monkeypatch, "recurrence", lambda y: y.at[0].set(float("nan")))
  with pytest.raises(UserError, match="the error is nan"):
    doctor.check()


def test_a_missing_package_is_named(monkeypatch):
  monkeypatch.setattr(doctor, "PACKAGES", ("jax", "no-such-package"))
  with pytest.raises(UserError, match="no-such-package is not installed"):
    doctor.check()


def test_the_environment_is_json():
  machine = json.loads(json.dumps(doctor.environment()))
  assert machine["versions"]["jax"] == jax.__version__
  assert machine["devices"]["count"] == jax.device_count()
  assert machine["cores"] >= 1


def test_the_command_prints_versions_devices_and_checks():
  done = _run()
  assert done.returncode == 0, done.stderr
  assert f"jax              {jax.__version__}" in done.stdout
  assert "devices" in done.stdout and "cores" in done.stdout
  assert all(name in done.stdout for name in doctor.CHECKS)


def test_a_machine_without_a_device_is_reported_in_one_line():
  done = _run(JAX_PLATFORMS="nonesuch")
  assert done.returncode == 2
  assert done.stderr.strip().splitlines()[-1].count("finds no device") == 1
  assert "Traceback" not in done.stderr
