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
