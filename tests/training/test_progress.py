"""Lines of progress where there is no terminal."""

import pytest

from dlx.training.progress import Progress, duration


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0:00"), (59.9, "0:59"), (60, "1:00"), (3599, "59:59"), (3600, "1:00:00"),
     (100_000, "27:46:40")],
)  # fmt: skip
def test_durations_read_as_on_a_clock(seconds, text):
  assert duration(seconds) == text


def test_lines_come_seldom_when_asked_and_at_the_end(capsys):
  with Progress(10, 0, log_seconds=1000) as progress:
    for step in range(1, 11):
      progress.update(step, {"loss": 2.0 / step})
      if step == 5:
        progress.update(step, {"validation/loss": 0.75}, always=True)
  lines = capsys.readouterr().err.splitlines()
  assert [line.split()[1] for line in lines] == ["5/10", "10/10"]
  assert "loss 0.4" in lines[0] and "validation/loss 0.75" in lines[0]
  # What was said once stays in sight.
  assert "loss 0.2" in lines[1] and "validation/loss 0.75" in lines[1]
  assert "0:00 left" in lines[1] and "steps/s" in lines[1]


def test_each_line_comes_when_the_time_has_passed(capsys):
  with Progress(10, 0, log_seconds=0) as progress:
    for step in range(1, 4):
      progress.update(step, {"loss": 1.0})
  assert len(capsys.readouterr().err.splitlines()) == 3


def test_what_is_counted_has_a_name(capsys):
  with Progress(640, 0, unit="text") as progress:
    progress.update(640, {})
  line = capsys.readouterr().err
  assert line.startswith("text 640/640 ") and "texts/s" in line and "step" not in line


def test_a_line_of_text_stands_by_itself(capsys):
  with Progress(10, 4) as progress:
    progress.say("resuming from step 4")
  captured = capsys.readouterr()
  assert captured.err == "resuming from step 4\n" and not captured.out
