"""Labelled texts: tables that can be read, and one clear line for those that cannot."""

import json
import os

import numpy as np
import pytest

from dlx.data import labelled_text
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
def test_the_same_rows_come_out_of_every_kind_of_file(tmp_path, suffix):
  data = labelled_text.from_file(table(tmp_path, suffix))
  assert data.texts == tuple(text for text, _ in ROWS)
  assert data.classes == ("neg", "pos") and data.labels.tolist() == [1, 0, 1]


def test_columns_can_have_other_names_and_numbers_are_labels_too(tmp_path):
  path = write(tmp_path / "a.csv", "stars,id,body\n1,x,bad\n10,y,good\n")
  data = labelled_text.from_file(path, "body", "stars")
  assert data.classes == ("1", "10") and data.texts == ("bad", "good")


@pytest.mark.parametrize("name, content, message", [
    ("a.csv", "text,stars\nfine,1\n", "no column 'label'; it has text, stars"),
    ("a.csv", "text,label\nfine,1\nbad,0,extra\n", r"Row #3.*Expected 2 columns, got 3"),
    ("a.csv", "text,label\nfine,1\nbad,\n", "row 2 has no label"),
    ("a.csv", "text,label\nfine,1\n  ,0\n", "row 2 has no text"),
    ("a.csv", "text,label\nfine,1\nbad,1\n", "1 class"),
    ("a.csv", "", "cannot be read: Empty CSV file"),
    ("a.jsonl", '{"text": "a", "label": 1}\n{"text": \n', "row 2 is no JSON"),
    ("a.jsonl", '{"text": "a", "label": 1}\n[1, 2]\n', "row 2 is no JSON object"),
    ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n', "row 2 has no label"),
    ("a.txt", "fine", "'.txt' is none of .csv, .tsv, .jsonl"),
])  # fmt: skip
def test_a_broken_table_is_one_line_with_the_row(tmp_path, name, content, message):
  path = write(tmp_path / name, content)
  with pytest.raises(UserError, match=message) as error:
    labelled_text.from_file(path)
  assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_what_is_no_file_is_said(tmp_path):
  with pytest.raises(UserError, match="does not exist"):
    labelled_text.from_file(tmp_path / "none.csv")
  with pytest.raises(UserError, match="is a directory"):
    labelled_text.from_file(tmp_path)


def test_made_up_sentences_are_balanced_the_same_each_time_and_need_the_word_not():
  data, again = labelled_text.sentences(200), labelled_text.sentences(200)
  assert data.texts == again.texts and data.labels.sum() == 100
  assert labelled_text.sentences(200, seed=1).texts != data.texts
  negated = np.array(["not" in text for text in data.texts])
  assert 30 < negated.sum() < 90
  good = np.array([any(w in text for w in labelled_text._GOOD) for text in data.texts])
  np.testing.assert_array_equal(good ^ negated, data.labels == 1)


def test_the_fingerprint_tells_other_texts_and_other_labels():
  data = labelled_text.sentences(6)
  places = np.arange(6)
  assert data.take(places).fingerprint == data.fingerprint
  assert data.take(places[::-1]).fingerprint != data.fingerprint
  turned = labelled_text.LabelledTexts(data.texts, 1 - data.labels, data.classes)
  assert turned.fingerprint != data.fingerprint


def test_an_unknown_tfds_set_is_named():
  with pytest.raises(UserError, match="'imdb' is not one of imdb_reviews, glue/sst2"):
    labelled_text.from_tfds("imdb", "train")


@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="needs TFDS_DATA_DIR with glue/sst2")
def test_sst2_has_its_published_size():
  data = labelled_text.from_tfds("glue/sst2", "validation")
  assert len(data) == 872 and data.labels.sum() == 444 and data.classes == ("negative", "positive")
