"""Metric logs: truncated on resume, complete after a kill, and the same as TensorBoard events."""

import json
import math
import struct

import pytest
from tensorboardX.proto import event_pb2

from dlx.runs import metric_log


def events(folder):
  """(step, name, value) of every scalar in the TensorBoard files, in order of writing.

  A record is: its length (8 bytes), a checksum (4), the message, a checksum (4).
  """
  found = []
  for path in sorted(folder.iterdir()):
    content, offset = path.read_bytes(), 0
    while offset < len(content):
      (length,) = struct.unpack_from("<Q", content, offset)
      event = event_pb2.Event.FromString(content[offset + 12 : offset + 12 + length])
      found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
      offset += 16 + length
  return found


def write(workdir, steps, *, after_step=0):
  with metric_log.MetricLog(workdir, after_step=after_step) as log:
    for step in steps:
      log.write(step, {"loss": 1 / 3 + step})
      log.write_timing(step, {"seconds": 0.5})
    log.sync()


def test_a_missing_file_has_no_lines(tmp_path):
  assert metric_log.read(tmp_path / "metrics.jsonl") == []


def test_an_incomplete_last_line_is_ignored(tmp_path):
  path = tmp_path / "metrics.jsonl"
  lines = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
  complete = "".join(json.dumps(line) + "\n" for line in lines)
  last = complete.index("\n") + 1
  for end in range(last, len(complete)):
    path.write_text(complete[:end])
    assert metric_log.read(path) == lines[:1]
  path.write_text(complete)
  assert metric_log.read(path) == lines


def test_values_are_written_exactly_and_immediately(tmp_path):
  value = 0.1 + 0.2
  with metric_log.MetricLog(tmp_path, after_step=0) as log:
    log.write(1, {"loss": value})
    assert metric_log.read(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": value}]


@pytest.mark.parametrize("after_step, kept", [(0, []), (4, [2, 4]), (5, [2, 4]), (9, [2, 4, 6])])
def test_lines_after_the_checkpoint_are_removed(tmp_path, after_step, kept):
  write(tmp_path, [2, 4, 6])
  write(tmp_path, [], after_step=after_step)
  for name in ("metrics.jsonl", "timings.jsonl"):
    assert [line["step"] for line in metric_log.read(tmp_path / name)] == kept


def test_a_resumed_run_has_the_same_file_as_an_uninterrupted_one(tmp_path):
  for name in ("uninterrupted", "resumed"):
    (tmp_path / name).mkdir()
  write(tmp_path / "uninterrupted", range(1, 9))
  write(tmp_path / "resumed", range(1, 7))
  with (tmp_path / "resumed" / "metrics.jsonl").open("a") as file:
    file.write('{"step": 7, "lo')  # As a killed process leaves it.
  write(tmp_path / "resumed", range(5, 9), after_step=4)
  found, expected = (tmp_path / name / "metrics.jsonl" for name in ("resumed", "uninterrupted"))
  assert found.read_bytes() == expected.read_bytes()


def test_timings_have_a_file_of_their_own(tmp_path):
  write(tmp_path, [1])
  assert metric_log.read(tmp_path / "timings.jsonl") == [{"step": 1, "seconds": 0.5}]
  assert "seconds" not in (tmp_path / "metrics.jsonl").read_text()
  assert {name for _, name, _ in events(tmp_path / "tensorboard")} == {"loss"}


def test_events_contain_the_same_scalars(tmp_path):
  with metric_log.MetricLog(tmp_path, after_step=0) as log:
    log.write(3, {"loss": 0.5, "grad_norm": 2.0})
    log.write(6, {"validation/loss": 0.25})
  assert events(tmp_path / "tensorboard") == [
      (3, "loss", 0.5), (3, "grad_norm", 2.0), (6, "validation/loss", 0.25),
  ]  # fmt: skip


def refuse(constant):
  raise ValueError(f"{constant} is not JSON")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_lines_are_strict_json_and_what_is_not_finite_is_read_as_nan(tmp_path, value):
  with metric_log.MetricLog(tmp_path, after_step=0) as log:
    log.write(1, {"loss": 0.5, "validation/loss": value})
    log.write_timing(1, {"seconds": value})
  metrics, timings = ((tmp_path / f"{n}.jsonl").read_text() for n in ("metrics", "timings"))
  line = json.loads(metrics, parse_constant=refuse)
  assert line == {"step": 1, "loss": 0.5, "validation/loss": None}
  assert json.loads(timings, parse_constant=refuse) == {"step": 1, "seconds": None}
  (read,) = metric_log.read(tmp_path / "metrics.jsonl")
  assert math.isnan(read.pop("validation/loss")) and read == {"step": 1, "loss": 0.5}


def test_a_resumed_run_keeps_null_as_it_was(tmp_path):
  with metric_log.MetricLog(tmp_path, after_step=0) as log:
    log.write(1, {"loss": math.nan})
  before = (tmp_path / "metrics.jsonl").read_bytes()
  write(tmp_path, [], after_step=1)
  assert (tmp_path / "metrics.jsonl").read_bytes() == before == b'{"step": 1, "loss": null}\n'


def test_lines_of_older_runs_with_nan_are_read(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n')
  (line,) = metric_log.read(tmp_path / "metrics.jsonl")
  assert math.isnan(line["loss"])
  write(tmp_path, [], after_step=1)
  assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": null}\n'
