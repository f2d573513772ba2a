"""TFDS: an unprepared data set is refused without delay, with the command to prepare it."""

import logging
import socket
import sys
import time

import pytest

from dlx.data import tfds
from dlx.errors import UserError


@pytest.fixture
def no_sets(tmp_path, monkeypatch):
  """A TFDS folder without data sets; the network must not be used."""
  import tensorflow_datasets

  asked = []

  def refuse(*args, **kwargs):
    asked.append(args)
    raise OSError("there is no network")

  monkeypatch.setattr(tensorflow_datasets.core.constants, "DATA_DIR", str(tmp_path))
  monkeypatch.setattr(socket, "getaddrinfo", refuse)
  monkeypatch.setattr(socket.socket, "connect", refuse)
  yield tmp_path
  assert not asked


@pytest.mark.parametrize("name", ["tiny_shakespeare", "mnist", "glue/sst2"])
def test_an_unprepared_set_is_refused_quickly_without_the_network(no_sets, name):
  began = time.monotonic()
  with pytest.raises(UserError) as caught:
    tfds.load(name, "train")
  assert time.monotonic() - began < 10
  message = str(caught.value)
  assert f"the TFDS data set {name} is not prepared in {no_sets}" in message
  assert f"tfds build {name} --file_format=array_record" in message
  assert "TFDS_DATA_DIR" in message
  assert caught.value.__suppress_context__  # No traceback of TFDS.


def test_an_unknown_set_is_refused(no_sets):
  with pytest.raises(UserError, match="no_such_set"):
    tfds.load("no_such_set", "train")


def test_reading_needs_no_tensorflow(no_sets, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow", None)
  with pytest.raises(UserError, match="is not prepared"):
    tfds.load("tiny_shakespeare", "train")


def test_loggers_keep_their_levels(no_sets, monkeypatch):
  loggers = [logging.getLogger(name) for name in ("absl", "tensorflow_datasets")]
  for logger in loggers:
    monkeypatch.setattr(logger, "level", logging.INFO)
  with pytest.raises(UserError):
    tfds.load("mnist", "train")
  assert [logger.level for logger in loggers] == [logging.INFO] * 2
