"""Runs gcloud commands for a TPU slice, or prints them in a dry run."""

from collections.abc import Callable, Sequence
import dataclasses
import shlex
import shutil
import subprocess
import time

from dlx.errors import UserError

GONE, READY = "NONE", "ACTIVE"
WAITING = ("ACCEPTED", "PROVISIONING", "CREATING", "WAITING_FOR_RESOURCES", "DELETING")
LOST = ("SUSPENDING", "SUSPENDED", "FAILED")


class Failed(Exception):
  """gcloud failed; the message is its error output."""


@dataclasses.dataclass(frozen=True)
class Slice:
  """A TPU slice behind a queued resource of the same name.

  Attributes:
    name, zone, project: as in gcloud; None is gcloud's default project.
    dry_run: print every command instead of running it.
    poll: seconds between two queries of the state.
  """

  name: str
  zone: str
  project: str | None = None
  dry_run: bool = False
  poll: float = 15.0

  def state(self) -> str:
    """The state of the queued resource, or GONE if there is none."""
    try:
      output = self._queued("describe", self.name, "--format=value(state.state)")
    except Failed as e:
      if "NOT_FOUND" in str(e) or "not found" in str(e):
        return GONE
      raise
    return READY if self.dry_run else output.strip() or GONE

  def create(self, accelerator_type: str, runtime_version: str, *, spot: bool) -> None:
    """Creates the queued resource; the slice is usable when `state` is READY."""
    self._queued(
        "create", self.name, f"--node-id={self.name}", f"--accelerator-type={accelerator_type}",
        f"--runtime-version={runtime_version}", *(["--spot"] if spot else []),
    )  # fmt: skip

  def delete(self) -> None:
    """Deletes the queued resource and its slice, and waits for it."""
    self._queued("delete", self.name, "--force", "--quiet")

  def wait(self, report: Callable[[str], None]) -> None:
    """Waits until the slice is READY.

    Args:
      report: called with one line for each new state.

    Raises:
      UserError: it will not be: it failed or was deleted.
    """
    last = None
    while (state := self.state()) != READY:
      if state != last:
        report(f"{self.name}: {state}")
        last = state
      if state not in WAITING:
        raise UserError(
            f"{self.name} is {state} and will not become {READY}; delete it with python -m "
            f"launch.clusters.tpu delete --name={self.name} --zone={self.zone}"
        )
      time.sleep(self.poll)

  def copy(self, archive: str) -> None:
    """Copies a file to the home directory of every worker."""
    self._vm("scp", archive, f"{self.name}:", "--worker=all")

  def ssh(self, shell: str, *, worker: str = "all") -> None:
    """Runs a shell command on workers and passes their output through."""
    self._vm("ssh", self.name, f"--worker={worker}", f"--command={shell}", show=True)

  def _queued(self, *arguments: str) -> str:
    return self._run(["compute", "tpus", "queued-resources", *arguments])

  def _vm(self, *arguments: str, show: bool = False) -> str:
    return self._run(["compute", "tpus", "tpu-vm", *arguments], show=show)

  def _run(self, arguments: Sequence[str], *, show: bool = False) -> str:
    project = [f"--project={self.project}"] if self.project else []
    line = ["gcloud", *arguments, f"--zone={self.zone}", *project]
    if self.dry_run:
      print(shlex.join(line))
      return ""
    done = subprocess.run(
        line, stdout=None if show else subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        errors="replace",
    )  # fmt: skip
    if done.returncode:
      raise Failed(done.stderr.strip() or f"exit code {done.returncode}")
    return done.stdout or ""


def check() -> None:
  """Raises UserError unless gcloud is installed."""
  if shutil.which("gcloud") is None:
    raise UserError(
        "gcloud is not installed here; install the Google Cloud CLI, or print the commands with "
        "--dry_run"
    )
