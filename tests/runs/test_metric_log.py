"""Files of metrics: cut at the checkpoint, whole after a kill, and the same as events."""

import json
import struct

import pytest
from tensorboardX.proto import event_pb2

from dlx.runs import metric_log as metrics_lib


def events(folder):
  """(step, name, value) of every scalar in the TensorBoard files, in order of writing.

  A record is: its length (8 bytes), a checksum (4), the message, a checksum (4).
  """
  found = []
  for path in sorted(folder.iterdir()):
    content, place = path.read_bytes(), 0
    while place < len(content):
      (length,) = struct.unpack_from("<Q", content, place)
      event = event_pb2.Event.FromString(content[place + 12 : place + 12 + length])
      found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
      place += 16 + length
  return found


def write(workdir, steps, *, after_step=0):
  with metrics_lib.MetricsWriter(workdir, after_step=after_step) as writer:
    for step in steps:
      writer.write(step, {"loss": 1 / 3 + step})
      writer.write_timing(step, {"seconds": 0.5})
    writer.sync()


def test_a_missing_file_has_no_lines(tmp_path):
  assert metrics_lib.read(tmp_path / "metrics.jsonl") == []


def test_half_a_line_at_the_end_is_left_out_wherever_it_ends(tmp_path):
  path = tmp_path / "metrics.jsonl"
  lines = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
  whole = "".join(json.dumps(line) + "\n" for line in lines)
  last = whole.index("\n") + 1
  for end in range(last, len(whole)):
    path.write_text(whole[:end])
    assert metrics_lib.read(path) == lines[:1]
  path.write_text(whole)
  assert metrics_lib.read(path) == lines


def test_values_are_written_to_the_last_bit(tmp_path):
  value = 0.1 + 0.2
  with metrics_lib.MetricsWriter(tmp_path, after_step=0) as writer:
    writer.write(1, {"loss": value})
  assert metrics_lib.read(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": value}]


@pytest.mark.parametrize("after_step, kept", [(0, []), (4, [2, 4]), (5, [2, 4]), (9, [2, 4, 6])])
def test_lines_beyond_the_checkpoint_are_cut(tmp_path, after_step, kept):
  write(tmp_path, [2, 4, 6])
  write(tmp_path, [], after_step=after_step)
  for name in ("metrics.jsonl", "timings.jsonl"):
    assert [line["step"] for line in metrics_lib.read(tmp_path / name)] == kept


def test_a_resumed_run_has_the_file_of_one_left_alone(tmp_path):
  for name in ("alone", "resumed"):
    (tmp_path / name).mkdir()
  write(tmp_path / "alone", range(1, 9))
  write(tmp_path / "resumed", range(1, 7))
  with (tmp_path / "resumed" / "metrics.jsonl").open("a") as file:
    file.write('{"step": 7, "lo')  # As a kill leaves it.
  write(tmp_path / "resumed", range(5, 9), after_step=4)
  alone, resumed = (tmp_path / name / "metrics.jsonl" for name in ("alone", "resumed"))
  assert alone.read_bytes() == resumed.read_bytes()


def test_timings_are_apart_from_metrics(tmp_path):
  write(tmp_path, [1])
  assert metrics_lib.read(tmp_path / "timings.jsonl") == [{"step": 1, "seconds": 0.5}]
  assert "seconds" not in (tmp_path / "metrics.jsonl").read_text()
  assert {name for _, name, _ in events(tmp_path / "tensorboard")} == {"loss"}


def test_lines_are_in_the_file_as_soon_as_they_are_written(tmp_path):
  with metrics_lib.MetricsWriter(tmp_path, after_step=0) as writer:
    writer.write(1, {"loss": 2.0})
    assert metrics_lib.read(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 2.0}]


def test_events_hold_the_same_scalars(tmp_path):
  with metrics_lib.MetricsWriter(tmp_path, after_step=0) as writer:
    writer.write(3, {"loss": 0.5, "grad_norm": 2.0})
    writer.write(6, {"validation/loss": 0.25})
  assert events(tmp_path / "tensorboard") == [
      (3, "loss", 0.5), (3, "grad_norm", 2.0), (6, "validation/loss", 0.25),
  ]  # fmt: skip
