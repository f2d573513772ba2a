"""Bad input to any program: one line that says what to do, exit code 2, and nothing left."""

import json

import pytest

DEBUG = "--config=experiments/gru_lm/config.py:debug"


@pytest.fixture
def folder(tmp_path):
  """Files and folders that a command can name by mistake."""
  (tmp_path / "empty.txt").touch()
  (tmp_path / "single.txt").write_text("a")
  (tmp_path / "same.txt").write_text("a" * 5000)
  (tmp_path / "binary.txt").write_bytes(b"text\0text" * 500)
  (tmp_path / "latin1.txt").write_bytes("vierzehn Bäume ".encode("latin1") * 500)
  (tmp_path / "short.txt").write_text("to be or not")
  (tmp_path / "short_validation.txt").write_text("to be or not " * 20)
  (tmp_path / "good.txt").write_text("to be or not to be, that is the question\n" * 100)
  (tmp_path / "thesis").mkdir()
  (tmp_path / "thesis" / "chapter1.tex").write_text("Once upon a time")
  untrained = tmp_path / "untrained"
  untrained.mkdir()
  (untrained / "config.json").write_text(json.dumps({"experiment": "experiments.gru_lm"}))
  damaged = tmp_path / "damaged"
  damaged.mkdir()
  (damaged / "config.json").write_text('{"experiment": "exper')
  return tmp_path


def contents(folder):
  """All that is below a folder: names, and the text of files."""
  paths = sorted(folder.rglob("*"))
  return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


def check(finished, folder, before, words):
  """One line on stderr with the words, exit code 2, no other output, no file more or less."""
  assert finished.code == 2, finished
  assert "Traceback" not in finished.err
  assert finished.err.count("\n") == 1 and finished.err.endswith("\n"), finished.err
  assert finished.out == ""
  for word in words:
    assert word in finished.err
  assert contents(folder) == before


def refused(program, folder, args, words):
  """Runs a program, FOLDER in an argument standing for `folder`, and checks that it refuses."""
  before = contents(folder)
  args = [arg.replace("FOLDER", str(folder)) for arg in args]
  words = [word.replace("FOLDER", str(folder)) for word in words]
  check(program(*args), folder, before, words)


