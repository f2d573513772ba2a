"""The text classifier's programs on the debug preset: train, resume, evaluate, predict, export."""

import re

import pytest

DEBUG = "--config=experiments/transformer_sentiment/config.py:debug"


@pytest.fixture(scope="module")
def run(programs, tmp_path_factory):
  """The folder of a trained run."""
  workdir = tmp_path_factory.mktemp("texts") / "run"
  finished = programs("launch.train", DEBUG, f"--workdir={workdir}", timeout=300)
  assert finished.code == 0, finished
  assert (workdir / "accuracy.png").read_bytes().startswith(b"\x89PNG")
  return workdir


def test_resumed_in_the_middle_of_an_epoch_it_is_the_run_left_alone(resumes, run):
  resumes(DEBUG, run, before=90, last=120)


def test_evaluate_prints_figures_and_draws_the_confusion_matrix(programs, run):
  finished = programs("launch.evaluate", f"--workdir={run}", "--split=test", timeout=300)
  assert finished.code == 0, finished
  figures = dict(line.split(": ") for line in finished.out.splitlines()[1:])
  assert figures["texts"] == "80"
  assert float(figures["accuracy"]) > 0.75  # Adjectives alone, without "not", tell 0.7.
  assert 0 <= float(figures["calibration error"]) <= 1 and 0 < float(figures["F1"]) <= 1
  assert (run / "confusion_test.png").read_bytes().startswith(b"\x89PNG")
  mistakes = (run / "mistakes_test.txt").read_text()
  wrong = round(80 * (1 - float(figures["accuracy"])))
  assert mistakes.count("taken for ") == min(wrong, 50)


def test_predict_answers_arguments_a_file_and_an_export_alike(programs, run, tmp_path):
  russian = "\u0444\u0438\u043b\u044c\u043c"
  texts = ["the film was great", "the plot was dull and her acting was empty", russian]
  finished = programs("launch.predict", f"--workdir={run}", *texts, timeout=300)
  assert finished.code == 0, finished
  lines = finished.out.splitlines()
  assert [line.rpartition(": ")[0] for line in lines] == texts
  assert "positive" in lines[0].split(", ")[0] and "negative" in lines[1].split(", ")[0]
  (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
  exported = tmp_path / "exported"
  assert programs("launch.export", f"--workdir={run}", f"--output={exported}").code == 0
  for workdir in (run, exported):
    same = programs("launch.predict", f"--workdir={workdir}", f"--file={tmp_path / 'texts.txt'}")
    assert same.out == finished.out


def test_attention_shows_what_speaks_for_the_answer(programs, run, tmp_path):
  text = "the plot was dull and her acting was empty"
  finished = programs("launch.explain", f"--workdir={run}", f"--output={tmp_path}", text)
  assert finished.code == 0, finished
  assert finished.out.startswith("negative ") and "dull" in finished.out.splitlines()[2]
  for name in ("attention.png", "attribution.png"):
    assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
  for args, message in {(" ",): "the text is empty", ("a", "b"): "2 texts are given"}.items():
    refused = programs("launch.explain", f"--workdir={run}", *args)
    assert refused.code == 2 and message in refused.err, refused
    assert refused.err.count("\n") == 1 and refused.out == ""


def test_a_text_of_a_hundred_thousand_words_is_answered(programs, run, tmp_path):
  (tmp_path / "long.txt").write_text("great " * 100_000)
  finished = programs("launch.predict", f"--workdir={run}", f"--file={tmp_path / 'long.txt'}")
  assert finished.code == 0 and "positive" in finished.out[-60:], finished.err


def test_predict_refuses_what_cannot_be_classified(programs, run, tmp_path):
  cases = {
      ("ok", " "): "text 2 is empty",
      (): "nothing to classify",
      (f"--file={tmp_path}",): "cannot be read",
      ("a", "--file=b"): "both --file=b and 'a' are given",
  }
  for args, message in cases.items():
    finished = programs("launch.predict", f"--workdir={run}", *args)
    assert finished.code == 2 and message in finished.err, finished
    assert finished.err.count("\n") == 1 and finished.out == ""


BAD = {
    "no column": ("label\na\n", [], "has no column 'text'"),
    "one class": ("text,label\nx,a\ny,a\n", [], "1 class"),
    "a broken row": ("text,label\nx,a\ny\n", [], "row|Expected 2 columns"),
    "validation takes all": ("text,label\nx,a\ny,b\n", [], "validation is 40"),
    "a batch too large": (None, ["--config.data.batch_size=900"], "batch_size is 900.*360"),
    "a tiny vocabulary": (None, ["--config.data.vocab_size=3"], "vocabulary of 3"),
}


@pytest.mark.parametrize("table, args, message", BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_leaves_nothing(programs, tmp_path, table, args, message):
  workdir = tmp_path / "run"
  if table is not None:
    (tmp_path / "mine.csv").write_text(table)
    args = [*args, f"--config.data.file={tmp_path / 'mine.csv'}"]
  finished = programs("launch.train", DEBUG, f"--workdir={workdir}", *args)
  assert finished.code == 2 and finished.out == "", finished
  assert finished.err.count("\n") == 1 and "Traceback" not in finished.err
  assert not workdir.exists()
  assert re.search(message, finished.err), finished.err
