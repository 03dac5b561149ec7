"""Processes that outlive the one that started them, named so that a reused id is never taken for them."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from foreshape_lab.errors import LabError

PROCESS_FILE = "process"
"""Where a program of a bed leaves word of its process."""


@dataclass(frozen=True)
class Process:
    """A process by its id and the tick at which it began."""

    pid: int
    began: str

    @classmethod
    def of(cls, pid: int) -> Self:
        return cls(pid, start_tick(pid) or "")

    @classmethod
    def load(cls, file: Path) -> Self | None:
        words = file.read_text().split() if file.exists() else []
        return cls(int(words[0]), words[1]) if len(words) == 2 else None

    def save(self, file: Path) -> None:
        file.write_text(f"{self.pid} {self.began}\n")

    @property
    def alive(self) -> bool:
        return bool(self.began) and start_tick(self.pid) == self.began

    def kill(self) -> None:
        """At once and for ever, if it is still that process."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)

    def children(self) -> list[int]:
        listing = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(p) for p in listing.read_text().split()] if listing.exists() else []


def start_tick(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat; None when there is no such process (a zombie counts as none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def wait_until(true: Callable[[], object], what: str, timeout_s: float, every_s: float = 0.05) -> None:
    """Poll with a deadline. Raises LabError naming what did not happen."""
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout_s:g} s")
        time.sleep(every_s)