TRAINING = {
    # A text of one's own.
    "text missing": (["--config.data.text=FOLDER/no.txt"], ["FOLDER/no.txt does not exist"]),
    "text a folder": (["--config.data.text=FOLDER"], ["is a directory", "name one text file"]),
    "text empty": (["--config.data.text=FOLDER/empty.txt"], ["empty.txt is empty"]),
    "text of one character": (["--config.data.text=FOLDER/single.txt"], ["only one distinct"]),
    "text of equal characters": (["--config.data.text=FOLDER/same.txt"], ["only one distinct"]),
    "text binary": (["--config.data.text=FOLDER/binary.txt"], ["is binary"]),
    "text not UTF-8": (
        ["--config.data.text=FOLDER/latin1.txt"],
        ["not UTF-8", "byte 10 is 0xe4", "iconv"],
    ),
    "text shorter than a window": (
        ["--config.data.text=FOLDER/short.txt"],
        ["the training text has 10 characters", "16", "longer text", "window"],
    ),
    "validation text shorter than a window": (
        ["--config.data.text=FOLDER/short_validation.txt"],
        ["the validation text has 13 characters", "32", "eval_window"],
    ),
    "text shorter than the lanes of a stream": (
        [
            "--config.data.text=FOLDER/good.txt",
            "--config.data.stream=1",
            "--config.data.window=480",
        ],
        ["the training text has 3690 characters", "8 window"],
    ),
    # Named sources.
    "source unknown": (["--config.data.source=war_and_peace"], ["war_and_peace", "python_source"]),
    "data set not prepared": (
        ["--config.data.source=tiny_shakespeare"],
        ["not prepared", "tfds build tiny_shakespeare", "--config.data.text="],
    ),
    # Keys, and the kinds of their values.
    "key misspelled": (["--config.model.d_hiden=3"], ["d_hiden ", "--config.model.d_hidden?"]),
    "key without its folder": (
        ["--config.learning_rate=1e-3"],
        ["--config.learning_rate ", "did you mean --config.optimizer.learning_rate?"],
    ),
    "key like nothing": (["--config.qqqzzz=3"], ["qqqzzz", "keys are", "optimizer.warmup_steps"]),
    "key that is a folder": (["--config.model=3"], ["--config.model is not a key", "did you mean"]),
    "key and nothing else": (["--config.model.d_hidden"], ["--config.model.d_hidden"]),
    "word for an int": (["--config.data.batch_size=many"], ["batch_size=many is not an int", "8"]),
    "float for an int": (["--config.data.batch_size=1.5"], ["batch_size=1.5 is not an int"]),
    "word for a float": (["--config.optimizer.b1=high"], ["b1=high is not a float"]),
    "word for a bool": (["--config.data.stream=perhaps"], ["stream=perhaps is not a bool"]),
    # Flags and folders.
    "flag unknown": (["--steps=3"], ["steps"]),
    "flag misspelled": (["--overide"], ["'overide'", "override"]),
    "positional argument": (["quickstart"], ["unexpected argument 'quickstart'", "--name=value"]),
    "workdir a file": (["--workdir=FOLDER/good.txt"], ["good.txt is a file", "name a folder"]),
    "workdir below a file": (["--workdir=FOLDER/good.txt/run"], ["good.txt/run"]),
    "workdir of other files": (["--workdir=FOLDER/thesis"], ["neither empty nor a run"]),
    "workdir with a damaged config": (["--workdir=FOLDER/damaged"], ["config.json is damaged"]),
    "experiment unknown": (
        ["--config.experiment=experiments.none"],
        ["experiments.none", "cannot be imported"],
    ),
}

VALUES = [
    "data.max_characters=0",
    "data.max_characters=-5",
    "data.batch_size=0",
    "data.batch_size=-1",
    "data.window=0",
    "data.window=-3",
    "data.eval_window=0",
    "data.window=100000",
    "model.cell=transformer",
    "model.d_embed=0",
    "model.d_hidden=-1",
    "model.num_layers=0",
    "model.dropout_rate=1",
    "model.dropout_rate=-0.1",
    "model.dropout_rate=nan",
    "model.recurrent_dropout_rate=2",
    "optimizer.learning_rate=nan",
    "optimizer.learning_rate=inf",
    "optimizer.learning_rate=-1",
    "optimizer.learning_rate=0",
    "optimizer.warmup_steps=-1",
    "optimizer.warmup_steps=40",
    "optimizer.decay=sqrt",
    "optimizer.final_fraction=nan",
    "optimizer.final_fraction=-1",
    "optimizer.b1=1",
    "optimizer.b2=nan",
    "optimizer.weight_decay=nan",
    "optimizer.weight_decay=-1",
    "optimizer.clip_norm=0",
    "optimizer.clip_norm=nan",
    "training.total_steps=0",
    "training.total_steps=-1",
    "training.steps_per_call=0",
    "training.eval_every=0",
    "training.save_every=-1",
    "training.keep=0",
    "training.ema_decay=1",
    "training.ema_decay=-1",
    "training.ema_decay=nan",
    "seed=-1",
    "seed=4294967296",
    "seed=99999999999999999999",
]

CONFIGS = {
    "config missing": ([], ["--config is missing", "--config=experiments/gru_lm/config.py:"]),
    "config without a name": (["--config"], ["--config", "experiments/gru_lm/config.py"]),
    "preset unknown": (
        ["--config=experiments/gru_lm/config.py:quick"],
        ["'quick' is not one of", "quickstart", "debug"],
    ),
    "experiment misspelled": (
        ["--config=experiments/gru/config.py:debug"],
        ["does not exist", "did you mean experiments/gru_lm/config.py?"],
    ),
    "config file missing": (["--config=/nowhere/at/all"], ["'/nowhere/at/all' does not exist"]),
    "config file no Python": (["--config=FOLDER/good.txt:debug"], ["is not a Python file"]),
}

