"""Documents: tables, generated sentences, TFDS data sets, and the splits of each."""

import json
import os

import ml_collections
import numpy as np
import pytest

from dlx.data import documents, phrases
from dlx.data.split import train_validation_split
from dlx.errors import UserError

ROWS = [("good, really", "pos"), ('he said "no"', "neg"), ("two\nlines", "pos")]


def write(path, content):
  path.write_text(content, encoding="utf-8")
  return path


def quoted(text):
  return '"' + text.replace('"', '""') + '"'


def table(tmp_path, suffix):
  if suffix == "jsonl":
    lines = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
  else:
    comma = {"csv": ",", "tsv": "\t"}[suffix]
    rows = [("text", "label"), *((quoted(text), label) for text, label in ROWS)]
    lines = [comma.join(row) for row in rows]
  return write(tmp_path / f"reviews.{suffix}", "\n".join(lines) + "\n")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_all_file_formats_give_the_same_rows(tmp_path, suffix):
  data = documents.from_file(table(tmp_path, suffix))
  assert data.texts == tuple(text for text, _ in ROWS)
  assert data.classes == ("neg", "pos") and data.labels.tolist() == [1, 0, 1]


def test_columns_can_have_other_names_and_labels_can_be_numbers(tmp_path):
  path = write(tmp_path / "a.csv", "stars,id,body\n1,x,bad\n10,y,good\n")
  data = documents.from_file(path, "body", "stars")
  assert data.classes == ("1", "10") and data.texts == ("bad", "good")


@pytest.mark.parametrize("refit", [False, True])
def test_refit_adds_the_validation_documents_to_the_training_ones_and_changes_no_other(refit):
  parts = documents.load("sentences", num_validation=40)
  columns = {"file": None, "text_column": "text", "label_column": "label"}
  options = {"dataset": "sentences", "num_validation": 40, "refit": refit, **columns}
  found = documents.from_options(ml_collections.ConfigDict(options))
  more = parts.validation.texts if refit else ()
  assert found.train.texts == parts.train.texts + more
  assert len(found.train.labels) == len(found.train.texts)
  assert found.validation.texts == parts.validation.texts and found.test.texts == parts.test.texts


@pytest.mark.parametrize("name, content, message", [
    ("a.csv", "text,stars\nfine,1\n", "no column 'label'; it has text, stars"),
    ("a.csv", "text,label\nfine,1\nbad,0,extra\n", r"row 2 .line 3.: expected 2 columns, got 3"),
    ("a.csv", "text,label\nfine,1\nbad,\n", "row 2 has no label"),
    ("a.csv", "text,label\nfine,1\n  ,0\n", "row 2 has no text"),
    ("a.csv", "text,label\nfine,1\nbad,1\n", "at least two classes, got 1"),
    ("a.csv", "", "cannot be read: Empty CSV file"),
    ("a.jsonl", '{"text": "a", "label": 1}\n{"text": \n', "row 2 is not valid JSON"),
    ("a.jsonl", '{"text": "a", "label": 1}\n[1, 2]\n', "row 2 is not a JSON object"),
    ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n', "row 2 has no label"),
    ("a.txt", "fine", "expected a .csv, .tsv or .jsonl file, got '.txt'"),
])  # fmt: skip
def test_a_malformed_table_is_refused_in_one_line_with_the_row(tmp_path, name, content, message):
  path = write(tmp_path / name, content)
  with pytest.raises(UserError, match=message) as error:
    documents.from_file(path)
  assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_a_missing_table_or_a_folder_is_refused(tmp_path):
  with pytest.raises(UserError, match="does not exist"):
    documents.from_file(tmp_path / "none.csv")
  with pytest.raises(UserError, match="is a directory"):
    documents.from_file(tmp_path)


def test_generated_sentences_are_balanced_reproducible_and_depend_on_negation():
  data, again = documents.sentences(200), documents.sentences(200)
  assert data.texts == again.texts and data.labels.sum() == 100
  assert documents.sentences(200, seed=1).texts != data.texts
  negated = np.array(["not" in text for text in data.texts])
  assert 30 < negated.sum() < 90
  good = np.array([any(w in text for w in documents._GOOD) for text in data.texts])
  np.testing.assert_array_equal(good ^ negated, data.labels == 1)


def test_the_splits_of_sentences_are_drawn_from_two_seeds():
  splits = documents.load("sentences", num_validation=50)
  assert splits.test.texts == documents.sentences(80, seed=80).texts
  expected = train_validation_split(documents.sentences(400, seed=400), 50)
  for data, same in zip(splits, expected):
    assert data.texts == same.texts and data.labels.tolist() == same.labels.tolist()


