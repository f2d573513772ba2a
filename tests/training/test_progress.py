"""Lines of progress without a terminal."""

import pytest

from dlx.training.progress import Progress, duration


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0:00"), (59.9, "0:59"), (60, "1:00"), (3599, "59:59"), (3600, "1:00:00"),
     (100_000, "27:46:40")],
)  # fmt: skip
def test_durations_are_formatted_as_hours_minutes_seconds(seconds, text):
  assert duration(seconds) == text


def test_lines_are_rate_limited_except_on_request(capsys):
  with Progress(10, 0, log_seconds=1000) as progress:
    for step in range(1, 11):
      progress.update(step, {"loss": 2.0 / step})
      if step == 5:
        progress.update(step, {"validation/loss": 0.75}, always=True)
    progress.update(10, {"accuracy": 0.5}, always=True)
  lines = capsys.readouterr().err.splitlines()
  assert [line.split()[1] for line in lines] == ["5/10", "10/10"]
  assert "loss 0.4" in lines[0] and "validation/loss 0.75" in lines[0]
  # Earlier values are repeated.
  for text in ("loss 0.2 ", "accuracy 0.5", "validation/loss 0.75"):
    assert text in lines[1]
  assert "0:00 left" in lines[1] and "steps/s" in lines[1]


def test_every_update_prints_a_line_after_log_seconds(capsys):
  with Progress(10, 0, log_seconds=0) as progress:
    for step in range(1, 4):
      progress.update(step, {"loss": 1.0})
  assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_fit_without_steps_has_no_rate_and_nothing_left(capsys):
  with Progress(0, 0) as progress:
    progress.update(0, {"validation/loss": 0.75}, always=True)
  assert capsys.readouterr().err == "validation/loss 0.75\n"


def test_the_unit_is_named(capsys):
  with Progress(640, 0, log_seconds=0, unit="document") as progress:
    progress.update(640, {})
  line = capsys.readouterr().err
  assert line.startswith("document 640/640 ") and "documents/s" in line and "step" not in line


def test_print_writes_one_line_to_stderr(capsys):
  with Progress(10, 4) as progress:
    progress.print("resuming from step 4")
  captured = capsys.readouterr()
  assert captured.err == "resuming from step 4\n" and not captured.out


def test_the_last_line_is_printed_once_with_the_last_values(capsys):
  with Progress(10, 0, log_seconds=0) as progress:
    progress.update(5, {"loss": 2.0})
    progress.update(5, {"validation/loss": 3.0}, always=True)
    progress.update(10, {"loss": 1.0})
    progress.update(10, {"validation/loss": 0.5}, always=True)
  lines = capsys.readouterr().err.splitlines()
  assert [line.split()[1] for line in lines] == ["5/10", "5/10", "10/10"]
  assert "loss 1  validation/loss 0.5" in lines[-1]


def test_the_rate_leaves_the_compilation_in_the_first_update_out(capsys, monkeypatch):
  now = [100.0]
  monkeypatch.setattr("time.monotonic", lambda: now[0])
  with Progress(100, 20, log_seconds=0) as progress:
    for step, seconds in ((30, 60.0), (40, 1.0), (50, 1.0), (100, 5.0)):
      now[0] += seconds
      progress.update(step, {"loss": 1.0})
      progress.update(step, {"validation/loss": 1.0}, always=True)
  lines = capsys.readouterr().err.splitlines()
  assert [line.split()[1] for line in lines[::2]] == ["30/100", "40/100", "50/100", "100/100"]
  lines = [*lines[1::2], lines[-1]]
  # The first line knows no better: 10 steps took 60 s.
  assert "0.167 steps/s  7:00 left" in lines[0]
  assert ["10 steps/s" in line for line in lines] == [False, True, True, True]
  assert "0:06 left" in lines[1] and "0:05 left" in lines[2] and "0:00 left" in lines[3]
