"""The programs from training to export, on the debug preset, and what each leaves."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

import dlx
from dlx.data import corpus
from dlx.runs import metric_log

DEBUG = "--config=experiments/gru_lm/config.py:debug"
STEPS, CHARACTERS, WINDOW, LANES = 40, 60_000, 32, 8  # Of the preset, and of the streaming figure.


@pytest.fixture(scope="module")
def run(programs, tmp_path_factory):
  """A trained run: (its folder, what the program printed)."""
  workdir = tmp_path_factory.mktemp("trained") / "deep" / "run"
  finished = programs.fresh("launch.train", DEBUG, f"--workdir={workdir}")
  assert finished.code == 0, finished
  return workdir, finished


@pytest.fixture
def workdir(run, tmp_path):
  """A copy of the trained run, to go on with."""
  return shutil.copytree(run[0], tmp_path / "run")


def loss_figures(out):
  """{"windows": ..., "streaming": ...}, without a temperature, that launch.evaluate printed."""
  lines = [line.rpartition(": ") for line in out.splitlines() if line.startswith("loss")]
  lines = [line for line in lines if "temperature" not in line[0]]
  kinds = ["windows" if "windows" in name else "streaming" for name, _, _ in lines]
  return dict(zip(kinds, [float(value) for _, _, value in lines]))


def test_training_leaves_the_files_of_a_run(run):
  workdir, finished = run
  assert finished.out == f"trained: {workdir}\n"
  for name in ("config.json", "run.json", "metrics.jsonl", "vocabulary.json", "checkpoints"):
    assert (workdir / name).exists(), name
  assert (workdir / "curves.png").read_bytes().startswith(b"\x89PNG")
  assert list((workdir / "tensorboard").glob("events.out.tfevents.*"))
  assert (workdir / "samples.txt").read_text().strip()
  assert not list(workdir.rglob("*.new"))
  config = json.loads((workdir / "config.json").read_text())
  assert config["experiment"] == "experiments.gru_lm" and config["preset"] == "debug"
  (start,) = json.loads((workdir / "run.json").read_text())
  assert start["command"][1:] == [DEBUG, f"--workdir={workdir}"]
  assert start["versions"]["jax"] and start["devices"]["count"] >= 1 and "commit" in start


def test_the_metrics_have_every_call_and_validation_and_the_loss_falls(run):
  lines = metric_log.read(run[0] / "metrics.jsonl")
  assert [line["step"] for line in lines if "loss" in line] == list(range(5, STEPS + 1, 5))
  validation = [line for line in lines if "validation/loss" in line]
  assert [line["step"] for line in validation] == [20, 40]
  assert validation[1]["validation/loss"] < validation[0]["validation/loss"] < np.log(150)
  assert set().union(*lines).isdisjoint({"seconds", "time"})


def test_the_same_command_again_changes_nothing(programs, workdir):
  before = (workdir / "metrics.jsonl").read_bytes()
  steps = sorted(path.name for path in (workdir / "checkpoints").iterdir())
  finished = programs("launch.train", DEBUG, f"--workdir={workdir}")
  assert finished.code == 0
  assert finished.err == f"already trained to step {STEPS}\n"
  assert (workdir / "metrics.jsonl").read_bytes() == before
  assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == steps
  assert len(json.loads((workdir / "run.json").read_text())) == 2


OTHER = ["--config.optimizer.learning_rate=0.001", "--config.model.cell=lstm"]


def test_a_run_of_another_config_is_refused_with_the_keys_that_differ(programs, workdir):
  before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
  finished = programs("launch.train", DEBUG, *OTHER, f"--workdir={workdir}")
  assert finished.code == 2 and finished.err.count("\n") == 1
  assert "optimizer.learning_rate (0.004 -> 0.001)" in finished.err
  assert "model.cell (gru -> lstm)" in finished.err
  assert "data.window" not in finished.err and "--override" in finished.err
  assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before


def test_override_goes_on_with_another_config(programs, workdir):
  finished = programs("launch.train", DEBUG, OTHER[0], "--override", f"--workdir={workdir}")
  assert finished.code == 0, finished
  config = json.loads((workdir / "config.json").read_text())
  assert config["optimizer"]["learning_rate"] == 0.001


def test_more_steps_go_on_from_the_last_checkpoint(programs, workdir):
  before = (workdir / "metrics.jsonl").read_bytes()
  more = f"--config.training.total_steps={STEPS + 10}"
  finished = programs("launch.train", DEBUG, more, f"--workdir={workdir}")
  assert finished.code == 0, finished
  assert finished.err.startswith(f"resuming from step {STEPS}\n")
  after = (workdir / "metrics.jsonl").read_bytes()
  assert after.startswith(before)
  steps = [json.loads(line)["step"] for line in after[len(before) :].splitlines()]
  assert steps == [STEPS + 5, STEPS + 10, STEPS + 10]
  assert dlx.load_run(workdir, checkpoint="latest").step == STEPS + 10


def test_a_text_of_ones_own_is_trained_on_and_sampled(programs, tmp_path):
  # One line without an end, as an editor may leave it.
  (tmp_path / "mine.txt").write_text("∀x: to be or not to be, that is the question. " * 100)
  workdir = tmp_path / "run"
  finished = programs(
      "launch.train", DEBUG, f"--config.data.text={tmp_path}/mine.txt", f"--workdir={workdir}",
      "--config.training.total_steps=10",
  )  # fmt: skip
  assert finished.code == 0, finished
  characters = set("∀x: to be or not to be, that is the question. ")
  assert set(json.loads((workdir / "vocabulary.json").read_text())) == characters
  finished = programs("launch.sample", f"--workdir={workdir}", "--length=30")
  assert finished.code == 0, finished
  assert len(finished.out) == 31 and set(finished.out[:-1]) <= characters


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def scores_in_numpy(run, inputs, targets):
  """Nats per character of (windows, T) ids from zero states, step by step in float64."""
  params = jax_to_numpy(run.params)
  hidden = [np.zeros((len(inputs), layer["hidden"].shape[0])) for layer in params["recurrent"]]
  total = 0.0
  for ids, following in zip(inputs.T, targets.T):
    x = params["embedding"]["embedding"][ids]
    for i, layer in enumerate(params["recurrent"]):
      r, z, n = np.split(x @ layer["input"] + layer["bias"], 3, -1)
      hr, hz, hn = np.split(hidden[i] @ layer["hidden"] + layer["hidden_bias"], 3, -1)
      z = sigmoid(z + hz)
      hidden[i] = (1 - z) * np.tanh(n + sigmoid(r + hr) * hn) + z * hidden[i]
      x = hidden[i] + (x if i else 0)
    logits = x @ params["output"]["kernel"] + params["output"]["bias"]
    log_sum = np.log(np.exp(logits).sum(-1))
    total += (log_sum - logits[np.arange(len(ids)), following]).sum()
  return total / inputs.size


def jax_to_numpy(tree):
  if isinstance(tree, dict):
    return {name: jax_to_numpy(value) for name, value in tree.items()}
  if isinstance(tree, list | tuple):
    return [jax_to_numpy(value) for value in tree]
  return np.asarray(tree, np.float64)


def test_evaluation_prints_what_numpy_computes_from_the_parameters(programs, run):
  opened = dlx.load_run(run[0])
  text = corpus.python_source(CHARACTERS).split("validation+test")
  order = json.loads((run[0] / "vocabulary.json").read_text())
  ids = np.array([order.index(c) for c in text])

  def windows(size, count):
    starts = np.arange(count)[:, None] * size
    places = starts + np.arange(size)
    return ids[places], ids[places + 1]

  inputs, targets = windows(WINDOW, (len(ids) - 1) // WINDOW)
  in_windows = scores_in_numpy(opened, inputs, targets)
  inputs, targets = windows((len(ids) - 1) // LANES, LANES)
  whole = inputs.shape[1] // WINDOW * WINDOW
  streaming = scores_in_numpy(opened, inputs[:, :whole], targets[:, :whole])

  figures = opened.experiment.evaluate(opened, "validation+test")
  np.testing.assert_allclose(figures[f"loss in windows of {WINDOW}"], in_windows, atol=1e-5)
  np.testing.assert_allclose(figures["loss streaming"], streaming, atol=1e-5)
  finished = programs("launch.evaluate", f"--workdir={run[0]}", "--split=validation+test")
  assert finished.code == 0 and finished.err == ""
  assert f"step {opened.step} (best), split validation+test" in finished.out
  assert f"characters: {len(text):,}" in finished.out
  figures = loss_figures(finished.out)
  assert figures["windows"] == pytest.approx(in_windows, abs=6e-5)
  assert figures["streaming"] == pytest.approx(streaming, abs=6e-5)


def test_an_unknown_split_is_refused(programs, run):
  finished = programs("launch.evaluate", f"--workdir={run[0]}", "--split=dev")
  assert finished.code == 2 and finished.err.count("\n") == 1
  assert "'dev' is not one of train, validation, test" in finished.err


@pytest.fixture(scope="module")
def sample(programs, run):
  def draw(*args):
    return programs("launch.sample", f"--workdir={run[0]}", *args)

  return draw


def test_a_sample_is_the_prompt_and_as_many_characters_as_asked_for(sample):
  finished = sample("--prompt=def f(", "--length=300", "--seed=1")
  assert finished.code == 0 and finished.err == ""
  text = finished.out
  assert text.startswith("def f(") and len(text) == len("def f(") + 300 + 1 and text[-1] == "\n"
  assert sample("--prompt=def f(", "--length=300", "--seed=1").out == text
  assert sample("--prompt=def f(", "--length=300", "--seed=2").out != text
  # A shorter one is its beginning.
  assert sample("--prompt=def f(", "--length=7", "--seed=1").out == text[: len("def f(") + 7] + "\n"


def test_temperature_zero_needs_no_seed(sample):
  texts = {sample("--temperature=0", "--length=40", f"--seed={seed}").out for seed in (1, 2)}
  assert len(texts) == 1


def test_a_prompt_with_an_unseen_character_is_refused_with_its_name(sample):
  finished = sample("--prompt=def 猫(", "--length=5")
  assert finished.code == 2 and finished.out == "" and finished.err.count("\n") == 1
  assert "'猫' (U+732B)" in finished.err


@pytest.mark.parametrize(
    "setting", ["temperature=-1", "temperature=nan", "top_p=0", "top_p=1.5", "top_p=nan", "top_k=0"]
)
def test_sampling_refuses_a_value_and_names_its_flag(sample, setting):
  finished = sample(f"--{setting}", "--length=5")
  assert finished.code == 2 and finished.out == "" and finished.err.count("\n") == 1, finished
  assert f"--{setting.partition('=')[0]}" in finished.err


def test_an_export_evaluates_and_samples_as_the_run(programs, run, sample, tmp_path):
  exported = tmp_path / "exported"
  finished = programs("launch.export", f"--workdir={run[0]}", f"--output={exported}")
  assert finished.code == 0 and str(exported / "model.safetensors") in finished.out
  assert not (exported / "checkpoints").exists()
  ours, theirs = (
      programs("launch.evaluate", f"--workdir={folder}", "--split=test").out
      for folder in (run[0], exported)
  )
  assert len(loss_figures(ours)) == 2
  assert ours.splitlines()[1:] == theirs.splitlines()[1:]
  drawn = programs("launch.sample", f"--workdir={exported}", "--length=40").out
  assert drawn == sample("--length=40").out
  finished = programs("launch.export", f"--workdir={run[0]}", f"--output={exported}")
  assert finished.code == 2 and "not an empty folder" in finished.err


def test_the_list_has_every_preset(programs):
  finished = programs("launch.train", "--list")
  assert finished.code == 0 and finished.err == ""
  presets = "quickstart, shakespeare, shakespeare_large, debug"
  assert f"experiments/gru_lm/config.py: {presets}\n" in finished.out


@pytest.mark.parametrize("program", ["train", "evaluate", "sample", "predict", "export"])
def test_help_shows_the_flags(programs, program):
  finished = programs(f"launch.{program}", "--help")
  assert finished.code == 0 and finished.err == ""
  assert f"python -m launch.{program}" in finished.out and "--workdir" in finished.out


def test_help_answers_quickly(programs):
  began = time.monotonic()
  assert programs.fresh("launch.train", "--help").code == 0
  assert time.monotonic() - began < 5


def test_the_package_is_imported_quickly():
  seconds = []
  for _ in range(3):
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import dlx"], check=True)
    seconds.append(time.monotonic() - began)
  assert min(seconds) < 2