OTHERS = {
    "evaluate: workdir missing": ("evaluate", [], ["--workdir is missing"]),
    "evaluate: no run": ("evaluate", ["--workdir=FOLDER/thesis"], ["thesis is not a run"]),
    "evaluate: no folder": ("evaluate", ["--workdir=FOLDER/none"], ["none is not a run"]),
    "evaluate: a file": ("evaluate", ["--workdir=FOLDER/good.txt"], ["good.txt is not a run"]),
    "evaluate: no checkpoint": (
        "evaluate",
        ["--workdir=FOLDER/untrained"],
        ["has no checkpoint yet", "train it first"],
    ),
    "evaluate: checkpoint unknown": (
        "evaluate",
        ["--workdir=FOLDER/untrained", "--checkpoint=oldest"],
        ["oldest", "best", "latest"],
    ),
    "evaluate: damaged config": ("evaluate", ["--workdir=FOLDER/damaged"], ["is damaged"]),
    "evaluate: config key": ("evaluate", [DEBUG], ["config"]),
    "sample: no run": ("sample", ["--workdir=FOLDER/thesis"], ["thesis is not a run"]),
    "sample: no checkpoint": ("sample", ["--workdir=FOLDER/untrained"], ["no checkpoint yet"]),
    "sample: length 0": ("sample", ["--workdir=FOLDER/untrained", "--length=0"], ["--length=0"]),
    "sample: length a word": ("sample", ["--length=long"], ["length", "long"]),
    "export: output missing": ("export", ["--workdir=FOLDER/untrained"], ["--output is missing"]),
    "export: no checkpoint": (
        "export",
        ["--workdir=FOLDER/untrained", "--output=FOLDER/out"],
        ["has no checkpoint yet"],
    ),
}


@pytest.fixture
def train(programs, folder):
  """launch.train of the debug preset, into a new folder when the arguments name none."""

  def run(*args):
    named = any(arg.startswith("--workdir=") for arg in args)
    return programs("launch.train", DEBUG, *args, *([] if named else [f"--workdir={folder}/new"]))

  return run


@pytest.mark.parametrize("name", TRAINING)
def test_training_refuses(train, folder, name):
  refused(train, folder, *TRAINING[name])


@pytest.mark.parametrize("setting", VALUES)
def test_training_refuses_a_value_and_names_its_key(train, folder, setting):
  name = setting.partition("=")[0].rpartition(".")[2]
  refused(train, folder, [f"--config.{setting}"], [name.removeprefix("eval_")])


@pytest.mark.parametrize("name", CONFIGS)
def test_training_refuses_a_config(programs, folder, name):
  args, words = CONFIGS[name]
  refused(lambda *args: programs("launch.train", *args), folder, args, words)


@pytest.mark.parametrize("name", OTHERS)
def test_other_programs_refuse(programs, folder, name):
  program, args, words = OTHERS[name]
  refused(lambda *args: programs(f"launch.{program}", *args), folder, args, words)


FRESH = {
    "unknown key": ("train", [DEBUG, "--config.datta.text=x"], ["mean --config.data.text?"]),
    "unusable text": ("train", [DEBUG, "--config.data.text=FOLDER/empty.txt"], ["is empty"]),
    "unprepared data set": (
        "train",
        ["--config=experiments/gru_lm/config.py:shakespeare"],
        ["tfds build tiny_shakespeare"],
    ),
    "no checkpoint": ("sample", ["--workdir=FOLDER/untrained"], ["has no checkpoint yet"]),
}


@pytest.mark.parametrize("name", FRESH)
def test_a_fresh_process_refuses_the_same_way(programs, folder, name):
  program, args, words = FRESH[name]
  if program == "train":
    args = [*args, "--workdir=FOLDER/new"]
  refused(lambda *args: programs.fresh(f"launch.{program}", *args), folder, args, words)