def test_a_tenth_of_a_table_is_the_test_split(tmp_path):
  rows = [f"document {i},{i % 3}\n" for i in range(200)]
  path = write(tmp_path / "a.csv", "body,stars\n" + "".join(rows))
  columns = {"text_column": "body", "label_column": "stars"}
  splits = documents.load("", file=path, num_validation=30, **columns)
  assert [len(data) for data in splits] == [150, 30, 20]
  assert {text for data in splits for text in data.texts} == {f"document {i}" for i in range(200)}
  for data in splits:
    assert data.classes == ("0", "1", "2")
    assert [int(text.split()[1]) % 3 for text in data.texts] == data.labels.tolist()
  other = documents.load("", file=path, num_validation=60, **columns)
  assert other.test.texts == splits.test.texts, "independent of num_validation"


def test_texts_need_no_labels_and_have_the_splits_of_labelled_documents(tmp_path):
  """So that what a classifier is tested on is not among the texts of its pretraining."""
  rows = [(f"document {i}", i % 3) for i in range(200)]
  labelled = "".join(f"{text},{label}\n" for text, label in rows)
  path = write(tmp_path / "a.csv", "body,stars\n" + labelled)
  bare = write(tmp_path / "b.csv", "body\n" + "".join(f"{text}\n" for text, _ in rows))
  columns = {"text_column": "body", "label_column": "stars"}
  expected = documents.load("", file=path, num_validation=30, **columns)
  for file in (path, bare):
    found = documents.load_texts("", file=file, text_column="body", num_validation=30)
    assert found == tuple(part.texts for part in expected)
  with pytest.raises(UserError, match="has no column 'text'; it has body"):
    documents.load_texts("", file=bare, num_validation=30)
  empty = write(tmp_path / "c.csv", "text,id\ngood,1\n,2\n")
  with pytest.raises(UserError, match="row 2 has no text"):
    documents.load_texts("", file=empty, num_validation=1)


@pytest.fixture
def tfds(monkeypatch):
  """TFDS data sets of a few documents, by name and split."""
  sst2 = ["a warm and clever film", "a warm", "clever film", "the plot is dull", "dull"]
  reviews = ["good", "bad", "fine", "worse"]
  sets = {
      ("glue/sst2", "train"): [(text, i % 2) for i, text in enumerate(sst2)],
      ("glue/sst2", "validation"): [("her acting is not bad", 1)],
      ("imdb_reviews", "train"): [(text, 1 - i % 2) for i, text in enumerate(reviews)],
      ("imdb_reviews", "test"): [("great", 1), ("ugly", 0)],
      ("imdb_reviews", "unsupervised"): [("unknown", -1), ("strange", -1)],
  }

  def load(name, split):
    feature = {"glue/sst2": "sentence", "imdb_reviews": "text"}[name]
    return [{feature: text.encode(), "label": label} for text, label in sets[name, split]]

  monkeypatch.setattr(documents.tfds, "load", load)
  return {key: tuple(text for text, _ in value) for key, value in sets.items()}


def test_imdb_reviews_have_a_test_split_and_unlabelled_documents(tfds):
  splits = documents.load("imdb_reviews", num_validation=1)
  assert splits.test.texts == tfds["imdb_reviews", "test"] and splits.test.labels.tolist() == [1, 0]
  assert len(splits.train) == 3 and len(splits.validation) == 1
  assert {*splits.train.texts, *splits.validation.texts} == {*tfds["imdb_reviews", "train"]}
  assert documents.unlabelled("imdb_reviews") == ("unknown", "strange")
  assert documents.from_tfds("imdb_reviews", "unsupervised").labels.tolist() == [-1, -1]
  texts = documents.load_texts("imdb_reviews", num_validation=1)
  assert texts.train == (*splits.train.texts, "unknown", "strange")
  assert texts[1:] == (splits.validation.texts, splits.test.texts)


def test_sst2_is_validated_on_whole_sentences_and_tested_on_glues_validation_split(tfds):
  splits = documents.load("glue/sst2", num_validation=1)
  assert splits.test.texts == tfds["glue/sst2", "validation"]
  data = documents.from_tfds("glue/sst2", "train")
  for found, expected in zip(splits, phrases.train_validation_split(data, 1)):
    assert found.texts == expected.texts
  assert documents.unlabelled("glue/sst2") == documents.unlabelled("sentences") == ()


def test_an_unknown_source_is_refused():
  message = "source: expected one of imdb_reviews, glue/sst2, .*, got 'imdb'; or use a table"
  with pytest.raises(UserError, match=message):
    documents.load("imdb", num_validation=1)


def test_an_unknown_tfds_set_is_named():
  with pytest.raises(UserError, match="name: expected one of imdb_reviews, glue/sst2, got 'imdb'"):
    documents.from_tfds("imdb", "train")


@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="needs TFDS_DATA_DIR with glue/sst2")
def test_sst2_has_its_published_size():
  data = documents.from_tfds("glue/sst2", "validation")
  assert len(data) == 872 and data.labels.sum() == 444 and data.classes == ("negative", "positive")
