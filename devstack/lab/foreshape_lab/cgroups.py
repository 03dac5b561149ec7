"""One cgroup per lab host in every hierarchy of the machine, so that two libvirt daemons never share a domain's cgroup.

Both layouts are served: version 1 (one hierarchy per controller) and version 2 (one for all).
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from foreshape_lab.errors import Missing

V1_CONTROLLERS = frozenset({"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"})

WEIGHTS = {"cpu.shares": "4096", "cpu.weight": "400"}
"""Hosts go before other work on this machine, or that work would look like contention among their guests."""


@dataclass(frozen=True)
class Hierarchy:
    """One mounted hierarchy; ``controllers`` is empty for version 2."""

    mounted: Path
    controllers: str

    @property
    def unified(self) -> bool:
        return not self.controllers


def hierarchies() -> tuple[Hierarchy, ...]:
    """The hierarchies that carry controllers here: version 1's if there are any, else the unified one."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    old = []
    for _, where, kind, options, *_ in mounts:
        words = [o for o in options.split(",") if o in V1_CONTROLLERS]
        if kind == "cgroup" and words:
            old.append(Hierarchy(Path(where), ",".join(words)))
    new = [Hierarchy(Path(m[1]), "") for m in mounts if m[2] == "cgroup2"]
    if not old and not new:
        raise Missing("no cgroup hierarchy is mounted under /sys/fs/cgroup")
    return tuple(old or new[:1])


@dataclass(frozen=True)
class HostGroup:
    """One lab host's cgroups."""

    name: str
    first: bool = True
    """Whether it goes before other work."""

    def folders(self) -> list[Path]:
        return [h.mounted / self.name for h in hierarchies()]

    def make(self) -> None:
        for h in hierarchies():
            folder = h.mounted / self.name
            folder.mkdir(exist_ok=True)
            for file, weight in WEIGHTS.items() if self.first else ():
                if (folder / file).exists():
                    (folder / file).write_text(weight)
            if "cpuset" in h.controllers:  # a new cpuset is empty: nothing may run in it
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (folder / file).write_text((h.mounted / file).read_text())
                (folder / "cgroup.clone_children").write_text("1")

    def entrances(self) -> list[Path]:
        """Where a process writes its id to be part of the host. Version 2 wants processes in leaves only."""
        return [(f / "daemons" if (f / "daemons").is_dir() else f) / "cgroup.procs" for f in self.folders()]

    def members(self) -> set[int]:
        """Ids of every process in the host."""
        found: set[int] = set()
        for folder in self.folders():
            for listing in folder.rglob("cgroup.procs"):
                with suppress(OSError):
                    found |= {int(p) for p in listing.read_text().split()}
        return found - {0}

    def kill_members(self) -> None:
        for pid in self.members():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> bool:
        """Whether the host's cgroups are gone now; they cannot go while a process is in them."""
        for folder in self.folders():
            for part in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
                with suppress(OSError):
                    part.rmdir()
            with suppress(OSError):
                folder.rmdir()
        return not any(f.exists() for f in self.folders())
