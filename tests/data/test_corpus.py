"""Corpora: how they are cut, that parts are disjoint, and that they stay the same."""

import pathlib
import sysconfig

import pytest

from dlx.data import corpus
from dlx.data.corpus import Corpus
from dlx.errors import UserError


@pytest.mark.parametrize("size", [1, 2, 19, 20, 99, 1000, 1007])
def test_a_text_is_cut_at_90_and_95_percent(size):
  text = "".join(chr(0x100 + i) for i in range(size))
  cut = corpus.from_text("mine", text)
  assert cut.train + cut.validation + cut.test == text
  assert len(cut.train) == size * 90 // 100
  assert len(cut.train + cut.validation) == size * 95 // 100


def test_a_split_is_one_part_or_parts_joined_in_the_order_given():
  cut = Corpus("mine", "aaa", "bb", "c")
  assert cut.split("train") == "aaa"
  assert cut.split("validation+test") == "bbc"
  assert cut.split("test+train") == "caaa"
  assert cut.characters == {"a", "b", "c"}


@pytest.mark.parametrize("name", ["dev", "", "train+dev", "Train", "train+", "fingerprint"])
def test_an_unknown_split_is_refused_with_the_ones_there_are(name):
  with pytest.raises(UserError, match="is not one of train, validation, test"):
    Corpus("mine", "aaa", "bb", "c").split(name)


def test_a_file_is_cut_and_keeps_its_name(tmp_path):
  path = tmp_path / "poem.txt"
  path.write_text("ab" * 50)
  cut = corpus.from_file(path)
  assert cut.name == str(path)
  assert [len(cut.split(part)) for part in corpus.SPLITS] == [90, 5, 5]


@pytest.mark.parametrize("content", ["a", "\n" * 1000])
def test_a_file_of_one_distinct_character_is_refused(tmp_path, content):
  path = tmp_path / "bore.txt"
  path.write_text(content)
  with pytest.raises(UserError, match="bore.txt has only one distinct character"):
    corpus.from_file(path)


def test_the_fingerprint_tells_texts_and_cuts_apart():
  texts = [("aab", "b", "c"), ("aab", "bc", ""), ("aa", "bb", "c"), ("aab", "b", "d"), ("", "", "")]
  prints = [Corpus("mine", *parts).fingerprint for parts in texts]
  assert len(set(prints)) == len(texts)
  assert Corpus("other name", *texts[0]).fingerprint == prints[0]


SIZE = 400_000


@pytest.fixture(scope="module")
def source():
  return corpus.python_source(SIZE)


def stdlib_files():
  """The text of all longer files of the standard library, by their path."""
  root = pathlib.Path(sysconfig.get_paths()["stdlib"])
  found = {}
  for path in root.rglob("*.py"):
    try:
      found[path] = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
      continue
  return {path: content for path, content in found.items() if len(content) > 2000}


def test_python_source_is_the_same_each_time_and_of_the_size_asked_for(source):
  assert corpus.python_source(SIZE) == source
  assert [len(source.split(part)) for part in corpus.SPLITS] == [360_000, 20_000, 20_000]


def test_python_source_has_no_file_in_two_parts(source):
  files = stdlib_files()
  used = {part: set() for part in corpus.SPLITS}
  for path, content in files.items():
    middle = content[500:2000]  # Apart from licences and imports, which files share.
    for part in corpus.SPLITS:
      if middle in source.split(part):
        used[part].add(path)
  assert len(used["train"]) > 10 and used["validation"] and used["test"]
  texts = {part: {files[path] for path in used[part]} for part in corpus.SPLITS}
  assert not texts["train"] & texts["validation"]
  assert not texts["train"] & texts["test"]
  assert not texts["validation"] & texts["test"]


def test_python_source_deals_sorted_files_without_tests_and_packages(tmp_path, monkeypatch):
  def write(name, content):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("latin1"))

  for i in reversed(range(40)):
    write(f"{'lib' if i < 30 else 'zip'}/m{i:02d}.py", f"<{i:02d}>")
  write("lib/m01.py", "not UTF-8: \xe4")
  write("lib/m02.txt", "not Python")
  for folder in ("test", "lib/tests", "site-packages/numpy", "dist-packages", "lib/__pycache__"):
    write(f"{folder}/m.py", "not wanted")
  monkeypatch.setattr(corpus.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
  whole = corpus.python_source(10_000)
  assert whole.validation == "<18><38>" and whole.test == "<19><39>"
  held_out = (1, 18, 19, 38, 39)
  assert whole.train == "".join(f"<{i:02d}>" for i in range(40) if i not in held_out)
  capped = corpus.python_source(100)
  assert (capped.train, capped.validation, capped.test) == (whole.train[:90], "<18><", "<19><")


def test_a_larger_python_source_begins_like_a_smaller_one(source):
  small = corpus.python_source(SIZE // 10)
  for part in corpus.SPLITS:
    assert source.split(part).startswith(small.split(part)[:1000])


def test_tiny_shakespeare_is_whole():
  try:
    shakespeare = corpus.tiny_shakespeare()
  except UserError as e:
    pytest.skip(str(e))
  text = shakespeare.split("train+validation+test")
  assert len(text) == 1_115_394
  assert text.startswith("First Citizen:\nBefore we proceed any further, hear me speak.")
  assert len(shakespeare.characters) == 65
  assert len(shakespeare.train) == 1_003_854
