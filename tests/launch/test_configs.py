"""Configs from the command line: values, types, and every mistake in one line."""

import pytest

from dlx import presets
from dlx.errors import UserError
from launch.cli import configs

GRU = "--config=experiments/gru_lm/config.py:debug"
RESNET = "--config=experiments/resnet_cifar10/config.py:debug"


def value(key, *arguments):
  config, rest = configs.parse(["train", *arguments])
  assert rest == ["train"]
  presets.check(config)
  return presets.get(config, key)


@pytest.mark.parametrize("key, text, expected", [
    ("data.batch_size", "4", 4),
    ("data.text", "12", "12"),
    ("data.stream", "true", True),
    ("data.stream", "0", False),
    ("optimizer.learning_rate", "1", 1.0),
    ("optimizer.clip_norm", "None", None),
    ("training.ema_decay", "None", None),
    ("training.total_steps", "200", "200"),
    ("training.total_steps", "2 epochs", "2 epochs"),
    ("model.cell", "lstm", "lstm"),
    ("seed", "7", 7),
])  # fmt: skip
def test_a_value_has_the_type_of_its_row(key, text, expected):
  for form in ("--config.", "-config."):
    found = value(key, GRU, f"{form}{key}={text}")
    assert found == expected and type(found) is type(expected)
  assert value(key, GRU, f"--config.{key}", text) == expected


def test_none_is_for_optional_keys_and_a_word_elsewhere():
  assert value("data.size", RESNET) == 16
  assert value("data.size", RESNET, "--config.data.size=None") is None
  with pytest.raises(UserError, match="batch_size=None is not an int; expected 1 or more"):
    configs.parse(["train", RESNET, "--config.data.batch_size=None"])
  with pytest.raises(UserError, match=r"size=small is not an int or None"):
    configs.parse(["train", RESNET, "--config.data.size=small"])


def test_other_arguments_are_kept_in_order():
  arguments = ["train", "--workdir=runs/a", GRU, "--override", "--config.seed=1", "--", "--x"]
  assert configs.parse(arguments)[1] == ["train", "--workdir=runs/a", "--override", "--", "--x"]


def test_keys_exist_where_another_value_selects_them():
  assert value("optimizer.momentum", RESNET) == 0.85
  adamw = (RESNET, "--config.optimizer.name=adamw")
  assert value("optimizer.b1", *adamw, "--config.optimizer.b1=0.8") == 0.8
  with pytest.raises(UserError, match="momentum is not used with optimizer.name=adamw"):
    configs.parse(["train", *adamw, "--config.optimizer.momentum=0.8"])


REFUSED = {
    "no config": ([], "--config is missing.*--config=experiments/gru_lm/config.py:"),
    "no value": (["--config"], "the config file '' does not exist|--config is missing"),
    "unknown preset": (
        ["--config=experiments/gru_lm/config.py:quick"],
        "'quick' does not exist.*quickstart.*debug",
    ),
    "misspelled experiment": (
        ["--config=experiments/gru/config.py:debug"],
        "does not exist; did you mean experiments/gru_lm/config.py?",
    ),
    "missing file": (["--config=/nowhere/at/all"], "'/nowhere/at/all' does not exist"),
    "not Python": (["--config=README.md:debug"], "is not a Python file"),
    "no table": (["--config=launch/train.py:debug"], "has no SETTINGS"),
    "two configs": ([GRU, RESNET], "--config is given twice"),
    "a key given twice": (
        [GRU, "--config.seed=1", "--config.seed=2"], "--config.seed is given twice: 1 and 2",
    ),
    "a key given twice in two forms": (
        [GRU, "--config.seed", "1", "-config.seed=2"], "--config.seed is given twice: 1 and 2",
    ),
    "misspelled key": (
        [GRU, "--config.model.d_hiden=3"], "model.d_hiden .*did you mean model.d_hidden?",
    ),
    "key without its section": (
        [GRU, "--config.learning_rate=1e-3"], "did you mean optimizer.learning_rate?",
    ),
    "key unlike any other": ([GRU, "--config.qqqzzz=3"], "qqqzzz.*keys are .*warmup_steps"),
    "a section": ([GRU, "--config.model=3"], "model is not a key"),
    "key without a value": ([GRU, "--config.model.d_hidden"], "d_hidden= is not an int"),
    "word for an int": ([GRU, "--config.data.batch_size=many"], "batch_size=many is not an int"),
    "float for an int": ([GRU, "--config.data.batch_size=1.5"], "batch_size=1.5 is not an int"),
    "word for a float": ([GRU, "--config.optimizer.b1=high"], "b1=high is not a float"),
    "word for a bool": ([GRU, "--config.data.stream=perhaps"], "stream=perhaps is not a bool"),
    "word for the seed": ([GRU, "--config.seed=one"], "seed=one is not an int"),
}  # fmt: skip


@pytest.mark.parametrize("arguments, message", REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_line(arguments, message):
  with pytest.raises(UserError, match=message) as refused:
    configs.parse(["train", *arguments])
  assert "\n" not in str(refused.value)


def test_steps_and_epochs_together_are_refused():
  config, _ = configs.parse(["train", GRU, "--config.training.total_steps=2 epochs 100 steps"])
  with pytest.raises(UserError, match="training.total_steps is '2 epochs 100 steps'; expected"):
    presets.check(config)


CONFIG = """
import pathlib
from dlx import presets, settings
with (pathlib.Path(__file__).parent / "executions").open("a") as file:
  file.write("once\\n")
SETTINGS = settings.training(total_steps=1)
PRESETS = {presets}
get_config = presets.make("mine", SETTINGS, PRESETS)
"""


@pytest.fixture
def package(tmp_path):
  """`package(presets, experiment)`: the folder of a package "mine", to be run from there."""

  def write(presets: str, experiment: str = ""):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.py").write_text(CONFIG.replace("{presets}", presets))
    (tmp_path / "mine" / "experiment.py").write_text(experiment)
    return tmp_path

  return write


@pytest.mark.parametrize("experiment, message", [
    ("", "mine.experiment has no function load"),
    ("def load(config, assets=None): pass", "mine.experiment has no function make"),
    ("import no_such_module", "mine.experiment cannot be imported: No module named 'no_such"),
])  # fmt: skip
def test_an_incomplete_experiment_is_one_line_and_its_config_is_executed_once(
    programs, package, experiment, message
):
  folder = package("{'a': {}}", experiment)
  finished = programs("launch.train", "--config=mine/config.py", "--workdir=run", folder=folder)
  assert finished.code == 2 and message in finished.err, finished
  assert finished.err.count("\n") == 1 and not (folder / "run").exists()
  assert (folder / "mine" / "executions").read_text() == "once\n"


def test_a_preset_whose_base_does_not_exist_is_one_line(programs, package):
  folder = package("{'a': {'base': 'b'}}")
  finished = programs("launch.train", "--config=mine/config.py:a", folder=folder)
  assert finished.code == 2 and finished.err.count("\n") == 1, finished
  assert "preset a of mine: base 'b' does not exist; presets are a" in finished.err


def test_an_unknown_key_in_a_preset_is_one_line(programs, package):
  folder = package("{'a': {'training.total_step': 3}}")
  finished = programs("launch.train", "--config=mine/config.py:a", folder=folder)
  assert finished.code == 2 and finished.err.count("\n") == 1, finished
  assert "preset a of mine" in finished.err and "training.total_steps?" in finished.err
