"""The programs on the document classifier: evaluate, predict, explain, a table of documents.

Data that cannot be used are in test_bad_input.py.
"""

import codecs
import json
import shutil

import pytest

DEBUG = "--config=experiments/transformer_sentiment/config.py:debug"


@pytest.fixture
def run(trained, tmp_path_factory):
  """A copy of a trained run: evaluation writes into it."""
  copy = tmp_path_factory.mktemp("copy") / "run"
  return shutil.copytree(trained("experiments.transformer_sentiment:debug"), copy)


@pytest.mark.full
def test_evaluate_prints_metrics_and_lists_the_errors(programs, run):
  assert (run / "accuracy.png").read_bytes().startswith(b"\x89PNG")
  finished = programs("launch.evaluate", f"--workdir={run}", "--split=test")
  assert finished.code == 0, finished
  metrics = dict(line.split(": ") for line in finished.out.splitlines()[1:])
  assert metrics["examples"] == "80"
  assert float(metrics["accuracy"]) > 0.75  # Adjectives alone, without "not", give 0.7.
  assert 0 <= float(metrics["calibration error"]) <= 1 and 0 < float(metrics["F1"]) <= 1
  assert (run / "confusion_test.png").read_bytes().startswith(b"\x89PNG")
  errors = (run / "errors_test.txt").read_text()
  wrong = round(80 * (1 - float(metrics["accuracy"])))
  assert errors.count("predicted ") == min(wrong, 50)


def test_predict_is_the_same_for_arguments_a_file_and_an_export(programs, run, tmp_path):
  russian = "\u0444\u0438\u043b\u044c\u043c"
  documents = ["the film was great", "the plot was dull and her acting was empty", russian]
  finished = programs("launch.predict", f"--workdir={run}", *documents)
  assert finished.code == 0, finished
  lines = finished.out.splitlines()
  assert [line.rpartition(": ")[0] for line in lines] == documents
  assert "positive" in lines[0].split(", ")[0] and "negative" in lines[1].split(", ")[0]
  (tmp_path / "mine.txt").write_text("\n".join(documents) + "\n", encoding="utf-8")
  exported = tmp_path / "exported"
  assert programs("launch.export", f"--workdir={run}", f"--output={exported}").code == 0
  for workdir in (run, exported):
    same = programs("launch.predict", f"--workdir={workdir}", f"--file={tmp_path / 'mine.txt'}")
    assert same.out == finished.out and same.err == ""


def test_predict_reads_a_file_of_notepad_and_counts_blank_lines(programs, run, tmp_path):
  documents = ["the film was great", "the plot was dull \u2028 and her acting was empty"]
  expected = programs("launch.predict", f"--workdir={run}", *documents)
  path = tmp_path / "mine.txt"
  for mark, encoding in ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le")):
    path.write_bytes(mark + "\r\n\r\n \r\n".join(documents).encode(encoding))
    finished = programs("launch.predict", f"--workdir={run}", f"--file={path}")
    assert finished.code == 0 and finished.out == expected.out, finished
    assert finished.err == f"--file={path}: blank lines skipped: 2\n"


@pytest.mark.full
def test_an_explanation_is_printed_and_drawn(programs, run, tmp_path):
  document = "the plot was dull and her acting was empty"
  finished = programs("launch.explain", f"--workdir={run}", f"--output={tmp_path}", document)
  assert finished.code == 0, finished
  assert finished.out.startswith("negative ") and "dull" in finished.out
  for name in ("attention.png", "attribution.png"):
    assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
  surrogate = "caf\udce9"  # A byte of the command line that is not UTF-8.
  for args, message in {
      (" ",): "is empty", ("a", "b"): "2 inputs are given", (surrogate,): "is not valid UTF-8",
  }.items():  # fmt: skip
    refused = programs("launch.explain", f"--workdir={run}", *args)
    assert refused.code == 2 and message in refused.err, refused
    assert refused.err.count("\n") == 1 and refused.out == ""


@pytest.mark.full
def test_a_document_of_a_hundred_thousand_words_is_classified(programs, run, tmp_path):
  (tmp_path / "long.txt").write_text("great " * 100_000)
  finished = programs("launch.predict", f"--workdir={run}", f"--file={tmp_path / 'long.txt'}")
  assert finished.code == 0 and "positive" in finished.out[-60:], finished.err


def test_predict_refuses_inputs_that_cannot_be_classified(programs, run, tmp_path):
  (tmp_path / "latin1.txt").write_bytes("B\xe4ume".encode("latin1"))
  (tmp_path / "blank.txt").write_text("\n \n")
  for args, message in {
      ("ok", " "): "is empty",
      (): "no input",
      (f"--file={tmp_path}",): "cannot be read",
      (f"--file={tmp_path / 'latin1.txt'}",): "cannot be read",
      (f"--file={tmp_path / 'blank.txt'}",): "blank.txt has no input: 2 lines, all of them blank",
      ("fine", "caf\udce9"): "is not valid UTF-8",
      ("a", "--file=b"): "both --file=b and 'a' are given",
  }.items():
    finished = programs("launch.predict", f"--workdir={run}", *args)
    assert finished.code == 2 and message in finished.err, finished
    assert finished.err.count("\n") == 1 and finished.out == ""


@pytest.mark.full
def test_a_table_of_documents_is_trained_on(programs, tmp_path):
  words = {"fine": ("warm", "great", "bright"), "poor": ("dull", "empty", "cold")}
  rows = [{"review": f"the {noun} was {word}", "stars": label}
          for noun in ("film", "plot", "cast", "end") for _ in range(8)
          for label, some in words.items() for word in some]  # fmt: skip
  (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  workdir = tmp_path / "run"
  finished = programs(
      "launch.train", DEBUG, f"--workdir={workdir}", f"--config.data.file={tmp_path}/mine.jsonl",
      "--config.data.text_column=review", "--config.data.label_column=stars",
      "--config.data.num_lengths=1", "--config.training.total_steps=40",
  )  # fmt: skip
  assert finished.code == 0, finished
  assert json.loads((workdir / "assets.json").read_text())["classes"] == ["fine", "poor"]
  finished = programs("launch.predict", f"--workdir={workdir}", "--top=1", "the film was dull")
  assert finished.out.startswith("the film was dull: poor "), finished
