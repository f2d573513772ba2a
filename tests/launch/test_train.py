"""The programs from training to export, on the debug preset of the language model."""

import json
import re
import shutil

import numpy as np
import pytest

import dlx
from dlx.data import corpus
from dlx.runs import metric_log

DEBUG = "--config=experiments/gru_lm/config.py:debug"
STEPS, CHARACTERS, SEQ_LEN, STREAMS = 40, 60_000, 32, 8  # Of the preset; of the stateful loss.


@pytest.fixture(scope="module")
def fresh(programs, tmp_path_factory):
  """A run that a new interpreter trained: (its folder, the program's output)."""
  workdir = tmp_path_factory.mktemp("trained") / "deep" / "run"
  finished = programs.fresh("launch.train", DEBUG, f"--workdir={workdir}")
  assert finished.code == 0, finished
  return workdir, finished


@pytest.fixture(scope="module")
def run(fresh):
  """The folder of that run; tests do not change it."""
  return fresh[0]


@pytest.fixture
def workdir(run, tmp_path):
  """A copy of the run, to be continued."""
  return shutil.copytree(run, tmp_path / "run")


def files(folder):
  return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_training_leaves_the_files_of_a_run(fresh):
  workdir, finished = fresh
  assert finished.out == f"trained: {workdir}\n"
  for name in ("config.json", "data.json", "assets.json", "metrics.jsonl", "validation.json"):
    assert (workdir / name).exists(), name
  assert (workdir / "checkpoints").is_dir()
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
  lines = metric_log.read(run / "metrics.jsonl")
  assert [line["step"] for line in lines if "loss" in line] == list(range(5, STEPS + 1, 5))
  validation = [line for line in lines if "validation/loss" in line]
  assert [line["step"] for line in validation] == [20, 40]
  assert validation[1]["validation/loss"] < validation[0]["validation/loss"] < np.log(150)
  assert set().union(*lines).isdisjoint({"seconds", "time"})


def test_the_same_command_again_changes_nothing(programs, workdir):
  before = files(workdir)
  finished = programs("launch.train", DEBUG, f"--workdir={workdir}")
  assert finished.code == 0 and finished.err == f"already trained to step {STEPS}\n"
  for name in ("metrics.jsonl", "config.json", "validation.json", "samples.txt", "assets.json"):
    assert (workdir / name).read_bytes() == before[workdir / name], name
  checkpoints = {p for p in before if "checkpoints" in p.parts}
  assert {p for p in files(workdir) if "checkpoints" in p.parts} == checkpoints
  assert len(json.loads((workdir / "run.json").read_text())) == 2


OTHER = ["--config.optimizer.learning_rate=0.001", "--config.model.cell=lstm"]


def test_a_run_of_another_config_is_refused_with_the_keys_that_differ(programs, workdir):
  before = files(workdir)
  finished = programs("launch.train", DEBUG, *OTHER, f"--workdir={workdir}")
  assert finished.code == 2 and finished.err.count("\n") == 1
  assert "optimizer.learning_rate (0.004 -> 0.001)" in finished.err
  assert "model.cell (gru -> lstm)" in finished.err
  assert "data.seq_len" not in finished.err and "--override" in finished.err
  assert files(workdir) == before


@pytest.mark.full
def test_override_continues_with_another_config_and_more_steps(programs, workdir):
  before = (workdir / "metrics.jsonl").read_bytes()
  more = (OTHER[0], f"--config.training.total_steps={STEPS + 10}")
  finished = programs("launch.train", DEBUG, *more, "--override", f"--workdir={workdir}")
  assert finished.code == 0, finished
  assert finished.err.startswith(f"resuming from step {STEPS}\n")
  config = json.loads((workdir / "config.json").read_text())
  assert config["optimizer"]["learning_rate"] == 0.001
  after = (workdir / "metrics.jsonl").read_bytes()
  assert after.startswith(before)
  steps = [json.loads(line)["step"] for line in after[len(before) :].splitlines()]
  assert steps == [STEPS + 5, STEPS + 10, STEPS + 10]
  assert dlx.load_run(workdir, checkpoint="latest").step == STEPS + 10


@pytest.mark.full
def test_the_user_can_train_on_a_text_file_and_sample(programs, tmp_path):
  # One line without a newline at its end, as an editor may leave it.
  (tmp_path / "mine.txt").write_text("∀x: to be or not to be, that is the question. " * 100)
  workdir = tmp_path / "run"
  finished = programs(
      "launch.train", DEBUG, f"--config.data.text={tmp_path}/mine.txt", f"--workdir={workdir}",
      "--config.training.total_steps=10",
  )  # fmt: skip
  assert finished.code == 0, finished
  characters = set("∀x: to be or not to be, that is the question. ")
  assert set(json.loads((workdir / "assets.json").read_text())["characters"]) == characters
  finished = programs("launch.sample", f"--workdir={workdir}", "--length=30")
  assert finished.code == 0, finished
  assert len(finished.out) == 31 and set(finished.out[:-1]) <= characters


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def loss_in_numpy(run, inputs, targets):
  """Nats per character of (B, T) ids from zero states, step by step in float64."""
  params = to_numpy(run.params)
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


def to_numpy(tree):
  if isinstance(tree, dict):
    return {name: to_numpy(value) for name, value in tree.items()}
  if isinstance(tree, list | tuple):
    return [to_numpy(value) for value in tree]
  return np.asarray(tree, np.float64)


