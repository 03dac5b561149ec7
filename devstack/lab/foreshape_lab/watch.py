"""Watches every guest from two sides: its allocation as virsh tells it, and its own words on its console."""

import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from foreshape_lab.console import Seen
from foreshape_lab.errors import LabError
from foreshape_lab.guest import Guest
from foreshape_lab.host import Host


@dataclass(frozen=True)
class Allocation:
    """What the hypervisor gives one guest at one instant, told by libvirt itself. Cores and MiB."""

    at: float
    vcpus: int
    cap: float | None
    """Cores of the quota; None: no cap."""
    memory: float

    @property
    def cpu(self) -> float:
        """Without what the guest has taken off line itself: that stands on its console."""
        return self.vcpus if self.cap is None else min(self.cap, self.vcpus)


@dataclass
class Record:
    """Everything seen of one guest."""

    guest: Guest
    allocations: list[Allocation] = field(default_factory=list)

    @property
    def seen(self) -> list[Seen]:
        return self.guest.console.poll()

    def cpu_given(self) -> list[tuple[float, float]]:
        """Cores over time that the guest could really use: the cap, the vCPUs plugged, and those on line inside."""
        said = self.seen
        return [(a.at, min(a.cpu, _cpus_at(said, a.at, a.vcpus))) for a in self.allocations]


def _cpus_at(said: Sequence[Seen], at: float, otherwise: int) -> int:
    before = [s.cpus for s in said if s.at <= at + 0.5]
    return before[-1] if before else otherwise


class Watch:
    """A thread that looks twice a second, from entering to leaving."""

    def __init__(self, guests: Sequence[Guest], every_s: float = 0.5) -> None:
        self.records = {g.name: Record(g) for g in guests}
        self.every_s = every_s
        self._end = threading.Event()
        self._trouble: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end.set()
        self._thread.join(30)
        if error is None:
            self._still_looking()

    def __getitem__(self, name: str) -> Record:
        self._still_looking()
        return self.records[name]

    def _still_looking(self) -> None:
        """A watch that stopped looking proves nothing of what came after."""
        if self._trouble is not None:
            raise LabError(f"the watch over the guests ended early: {self._trouble!r}") from self._trouble

    def _run(self) -> None:
        try:
            self._keep_looking()
        except Exception as e:  # noqa: BLE001  told to whoever asks for what was seen
            self._trouble = e

    def _keep_looking(self) -> None:
        while not self._end.wait(self.every_s):
            for host in {r.guest.host for r in self.records.values()}:
                with suppress(LabError, OSError):  # a host that is down, or a daemon being restarted
                    self._look(host)
            for record in self.records.values():
                record.guest.console.poll()

    def _look(self, host: Host) -> None:
        """One virsh for all guests of a host: statistics, then each one's caps."""
        names = [n for n, r in self.records.items() if r.guest.host == host]
        caps = "".join(f"; schedinfo {n}" for n in names)
        at = time.time()
        said = host.virsh(f"domstats --state --balloon --vcpu --list-running{caps}")
        stats, *tables = re.split(r"(?=Scheduler\s+:)", said)
        found = dict(_blocks(stats))
        for name, table in zip(names, tables, strict=False):
            given = allocation(at, found[name], table) if "vcpu.current" in found.get(name, {}) else None
            if given is not None:
                self.records[name].allocations.append(given)


def _blocks(stats: str) -> list[tuple[str, dict[str, str]]]:
    """virsh domstats: name → its numbers."""
    blocks = re.findall(r"Domain: '([^']+)'\n((?:  .*\n?)*)", stats)
    return [(name, dict(re.findall(r"  (\S+)=(\S+)", body))) for name, body in blocks]


def allocation(at: float, stats: dict[str, str], table: str) -> Allocation | None:
    """From virsh's words; None for a guest that has died between its statistics and its caps: its periods are 0 then."""
    vcpus = int(stats["vcpu.current"])
    numbers = {k: int(v) for k, v in re.findall(r"(\w+_(?:quota|period))\s*: (-?\d+)", table)}
    if not (numbers.get("global_period") and numbers.get("vcpu_period")):
        return None
    caps = [numbers["global_quota"] / numbers["global_period"], numbers["vcpu_quota"] / numbers["vcpu_period"] * vcpus]
    limits = [c for c in caps if 0 < c < 1000]
    return Allocation(at, vcpus, min(limits) if limits else None, int(stats["balloon.current"]) / 1024)
