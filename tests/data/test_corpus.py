"""Corpora: their splits are disjoint, have the right sizes, and are reproducible."""

import pathlib
import sysconfig

import pytest

from dlx.data import corpus
from dlx.data.corpus import Corpus
from dlx.errors import UserError


@pytest.mark.parametrize("size", [1, 2, 19, 20, 99, 1000, 1007])
def test_a_text_is_divided_at_90_and_95_percent(size):
  text = "".join(chr(0x100 + i) for i in range(size))
  data = corpus.from_text("mine", text)
  assert data.train + data.validation + data.test == text
  assert len(data.train) == size * 90 // 100
  assert len(data.train + data.validation) == size * 95 // 100


def test_a_sum_of_splits_is_their_concatenation_in_the_given_order():
  data = Corpus("mine", "aaa", "bb", "c")
  assert data.split("train") == "aaa"
  assert data.split("validation+test") == "bbc"
  assert data.split("test+train") == "caaa"
  assert data.characters == {"a", "b", "c"}


@pytest.mark.parametrize("name", ["dev", "", "train+dev", "Train", "train+", "characters"])
def test_an_unknown_split_is_refused(name):
  with pytest.raises(UserError, match="split: expected one of train, validation, test "):
    Corpus("mine", "aaa", "bb", "c").split(name)


def test_a_file_is_divided_and_keeps_its_name(tmp_path):
  path = tmp_path / "poem.txt"
  path.write_text("ab" * 50)
  data = corpus.load("", path=path)
  assert data.name == str(path)
  assert [len(data.split(split)) for split in corpus.SPLITS] == [90, 5, 5]


@pytest.mark.parametrize("content", ["a", "\n" * 1000])
def test_a_file_of_one_distinct_character_is_refused(tmp_path, content):
  path = tmp_path / "constant.txt"
  path.write_text(content)
  with pytest.raises(UserError, match="constant.txt has only one distinct character"):
    corpus.from_file(path)


def test_an_unknown_source_is_refused():
  message = "source: expected tiny_shakespeare or python_source, got 'x'; or use a text file"
  with pytest.raises(UserError, match=message):
    corpus.load("x")


def test_an_empty_python_source_is_refused():
  with pytest.raises(UserError, match="max_characters: expected at least 1, got 0"):
    corpus.load("python_source", max_characters=0)


def test_an_unprepared_tiny_shakespeare_suggests_a_file(monkeypatch):
  def fail(name, split):
    raise UserError("tiny_shakespeare is not prepared")

  monkeypatch.setattr(corpus.tfds, "load", fail)
  with pytest.raises(UserError, match="not prepared; or use a text file"):
    corpus.load("tiny_shakespeare")


SIZE = 400_000


@pytest.fixture(scope="module")
def source():
  return corpus.python_source(SIZE)


def stdlib_files():
  """The contents of the longer files of the standard library, by path."""
  root = pathlib.Path(sysconfig.get_paths()["stdlib"])
  found = {}
  for path in root.rglob("*.py"):
    try:
      found[path] = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
      continue
  return {path: content for path, content in found.items() if len(content) > 2000}


def test_python_source_is_reproducible_and_has_the_given_size(source):
  assert corpus.load("python_source", max_characters=SIZE) == source
  assert [len(source.split(split)) for split in corpus.SPLITS] == [360_000, 20_000, 20_000]


@pytest.mark.full
def test_python_source_has_no_file_in_two_splits(source):
  files = stdlib_files()
  used = {split: set() for split in corpus.SPLITS}
  for path, content in files.items():
    middle = content[500:2000]  # Licences and imports are common to several files.
    for split in corpus.SPLITS:
      if middle in source.split(split):
        used[split].add(path)
  assert len(used["train"]) > 10 and used["validation"] and used["test"]
  texts = {split: {files[path] for path in used[split]} for split in corpus.SPLITS}
  assert not texts["train"] & texts["validation"]
  assert not texts["train"] & texts["test"]
  assert not texts["validation"] & texts["test"]


def test_python_source_deals_sorted_files_and_omits_tests_and_packages(tmp_path, monkeypatch):
  def write(name, content):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("latin1"))

  for i in reversed(range(40)):
    write(f"{'lib' if i < 30 else 'zip'}/m{i:02d}.py", f"<{i:02d}>")
  write("lib/m01.py", "not UTF-8: \xe4")
  write("lib/m02.txt", "not Python")
  for folder in ("test", "lib/tests", "site-packages/numpy", "dist-packages", "lib/__pycache__"):
    write(f"{folder}/m.py", "excluded")
  monkeypatch.setattr(corpus.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
  whole = corpus.python_source(10_000)
  assert whole.validation == "<18><38>" and whole.test == "<19><39>"
  held_out = (1, 18, 19, 38, 39)
  assert whole.train == "".join(f"<{i:02d}>" for i in range(40) if i not in held_out)
  for large in (10**12, 10**400):
    assert corpus.python_source(large) == whole
  capped = corpus.python_source(100)
  assert (capped.train, capped.validation, capped.test) == (whole.train[:90], "<18><", "<19><")


def test_a_smaller_python_source_is_a_prefix_of_a_larger_one(source):
  small = corpus.python_source(SIZE // 10)
  for split in corpus.SPLITS:
    assert source.split(split).startswith(small.split(split)[:1000])


def test_tiny_shakespeare_is_complete():
  try:
    shakespeare = corpus.load("tiny_shakespeare")
  except UserError as e:
    pytest.skip(str(e))
  text = shakespeare.split("train+validation+test")
  assert len(text) == 1_115_394
  assert text.startswith("First Citizen:\nBefore we proceed any further, hear me speak.")
  assert len(shakespeare.characters) == 65
  assert len(shakespeare.train) == 1_003_854
