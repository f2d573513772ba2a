"""What an installation adds to site-packages."""

import programs as programs_lib
import pytest


@pytest.fixture
def installed(monkeypatch):
  """The arguments of setup()."""
  setuptools = pytest.importorskip("setuptools")
  found = {}
  monkeypatch.setattr(setuptools, "setup", lambda **arguments: found.update(arguments))
  monkeypatch.chdir(programs_lib.ROOT)
  exec((programs_lib.ROOT / "setup.py").read_text(encoding="utf-8"), {})
  return found


def test_only_the_library_is_installed_and_all_of_it(installed):
  folders = {path.parent for path in (programs_lib.ROOT / "dlx").rglob("*.py")}
  packages = {".".join(folder.relative_to(programs_lib.ROOT).parts) for folder in folders}
  assert set(installed["packages"]) == packages
  others = [p for p in (programs_lib.ROOT / "dlx").rglob("*.*") if "__pycache__" not in p.parts]
  assert {path.suffix for path in others} == {".py"}  # package_data would name other files.


def test_an_editable_install_has_the_programs(installed):
  """setuptools then writes the checkout's folder to a .pth file, not a list of the packages."""
  assert installed["package_dir"] == {"": "."}