def test_evaluate_prints_the_losses_that_numpy_computes_from_the_parameters(programs, run):
  opened = dlx.load_run(run)
  text = corpus.python_source(CHARACTERS).split("test")
  order = json.loads((run / "assets.json").read_text())["characters"]
  ids = np.array([order.index(c) for c in text])
  count = (len(ids) - 1) // SEQ_LEN
  inputs = ids[: count * SEQ_LEN].reshape(count, SEQ_LEN)
  targets = ids[1 : count * SEQ_LEN + 1].reshape(count, SEQ_LEN)
  stateless = loss_in_numpy(opened, inputs, targets)
  each = count // STREAMS
  streams = (x[: STREAMS * each].reshape(STREAMS, each * SEQ_LEN) for x in (inputs, targets))
  stateful = loss_in_numpy(opened, *streams)

  finished = programs("launch.evaluate", f"--workdir={run}", "--split=test")
  assert finished.code == 0 and finished.err == ""
  head, *lines = finished.out.splitlines()
  assert head == f"{run}: step {opened.step} (best), split test"
  metrics = dict(line.split(": ") for line in lines)
  assert metrics["examples"] == f"{count:,}"
  assert float(metrics["tokens"]) == inputs.size
  assert float(metrics["loss"]) == pytest.approx(stateless, abs=6e-5)
  assert float(metrics["stateful loss"]) == pytest.approx(stateful, abs=6e-5)


def test_an_unknown_split_is_refused(programs, run):
  finished = programs("launch.evaluate", f"--workdir={run}", "--split=dev")
  assert finished.code == 2 and finished.err.count("\n") == 1
  assert "split: expected train, validation, test" in finished.err and "'dev'" in finished.err


@pytest.fixture(scope="module")
def sample(programs, run):
  return lambda *args: programs("launch.sample", f"--workdir={run}", *args)


def test_a_sample_is_the_prompt_and_the_number_of_characters_asked_for(sample):
  finished = sample("--prompt=def f(", "--length=300", "--seed=1")
  assert finished.code == 0 and re.fullmatch(r"[\d,]+ tokens/s\n", finished.err), finished
  text = finished.out
  assert text.startswith("def f(") and len(text) == len("def f(") + 300 + 1 and text[-1] == "\n"
  assert sample("--prompt=def f(", "--length=300", "--seed=1").out == text
  assert sample("--prompt=def f(", "--length=300", "--seed=2").out != text
  # A shorter one is its beginning.
  assert sample("--prompt=def f(", "--length=7", "--seed=1").out == text[: len("def f(") + 7] + "\n"


@pytest.mark.full
def test_the_sample_of_temperature_0_does_not_depend_on_the_seed(sample):
  texts = {sample("--temperature=0", "--length=40", f"--seed={seed}").out for seed in (1, 2)}
  assert len(texts) == 1


def test_a_prompt_with_an_unseen_character_is_refused_with_its_name(sample):
  finished = sample("--prompt=def 猫(", "--length=5")
  assert finished.code == 2 and finished.out == "" and finished.err.count("\n") == 1
  assert "'猫' (U+732B)" in finished.err


@pytest.mark.parametrize("setting", [
    "temperature=-1", "temperature=nan", "top_p=0", "top_p=1.5", "top_p=nan", "top_k=0",
    "length=0", "count=0", "seed=-1",
])  # fmt: skip
def test_sampling_refuses_a_value_with_its_flag(sample, setting):
  finished = sample("--length=5", f"--{setting}")
  assert finished.code == 2 and finished.out == "" and finished.err.count("\n") == 1, finished
  assert setting.partition("=")[0] in finished.err


def test_a_flag_that_the_experiment_does_not_take_is_refused(sample):
  finished = sample("--count=3")
  assert finished.code == 2 and finished.err.count("\n") == 1, finished
  assert "experiments.gru_lm does not take --count; it takes --prompt, --length" in finished.err


@pytest.mark.full
def test_an_export_is_evaluated_and_sampled_like_the_run(programs, run, sample, tmp_path):
  exported = tmp_path / "exported"
  finished = programs("launch.export", f"--workdir={run}", f"--output={exported}")
  assert finished.code == 0 and str(exported / "model.safetensors") in finished.out
  assert not (exported / "checkpoints").exists()
  ours, theirs = (
      programs("launch.evaluate", f"--workdir={folder}", "--split=validation+test").out
      for folder in (run, exported)
  )
  assert "\nloss: " in ours and ours.splitlines()[1:] == theirs.splitlines()[1:]
  drawn = programs("launch.sample", f"--workdir={exported}", "--length=40").out
  assert drawn == sample("--length=40").out
  finished = programs("launch.export", f"--workdir={run}", f"--output={exported}")
  assert finished.code == 2 and "not an empty folder" in finished.err


def test_the_list_has_every_preset(programs):
  finished = programs("launch.train", "--list")
  assert finished.code == 0 and finished.err == ""
  presets = "quickstart, shakespeare, shakespeare_large, brown, debug, debug_stream"
  assert f"experiments/gru_lm/config.py: {presets}\n" in finished.out


@pytest.mark.parametrize("program", [
    "train", "evaluate", "sample", "predict", "explain", "export", "compare", "sweep",
])  # fmt: skip
def test_help_shows_the_flags(programs, program):
  finished = programs(f"launch.{program}", "--help")
  assert finished.code == 0 and finished.err == ""
  assert f"python -m launch.{program}" in finished.out
  assert ("--output" if program == "compare" else "--workdir") in finished.out
