"""The README's experiment, written to an empty folder and run with the README's commands."""

import pathlib
import re
import shlex

import programs as programs_lib

README = (programs_lib.ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
  return README.partition(f"## {title}\n")[2].partition("\n## ")[0]


def files() -> dict[str, str]:
  """{path: content} of the files that "Add an experiment" shows."""
  pattern = r"`(mine/\w+\.py)`:\n\n```python\n(.*?)```"
  return dict(re.findall(pattern, section("Add an experiment"), re.S))


def commands() -> list[list[str]]:
  lines = re.findall(r"^    python -m (.*)$", section("Add an experiment"), re.M)
  return [shlex.split(line) for line in lines]


def test_the_experiment_of_the_readme_trains_resumes_and_is_evaluated(programs, tmp_path):
  written = files()
  assert set(written) == {"mine/config.py", "mine/experiment.py"}
  assert sum(content.count("\n") for content in written.values()) < 100
  for path, content in written.items():
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(content)
  train, evaluate = commands()
  finished = programs(*train, folder=tmp_path)
  assert finished.code == 0, finished
  workdir = tmp_path / "runs" / "mine"
  assert (workdir / "metrics.jsonl").read_text().count("validation/loss") == 5
  finished = programs(*evaluate, folder=tmp_path)
  assert finished.code == 0 and "loss: " in finished.out, finished

  # It resumes: without its last checkpoint, it repeats the last epoch.
  copy = programs_lib.without_last_checkpoint(tmp_path / "copy", workdir)
  finished = programs(train[0], train[1], f"--workdir={copy}", folder=tmp_path)
  assert finished.code == 0 and "resuming from step 48" in finished.err, finished
  programs_lib.assert_same_run(copy, workdir)


def test_the_layer_in_five_lines_runs_as_it_stands():
  lines = [line[4:] for line in section("A layer in five lines").splitlines() if line[:4] == "    "]
  found = {}
  exec("\n".join(lines), found)
  assert len(lines) == 5 and found["ys"].shape == (5, 4) and set(found["grads"])


def test_links_of_the_documentation_exist():
  root = programs_lib.ROOT
  pages = [root / "README.md", *root.glob("*/**/*.md")]
  pages = [page for page in pages if ".venv" not in page.parts and "runs" not in page.parts]
  broken = []
  for page in pages:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
      if "://" not in link and not (page.parent / link).exists():
        broken.append(f"{page.relative_to(root)}: {link}")
  assert not broken


def test_the_readme_is_short():
  assert README.count("\n") <= 170
  for page in pathlib.Path(programs_lib.ROOT).glob("experiments/*/README.md"):
    assert page.read_text(encoding="utf-8").count("\n") <= 80, page
