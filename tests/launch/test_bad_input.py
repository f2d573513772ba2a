"""Bad input to a program: one line that names the mistake, exit code 2, and no file written.

Values and keys of configs are in test_configs.py, and in test_every_experiment.py for every row.
"""

import json

import pytest

import dlx
from dlx.errors import UserError
from dlx.runs import record
from experiments.forecasting import config as forecasting
from experiments.gru_lm import config as gru_lm
from experiments.resnet_cifar10 import config as resnet
from experiments.transformer_sentiment import config as sentiment

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
  (untrained / "config.json").write_text(json.dumps(gru_lm.get_config("debug").to_dict()))
  corrupted = tmp_path / "corrupted"
  corrupted.mkdir()
  (corrupted / "config.json").write_text('{"experiment": "exper')
  for run in (untrained, corrupted):
    record.rebuild(run, ["config.json"])
  tables = {
      "no_column": "label\na\n",
      "one_class": "text,label\nx,a\ny,a\n",
      "broken_row": "text,label\nx,a\ny\n",
      "few_rows": "text,label\nx,a\ny,b\n",
      "short": "value,word\n1,a\n2,b\n3,c\n",
      "gap": "value\n1\n2\n\"\"\n3\n",
      "constant": "value\n" + "7\n" * 100,
  }
  for name, table in tables.items():
    (tmp_path / f"{name}.csv").write_text(table)
  return tmp_path


def contents(folder):
  """Everything below a folder: names, and the content of files."""
  paths = sorted(folder.rglob("*"))
  return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


def check_refused(finished, folder, before, words):
  """One line on stderr with the words, exit code 2, no other output, no file changed."""
  assert finished.code == 2, finished
  assert "Traceback" not in finished.err
  assert finished.err.count("\n") == 1 and finished.err.endswith("\n"), finished.err
  assert finished.out == ""
  for word in words:
    assert word in finished.err
  assert contents(folder) == before


DATA = {
    "text missing": (gru_lm, {"data.text": "FOLDER/no.txt"}, "FOLDER/no.txt does not exist"),
    "text a folder": (gru_lm, {"data.text": "FOLDER"}, "is a directory; name one text file"),
    "text empty": (gru_lm, {"data.text": "FOLDER/empty.txt"}, "empty.txt is empty"),
    "text of one character": (gru_lm, {"data.text": "FOLDER/single.txt"}, "only one distinct"),
    "text of equal characters": (gru_lm, {"data.text": "FOLDER/same.txt"}, "only one distinct"),
    "text binary": (gru_lm, {"data.text": "FOLDER/binary.txt"}, "is binary"),
    "text not UTF-8": (
        gru_lm, {"data.text": "FOLDER/latin1.txt"}, "not UTF-8 .byte 10 is 0xe4.*iconv",
    ),
    "text shorter than a sequence": (
        gru_lm, {"data.text": "FOLDER/short.txt"}, r"the training text has 10 tokens, .* x 16 \+ 1",
    ),
    "validation text shorter than a sequence": (
        gru_lm, {"data.text": "FOLDER/short_validation.txt"},
        r"the validation text has 13 tokens, .* x 32 \+ 1",
    ),
    "text shorter than the streams": (
        gru_lm, {"data.text": "FOLDER/good.txt", "data.stream": True, "data.seq_len": 480},
        r"the training text has 3690 tokens, fewer than 8 x 480 \+ 1",
    ),
    "sequences longer than the text": (
        gru_lm, {"data.seq_len": 100_000}, "the training text has .* tokens",
    ),
    "images: batch too large": (
        resnet, {"data.batch_size": 400}, "batch_size is 400, but there are only 384",
    ),
    "images: validation takes all": (
        resnet, {"data.num_validation": 480}, "num_validation: expected .*got 480",
    ),
    "images: size of cifar10": (
        resnet, {"data.dataset": "cifar10"}, "size: expected 32 or None for cifar10, got 16",
    ),
    "images: no folder": (resnet, {"data.images": "/nowhere"}, "/nowhere is not a folder"),
    "images: other files": (resnet, {"data.images": "FOLDER"}, "no images|at least two subfolders"),
    "images: no run to start from": (
        resnet, {"init_from": "FOLDER/thesis"}, "thesis is not a run",
    ),
    "table: no column": (
        sentiment, {"data.file": "FOLDER/no_column.csv"}, "has no column 'text'",
    ),
    "table: one class": (sentiment, {"data.file": "FOLDER/one_class.csv"}, "class"),
    "table: broken row": (
        sentiment, {"data.file": "FOLDER/broken_row.csv"}, "expected 2 columns",
    ),
    "table: validation takes all": (
        sentiment, {"data.file": "FOLDER/few_rows.csv"}, "num_validation: expected .*got 40",
    ),
    "series: no column": (
        forecasting, {"data.file": "FOLDER/short.csv", "data.column": "x"},
        "has no column 'x'; it has value, word",
    ),
    "series: words": (
        forecasting, {"data.file": "FOLDER/short.csv", "data.column": "word"},
        "row 1: expected a number as word, .* got 'a'",
    ),
    "series: a gap": (
        forecasting, {"data.file": "FOLDER/gap.csv"}, "row 3 has no value; a series has no gaps",
    ),
    "series: shorter than a window": (
        forecasting, {"data.file": "FOLDER/short.csv"}, "has 3 values, .* a window of 8 ",
    ),
    "series: constant": (
        forecasting, {"data.file": "FOLDER/constant.csv"}, "the series is constant",
    ),
    "series: batch too large": (
        forecasting, {"data.batch_size": 900}, "batch_size is 900, but there are only 201",
    ),
    "documents: batch too large": (
        sentiment, {"data.batch_size": 900}, "batch_size is 900, but there are only 360",
    ),
    "crop as large as the image": (
        resnet, {"augmentation.crop_padding": 16}, "padding: expected .*got 16",
    ),
}  # fmt: skip


