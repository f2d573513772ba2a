"""What a run keeps in a bucket, in one that is in memory."""

import fsspec
import pytest

from dlx.errors import UserError
from dlx.runs import lease, object_storage


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  """(the file system, the folder of a run in it, its address)."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  files = fsspec.filesystem("memory")
  monkeypatch.setattr(remote, "_files", lambda **options: files)
  root = f"mine/{tmp_path.name}"
  return files, root, f"gs://{root}"


def test_files_go_to_the_bucket_while_the_claim_is_held_and_not_after(bucket):
  files, root, address = bucket
  with object_storage.opened_to_train(address) as workdir:
    (workdir / "before").write_text("1")
    object_storage.put(workdir)
    assert files.cat_file(f"{root}/before") == b"1"
    files.pipe_file(f"{root}/{lease.CLAIM}", b"another run")
    (workdir / "after").write_text("2")
    with pytest.raises(UserError, match=f"another run has begun in --workdir={address}"):
      object_storage.put(workdir)
  assert not files.exists(f"{root}/after")
  assert files.cat_file(f"{root}/{lease.CLAIM}") == b"another run"


def test_the_claim_is_given_back_after_a_failure(bucket):
  files, root, address = bucket
  with pytest.raises(RuntimeError, match="in the midst"):
    with object_storage.opened_to_train(address):
      assert files.exists(f"{root}/{lease.CLAIM}")
      raise RuntimeError("in the midst")
  assert not files.exists(f"{root}/{lease.CLAIM}")
