"""Shared fixtures: quick compilation, float64, eight virtual devices, programs in forks."""

import gc
import importlib
import os
import pathlib
import subprocess
import sys
import threading
import zlib

import jax
import pytest

from dlx import presets, settings

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # For tests/programs.py.

import programs as programs_lib  # noqa: E402

# Thousands of small programs, each run once or twice: compiling is nearly all of the time. XLA's
# older code generator for CPU compiles faster than the default one, and one part of a program
# faster than many.
QUICK = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
NUMERIC = ("layers", "gradients", "models", "training", "worked")  # Folders.
COMPILED_AS_USERS_DO = ("training", "worked", "tests")  # Folders.


def pytest_configure(config):
  """In the short suite, compiles with QUICK if this XLA still has its flags.

  So do programs in forks. The full suite compiles as users do.
  """
  worker = hasattr(config, "workerinput")  # It has the environment of the first process.
  if config.option.markexpr == "not full":
    reuse_contexts()
  if worker or config.option.markexpr != "not full" or "XLA_FLAGS" in os.environ:
    return
  # XLA ends a process that names a flag it does not know.
  program = [sys.executable, "-c", "import jax; jax.devices()"]
  environment = {**os.environ, "XLA_FLAGS": QUICK}
  if not subprocess.run(program, env=environment, capture_output=True).returncode:
    os.environ["XLA_FLAGS"] = QUICK


def reuse_contexts():
  """Lowers a hundred programs in one MLIR context, as JAX itself does ten since version 0.12.

  To make a context takes a sixth of the time of compiling one operation.
  """
  from jax._src.interpreters import mlir  # Of no public module.

  if jax.__version_info__ >= (0, 12) or not hasattr(mlir, "make_ir_context"):
    return
  make, kept = mlir.make_ir_context, threading.local()

  def reused():
    uses = getattr(kept, "uses", 0)
    if uses % 100 == 0:
      kept.context = make()
    kept.uses = uses + 1
    return kept.context

  mlir.make_ir_context = reused


def pytest_collection_modifyitems(config, items):
  """In the short suite, keeps n cases of a test that is marked `sampled(n)`, spread evenly.

  Of the cases of any other test in NUMERIC it keeps a third, beginning with the first, second or
  third, which depends on the name of the test: so the cases that many tests share, such as the
  implementations of attention, are all met. Of the eager cases of a file it keeps an eighth: each
  operation is compiled by itself, so that they take seven times as long as the jitted ones.
  """
  if config.option.markexpr != "not full":
    return
  cases, eager = {}, {}
  for item in items:
    if item.get_closest_marker("full"):
      continue
    if "eager" in item.name.partition("[")[2] and not item.get_closest_marker("sampled"):
      eager.setdefault(item.path, []).append(item)
    elif item.get_closest_marker("sampled") or item.path.parent.name in NUMERIC:
      cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
  left_out = {item for group in eager.values() for i, item in enumerate(group) if i % 8}
  for group in cases.values():
    left_out |= {item for i, item in enumerate(group) if i not in kept_cases(group)}
  config.hook.pytest_deselected(items=[item for item in items if item in left_out])
  items[:] = [item for item in items if item not in left_out]


def kept_cases(group):
  """The indices of the cases of a test that the short suite runs."""
  last, mark = len(group) - 1, group[0].get_closest_marker("sampled")
  if not mark:
    return range(zlib.crc32(group[0].originalname.encode()) % min(3, len(group)), len(group), 3)
  n = mark.args[0]
  return {round(last * i / max(1, n - 1)) for i in range(n)}  # The first and the last, too.


def pytest_collection_finish(session):
  """Traces leave many short-lived objects: to collect rarely, and those alone, saves a tenth."""
  gc.collect()
  gc.freeze()
  gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True)
def quick_compilation(request):
  """Leaves out LLVM's costly passes in most folders, but not in the full suite.

  XLA's own passes stay. Programs in forks leave them out too; tests of training and of worked
  problems compile as users do.
  """
  users = request.path.parent.name in COMPILED_AS_USERS_DO
  quick = not users and not request.node.get_closest_marker("full")
  jax.config.update("jax_disable_most_optimizations", quick)
  yield
  jax.config.update("jax_disable_most_optimizations", False)


