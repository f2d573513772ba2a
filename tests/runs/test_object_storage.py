"""The files of a run in object storage, with an in-memory bucket."""

import fsspec
import pytest

from dlx.errors import UserError
from dlx.runs import lease, object_storage


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  """(the file system, the folder of a run in it, its address)."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  files = fsspec.filesystem("memory")
  monkeypatch.setattr(object_storage, "_files", lambda **options: files)
  root = f"mine/{tmp_path.name}"
  return files, root, f"gs://{root}"


def test_files_are_uploaded_only_while_the_lease_is_held(bucket):
  files, root, address = bucket
  with object_storage.opened_to_train(address) as workdir:
    (workdir / "before").write_text("1")
    object_storage.upload(workdir)
    assert files.cat_file(f"{root}/before") == b"1"
    files.pipe_file(f"{root}/{lease.LEASE}", b"another run")
    (workdir / "after").write_text("2")
    with pytest.raises(UserError, match=f"another run has taken over workdir={address}"):
      object_storage.upload(workdir)
  assert not files.exists(f"{root}/after")
  assert files.cat_file(f"{root}/{lease.LEASE}") == b"another run"


def test_the_lease_is_released_after_a_failure(bucket):
  files, root, address = bucket
  with pytest.raises(RuntimeError, match="diverged"):
    with object_storage.opened_to_train(address):
      assert files.exists(f"{root}/{lease.LEASE}")
      raise RuntimeError("diverged")
  assert not files.exists(f"{root}/{lease.LEASE}")


def test_errors_name_the_address_and_not_the_local_folder(bucket):
  _, _, address = bucket
  with pytest.raises(UserError, match=f"^{address}/config.json and workdir {address}$"):
    with object_storage.opened_to_train(address) as workdir:
      raise UserError(f"{workdir}/config.json and workdir {workdir}")
  read = object_storage.open_to_read(address)
  assert object_storage.with_addresses(f"{read}: step 3") == f"{address}: step 3"
