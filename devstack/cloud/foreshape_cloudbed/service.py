"""One long-running program of the cloud: started, ended, killed with everything it forked, started again."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foreshape_lab import host as lab_host
from foreshape_lab.cgroups import HostGroup
from foreshape_lab.errors import LabError
from foreshape_lab.processes import PROCESS_FILE, Process, wait_until

ENTER = Path(lab_host.__file__).parent / "host_enter.sh"
GENTLE_S = 8.0
"""How long a program may take to end by itself."""

_STARTED: "dict[Path, subprocess.Popen[bytes]]" = {}
"""What this process started, to be gathered when it ends."""


def always() -> bool:
    return True


@dataclass(frozen=True)
class Service:
    """A program in a cgroup of its own, so that nothing it forks escapes its end. What lasts is on disk and in the kernel."""

    folder: Path
    """The bed's folder, then the service's name."""
    words: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)
    answers: Callable[[], object] = always
    """Whether it can be used now."""
    patience_s: float = 90.0

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def group(self) -> HostGroup:
        return group_of(self.folder)

    @property
    def running(self) -> bool:
        process = Process.load(self.folder / PROCESS_FILE)
        return bool(process and process.alive)

    def start(self) -> None:
        """Begin; ``wait`` tells when it can be used. Raises LabError when it already runs."""
        if self.running:
            raise LabError(f"{self.name} runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.group.make()
        entrances = ":".join(str(e) for e in self.group.entrances())
        with self.log.open("ab") as out:
            process = _STARTED[self.folder] = subprocess.Popen(
                ["sh", str(ENTER), entrances, *(str(w) for w in self.words)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        Process.of(process.pid).save(self.folder / PROCESS_FILE)

    def wait(self) -> None:
        """Until it answers. Raises LabError with its last words when it ended instead."""
        wait_until(self._up, f"{self.name} answering (see {self.log})", self.patience_s, every_s=0.1)

    def _up(self) -> bool:
        if not self.running:
            raise LabError(f"{self.name} ended: {self.said()[-900:]}")
        return bool(self.answers())

    def stop(self) -> None:
        """As an operator would; what has not ended after some seconds is killed."""
        process = Process.load(self.folder / PROCESS_FILE)
        if process and process.alive:
            os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GENTLE_S
        while self.group.members() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.kill()

    def kill(self) -> None:
        """kill -9 of all of it."""
        end_of(self.folder)

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def group_of(folder: Path) -> HostGroup:
    """The cgroup of one service of a bed."""
    return HostGroup(f"fs-{folder.parent.name}-{folder.name}", first=False)


def end_of(folder: Path) -> None:
    """Nothing of a service is left afterwards, whoever started it; also what a dead bed program left."""
    group = group_of(folder)
    wait_until(lambda: _emptied(group), f"the end of {folder.name}", 20, every_s=0.02)
    if started := _STARTED.pop(folder, None):
        started.wait(10)
    (folder / PROCESS_FILE).unlink(missing_ok=True)


def _emptied(group: HostGroup) -> bool:
    group.kill_members()
    return group.remove()
