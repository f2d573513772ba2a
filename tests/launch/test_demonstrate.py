"""launch.demonstrate: lists the pages, writes the picture of one, and refuses mistakes."""

import pathlib

from PIL import Image
import programs as programs_lib

PAGES = sorted(p.stem for p in programs_lib.ROOT.glob("demonstrations/[a-z]*.py"))


def test_all_pages_are_listed_and_documented(programs):
  done = programs("launch.demonstrate")
  assert done.code == 0 and [line.split(":")[0] for line in done.out.splitlines()] == PAGES
  text = pathlib.Path(programs_lib.ROOT / "docs/demonstrations.md").read_text()
  for name in PAGES:
    assert f"`python -m launch.demonstrate {name}`" in text


def test_a_picture_is_written_or_nothing(programs, tmp_path):
  done = programs("launch.demonstrate", "compare_sums", folder=tmp_path)
  assert done.code == 0 and "h_T = " in done.out, done
  with Image.open(tmp_path / "compare_sums.png") as image:
    assert image.format == "PNG" and len(image.convert("L").getcolors(256)) > 20
  (tmp_path / "compare_sums.png").unlink()
  for arguments, message in (
      (["compare_sum"], "no demonstration 'compare_sum'; did you mean compare_sums?"),
      (["xyzzy"], f"there are {', '.join(PAGES)}"),
      (["compare_sums", "layer_costs"], "2 demonstrations are named"),
      (["compare_sums", "--output=a.jpg"], "ends in .png"),
      (["compare_sums", "--output=none/a.png"], "cannot be written"),
  ):
    done = programs("launch.demonstrate", *arguments, folder=tmp_path)
    assert done.code == 2 and done.err.count("\n") == 1 and message in done.err, done
    assert not list(tmp_path.iterdir())