def quick_flags() -> str:
  """QUICK in the short suite, of an XLA that has these flags."""
  return QUICK if os.environ.get("XLA_FLAGS") == QUICK else ""


@pytest.fixture
def x64():
  """Runs the test in float64."""
  with jax.enable_x64(True):
    yield


@pytest.fixture
def on_eight_devices():
  """`run(program, *arguments)`: the lines that a Python program prints in a process of its own.

  There the CPU stands for eight devices, and floats are float64.
  """

  def run(program: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).resolve().parents[1],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count=8 {quick_flags()}",
            "JAX_ENABLE_X64": "1",
            # LLVM's costly passes change neither values nor what is sent.
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()

  return run


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
  """Runs programs where no TFDS data set is prepared; see tests/programs.py."""
  folder = tmp_path_factory.mktemp("programs")
  running = programs_lib.Programs(
      folder, tmp_path_factory.mktemp("no_data_sets"), xla_flags=quick_flags()
  )
  yield running
  running.close()


@pytest.fixture(scope="session")
def trained(programs, tmp_path_factory):
  """`trained(preset, *flags, float64=False)`: the folder of a run; tests do not change it.

  "EXPERIMENT:PRESET" is trained once, for all worker processes of pytest, after the runs that
  it starts from (settings.run).
  """
  root = tmp_path_factory.getbasetemp()
  root = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "trained"
  root.mkdir(exist_ok=True)

  def train(preset: str, *changes: str, float64: bool = False) -> pathlib.Path:
    name = "-".join([*preset.split(":"), *changes, *(["float64"] if float64 else [])])
    workdir = root / name.replace("--config.", "").replace("/", "_")
    done = workdir.with_name(workdir.name + ".done")
    flags = [*preset_flags(preset, train), *changes]
    with programs_lib.locked(workdir.with_name(workdir.name + ".lock")):
      if not done.exists():
        finished = programs("launch.train", *flags, f"--workdir={workdir}", float64=float64)
        assert finished.code == 0, finished.err[-3000:]
        done.write_text(contents(workdir))
      assert done.read_text() == contents(workdir), f"a test changed {workdir}"
    return workdir

  return train


@pytest.fixture(scope="session")
def flags_of(trained):
  """`flags_of(preset)`: the --config flags of "EXPERIMENT:PRESET", with the runs it requires."""
  return lambda preset: preset_flags(preset, trained)


@pytest.fixture(scope="session")
def in_float64(trained, flags_of):
  """`in_float64(preset)`: (the flags of some steps in float64, these steps on one device)."""

  def steps(preset: str) -> tuple[list[str], pathlib.Path]:
    changes = ["--config.training.total_steps=12"]
    if "model.dtype" in presets.flatten(config_of(preset)):
      changes.append("--config.model.dtype=float64")
    if preset == "experiments.masked_lm:debug":  # Other presets have batches of two lengths.
      changes.append("--config.data.num_lengths=1")
    return [*flags_of(preset), *changes], trained(preset, *changes, float64=True)

  return steps


def contents(folder: pathlib.Path) -> str:
  """A line for each file with its size."""
  files = sorted(path for path in folder.rglob("*") if path.is_file())
  return "".join(f"{path.relative_to(folder)} {path.stat().st_size}\n" for path in files)


def config_of(preset: str):
  """The config of "experiments.NAME:PRESET"."""
  name, _, preset = preset.partition(":")
  return importlib.import_module(f"{name}.config").get_config(preset)


def preset_flags(preset: str, train) -> list[str]:
  """The flags of "experiments.NAME:PRESET", with runs that it requires."""
  config, (name, _, preset) = config_of(preset), preset.partition(":")
  module = importlib.import_module(f"{name}.config")
  flags = [f"--config={name.replace('.', '/')}/config.py:{preset}"]
  for key, setting in module.SETTINGS.items():
    if setting.example and presets.flatten(config).get(key) == settings.REQUIRED:
      runs = ",".join(str(train(example)) for example in setting.example.split(","))
      flags.append(f"--config.{key}={runs}")
  return flags