@pytest.mark.parametrize("config, changes, message", DATA.values(), ids=DATA)
def test_data_that_cannot_be_used_are_refused_before_anything_is_written(
    folder, config, changes, message
):
  before = contents(folder)
  place = lambda x: x.replace("FOLDER", str(folder)) if isinstance(x, str) else x  # noqa: E731
  changes = {key: place(value) for key, value in changes.items()}
  with pytest.raises(UserError, match=place(message)) as refused:
    dlx.train(config.get_config("debug", changes), folder / "new")
  assert "\n" not in str(refused.value)
  assert contents(folder) == before


TRAINING = {
    "value": (["--config.data.batch_size=0"], ["data.batch_size is 0", "1 or more"]),
    "value not finite": (["--config.optimizer.learning_rate=nan"], ["learning_rate is nan"]),
    "word": (["--config.model.cell=gur"], ["model.cell is 'gur'", "gru, rnn, lstm"]),
    "seed": (["--config.seed=4294967296"], ["config.seed is 4294967296", "2**32"]),
    "warm-up": (["--config.optimizer.warmup_steps=40"], ["optimizer.warmup_steps is 40"]),
    "key": (["--config.model.d_hiden=3"], ["d_hiden ", "model.d_hidden?"]),
    "text": (["--config.data.text=FOLDER/empty.txt"], ["empty.txt is empty"]),
    "flag unknown": (["--steps=3"], ["steps"]),
    "flag misspelled": (["--overide"], ["'overide'", "override"]),
    "positional argument": (["quickstart"], ["unexpected argument 'quickstart'", "--name=value"]),
    "profile": (["--profile=9"], ["START:STOP", "9"]),
    "workdir a file": (["--workdir=FOLDER/good.txt"], ["good.txt is a file", "name a folder"]),
    "workdir below a file": (["--workdir=FOLDER/good.txt/run"], ["good.txt/run"]),
    "workdir of other files": (["--workdir=FOLDER/thesis"], ["neither empty nor a run"]),
    "workdir with a corrupted config": (
        ["--workdir=FOLDER/corrupted"], ["config.json is corrupted"],
    ),
    "config missing": (None, ["--config is missing", "experiments/gru_lm/config.py:"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAINING)
def test_training_refuses(programs, folder, name):
  args, words = TRAINING[name]
  args = [DEBUG, *args] if args is not None else []
  args = [arg.replace("FOLDER", str(folder)) for arg in args]
  if not any(arg.startswith("--workdir=") for arg in args):
    args.append(f"--workdir={folder}/new")
  before = contents(folder)
  check_refused(programs("launch.train", *args), folder, before, words)


OTHERS = {
    "evaluate: workdir missing": ("evaluate", [], ["--workdir is missing"]),
    "evaluate: no run": ("evaluate", ["--workdir=FOLDER/thesis"], ["thesis is not a run"]),
    "evaluate: no folder": ("evaluate", ["--workdir=FOLDER/none"], ["none is not a run"]),
    "evaluate: a file": ("evaluate", ["--workdir=FOLDER/good.txt"], ["good.txt is not a run"]),
    "evaluate: no checkpoint": (
        "evaluate", ["--workdir=FOLDER/untrained"], ["has no checkpoint yet", "train it first"],
    ),
    "evaluate: checkpoint unknown": (
        "evaluate", ["--workdir=FOLDER/untrained", "--checkpoint=oldest"],
        ["oldest", "best", "latest"],
    ),
    "evaluate: corrupted config": ("evaluate", ["--workdir=FOLDER/corrupted"], ["is corrupted"]),
    "evaluate: config key": ("evaluate", [DEBUG], ["config"]),
    "sample: no run": ("sample", ["--workdir=FOLDER/thesis"], ["thesis is not a run"]),
    "sample: no checkpoint": ("sample", ["--workdir=FOLDER/untrained"], ["no checkpoint yet"]),
    "sample: length 0": ("sample", ["--workdir=FOLDER/untrained", "--length=0"], ["--length=0"]),
    "sample: length without end": ("sample", ["--length=99999999999"], ["--length", "10000000"]),
    "sample: length a word": ("sample", ["--length=long"], ["length", "long"]),
    "export: output missing": ("export", ["--workdir=FOLDER/untrained"], ["--output is missing"]),
    "export: no checkpoint": (
        "export", ["--workdir=FOLDER/untrained", "--output=FOLDER/out"], ["has no checkpoint yet"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_programs_refuse(programs, folder, name):
  program, args, words = OTHERS[name]
  before = contents(folder)
  args = [arg.replace("FOLDER", str(folder)) for arg in args]
  check_refused(programs(f"launch.{program}", *args), folder, before, words)


FRESH = {
    "unknown key": ("train", [DEBUG, "--config.datta.text=x"], ["did you mean data.text?"]),
    "unprepared data set": (
        "train", ["--config=experiments/gru_lm/config.py:shakespeare"],
        ["tfds build tiny_shakespeare"],
    ),
    "no checkpoint": ("sample", ["--workdir=FOLDER/untrained"], ["has no checkpoint yet"]),
}  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("name", FRESH)
def test_a_new_interpreter_refuses_in_the_same_way(programs, folder, name):
  program, args, words = FRESH[name]
  if program == "train":
    args = [*args, "--workdir=FOLDER/new"]
  before = contents(folder)
  args = [arg.replace("FOLDER", str(folder)) for arg in args]
  check_refused(programs.fresh(f"launch.{program}", *args), folder, before, words)
