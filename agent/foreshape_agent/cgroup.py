"""What the kernel itself says about a domain: QEMU's process, its CPU cgroup, how long it was held back. cgroup v1 and v2.

Files, not libvirt: libvirt has no call for throttled time. Everything here may fail with OSError or Unreadable; the
numbers are then unknown, and the reason is told.
"""

import os
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

from foreshape_wire.quantity import Cores

PROC = Path("/proc")
_CHILD = re.compile(r"^(emulator|vcpu\d+|iothread\d+)$")
"""libvirt's groups below a domain's own."""


class Unreadable(Exception):
    """The kernel's files do not tell; the text says why."""


def qemu_pid(run_dir: Path, name: str, server: str) -> int:
    """The domain's QEMU process, checked: a process that does not carry the domain's uuid is another's."""
    try:
        pid = int((run_dir / f"{name}.pid").read_text())
        line = (PROC / str(pid) / "cmdline").read_bytes()
    except (OSError, ValueError) as e:
        raise Unreadable(f"QEMU's process is not to be found: {e}") from e
    if server.encode() not in line.split(b"\0"):
        raise Unreadable(f"process {pid} is not this domain's: the agent sees other processes than libvirt")
    return pid


def boot_vcpus(pid: int) -> int | None:
    """With how many vCPUs QEMU was started (``-smp``): no XML tells it later."""
    words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    for option, value in pairwise(words):
        if option == b"-smp":
            first = re.match(rb"(?:cpus=)?(\d+)", value)
            return int(first[1]) if first else None
    return None


def started_at(pid: int) -> str:
    """Start of the process, in clock ticks since the host's boot: no two instances of a domain share it."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19]


def cpu_group(pid: int) -> Path:
    """The domain's own CPU cgroup."""
    lines = [line.split(":", 2) for line in (PROC / str(pid) / "cgroup").read_text().splitlines()]
    v1 = next((path for _, names, path in lines if "cpu" in names.split(",")), None)
    path = v1 if v1 is not None else next((path for _, names, path in lines if not names), None)
    mount = _mounts()[0 if v1 is not None else 1]
    if path is None or mount is None:
        raise Unreadable("the CPU cgroup controller is not mounted")
    group = mount / path.lstrip("/")
    group = group.parent if _CHILD.match(group.name) else group
    if not (group / "cpu.stat").exists():
        raise Unreadable(f"no cpu.stat in {group}")
    return group


@cache
def _mounts() -> tuple[Path | None, Path | None]:
    """Where the v1 cpu controller and v2 are mounted, if they are."""
    v1: Path | None = None
    v2: Path | None = None
    for line in (PROC / "self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup" and "cpu" in options.split(","):
            v1 = Path(left.split()[4])
        elif kind == "cgroup2" and v2 is None:
            v2 = Path(left.split()[4])
    return v1, v2


def throttled_ns(stat_file: str) -> int:
    """Time that the group's threads were ready and held back by its cap, since the domain was started."""
    file = os.open(stat_file, os.O_RDONLY)  # once a domain a cycle: a file object costs half as much again
    try:
        words = os.read(file, 4096).split()
    finally:
        os.close(file)
    for word, value in zip(words[::2], words[1::2], strict=False):
        if word == b"throttled_time":
            return int(value)
        if word == b"throttled_usec":
            return int(value) * 1000
    raise Unreadable("cpu.stat tells no throttled time")


def cap(group: Path) -> Cores | None:
    """The cap in force, by the kernel's word; None: no cap."""
    v2 = group / "cpu.max"
    if v2.exists():
        quota, period = v2.read_text().split()
        return None if quota == "max" else Cores(int(quota) / int(period))
    quota_us = int((group / "cpu.cfs_quota_us").read_text())
    return None if quota_us < 0 else Cores(quota_us / int((group / "cpu.cfs_period_us").read_text()))
