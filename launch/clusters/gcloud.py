"""The gcloud program, called with lists of arguments; printed instead in a dry run."""

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
  """gcloud ended with an error; the text is what it said."""


@dataclasses.dataclass(frozen=True)
class Slice:
  """A TPU slice behind a queued resource of the same name.

  Attributes:
    name, zone, project: as gcloud has them; project None is gcloud's own.
    dry_run: print every command, run none.
    poll: seconds between two looks at the state.
  """

  name: str
  zone: str
  project: str | None = None
  dry_run: bool = False
  poll: float = 15.0

  def state(self) -> str:
    """The queued resource's state; GONE when there is none."""
    try:
      said = self._queued("describe", self.name, "--format=value(state.state)")
    except Failed as e:
      if "NOT_FOUND" in str(e) or "not found" in str(e):
        return GONE
      raise
    return READY if self.dry_run else said.strip() or GONE

  def create(self, accelerator_type: str, runtime_version: str, *, spot: bool) -> None:
    """Asks for the slice; it is there when `state` is READY."""
    self._queued(
        "create", self.name, f"--node-id={self.name}", f"--accelerator-type={accelerator_type}",
        f"--runtime-version={runtime_version}", *(["--spot"] if spot else []),
    )  # fmt: skip

  def delete(self) -> None:
    """Gives the slice back, and waits until it is gone."""
    self._queued("delete", self.name, "--force", "--quiet")

  def wait(self, say: Callable[[str], None]) -> None:
    """Returns when the slice is there.

    Raises:
      UserError: it will not be: it failed, or was deleted meanwhile.
    """
    last = None
    while (state := self.state()) != READY:
      if state != last:
        say(f"{self.name}: {state}")
        last = state
      if state not in WAITING:
        raise UserError(
            f"{self.name} is {state} and will not become {READY}; launch.clusters.tpu delete "
            f"--name={self.name} --zone={self.zone} removes it"
        )
      time.sleep(self.poll)

  def copy(self, archive: str) -> None:
    """Copies a file to the home folder of every worker."""
    self._vm("scp", archive, f"{self.name}:", "--worker=all")

  def ssh(self, shell: str, *, worker: str = "all") -> None:
    """Runs a shell command on workers, its output going where ours goes."""
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
        line, stdout=None if show else subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
      raise Failed(done.stderr.strip() or f"exit code {done.returncode}")
    return done.stdout or ""


def check() -> None:
  """Raises UserError unless the program is there."""
  if shutil.which("gcloud") is None:
    raise UserError(
        "there is no program gcloud here; install the Google Cloud CLI, or see the commands "
        "with --dry_run"
    )
