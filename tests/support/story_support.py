"""Stories of migrations on a real cloud with the product on it: what its tests look at, and others that want the room."""

import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foreshape_cloudbed import RealCloud
from foreshape_cloudbed.users import NoValidHost
from foreshape_lab.console import Console

from cloud_bed import CloudHands
from foreshape_controller.cloud.inventory import read_cloud
from foreshape_controller.model.cloud import RESERVATION, CloudView
from lab_support import Resets, eventually

THIEVES = 3
SIZE = {"vcpus": 1, "ram": 192, "disk": 1}
WANT_OF_MEMORY = re.compile(r"Out of memory|deadlocked on memory|oom=[1-9]")
"""Said by a guest that had too little of it: that may be our doing."""


@dataclass
class Stage:
    """The cloud, its users, and the product on it."""

    cloud: RealCloud
    hands: CloudHands = field(init=False)
    _providers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hands = CloudHands(self.cloud)

    @property
    def controller(self) -> Any:
        assert self.cloud.controller is not None
        return self.cloud.controller

    def view(self) -> CloudView:
        return read_cloud(self.hands.cloud.nova, self.hands.cloud.placement, time.time)

    def fill(self, host: str, but: int = 1) -> list[str]:
        """Consumers that hold all VCPUs of a host but so many."""
        me, room = self.hands.cloud.keystone.me(), self.view().hosts[host]
        most, left = room.inventories["VCPU"].max_unit, room.free("VCPU") - but
        made: list[str] = []
        while left > 0:
            consumer = f"00000000-0000-4000-8000-{len(made):012d}"
            share = {room.provider: {"VCPU": min(left, most)}}
            self.hands.cloud.placement.put_allocation(consumer, share, generation=None, type="SOMEBODY", project=me.project, user=me.user)
            made.append(consumer)
            left -= most
        return made

    def empty(self, taken: list[str]) -> None:
        for consumer in taken:
            self.hands.cloud.placement.delete_allocation(consumer)

    def states(self, move: str) -> list[str]:
        return [h["state"] for h in self.controller.ask("migration", "show", move)["history"]]

    def name(self, server: str) -> str:
        """libvirt's."""
        return str(self.hands.users.link.compute.get_server(server).instance_name)

    def quota(self, server: str, host: str) -> int:
        """Microseconds of CPU a period that a guest may have, by its hypervisor; -1: any."""
        found = re.search(r"global_quota\s*:\s*(-?\d+)", self.cloud.host(host).virsh("schedinfo", self.name(server)))
        return int(found[1]) if found else -1

    def runs(self, server: str) -> list[str]:
        """Hosts whose hypervisor has the guest running."""
        name = self.name(server)
        return [h for h in self.cloud.hosts if name in self.cloud.host(h).virsh("list", "--name").split()]

    def uptime(self, server: str) -> float:
        """Seconds by the guest's own kernel, on the host where it runs; 0: it has not spoken there yet."""
        files = [self.console(h, server) for h in self.runs(server)]
        said = [seen.up for file in files if file.exists() for seen in Console(file).poll()]
        return said[-1] if said else 0.0

    def heard(self, server: str) -> float:
        """The same, once it has spoken; 0: for a minute it says nothing."""
        with suppress(AssertionError):
            return float(eventually(lambda: self.uptime(server), "a word of the guest", 60))
        return 0.0

    def console(self, host: str, server: str) -> Path:
        """What a guest said on a host; not there: it never ran there."""
        return Path(self.cloud.host(host).folder) / "lib/instances" / server / "console.log"

    def last_words(self, server: str, most: int = 25) -> str:
        """What its guest said last on either host: why it was started anew, if it was."""
        files = {h: file for h in self.cloud.hosts if (file := self.console(h, server)).exists()}
        told = {h: file.read_text(errors="replace").splitlines()[-most:] for h, file in files.items()}
        return "\n".join(f"{h}: {line}" for h, lines in told.items() for line in lines)

    def died(self, server: str, up: tuple[float, float], resets: Resets) -> str:
        """How a guest died of itself while it moved; empty: it did not. ``up``: what its kernel counted before and after, 0: silence.

        Seen about once in 60 moves, once with libvirt alone: it restarts itself, its kernel dies of an oops, or it never says a word again.
        Most likely the emulator: QEMU without KVM can lose what a guest writes to a page while it is sent (qemu-devel, 2015-09-03, "Page
        dirtying and migration in pure-QEMU VM mode"). A test may try once more then, and says so. One that somebody restarts, and one that
        wanted memory, did not die of itself.
        """
        before, after = up
        name, runs = self.name(server), self.runs(server)
        if after > before or len(runs) != 1 or WANT_OF_MEMORY.search(self.last_words(server, 5000)):
            return ""
        if not after:
            return f"{name} runs on {runs[0]} and says nothing"
        told = resets.of(name)
        return told[-1][1] if told and all(own for own, _ in told) else ""

    def reserved(self, host: str) -> bool:
        """Room is held there, or was already handed over: between the two lies half a second."""
        rows = self.controller.rows("select state from reservations where host = ?", host)
        return any(r["state"] in {"held", "handed_over"} for r in rows)

    def held(self, host: str) -> list[str]:
        """Our consumers on a host, as Placement has them."""
        return sorted(c for c in self.holders(host) if self.hands.cloud.placement.allocation(c).type.startswith(RESERVATION))

    def holders(self, host: str) -> set[str]:
        """Everybody's consumers on a host."""
        self._providers = self._providers or {h.name: h.provider for h in self.view().hosts.values()}
        return set(self.hands.cloud.placement.holders(self._providers[host]))

    def everybody(self) -> set[str]:
        """Everybody's consumers on all hosts."""
        return {c for h in self.cloud.hosts for c in self.holders(h)}

    def orders(self, server: str) -> int:
        """Migrations that Nova knows of a server."""
        return len(self.hands.cloud.nova.migrations(server=server))


class Thieves:
    """Others that want the room, again and again, while it is held and handed over."""

    def __init__(self, stage: Stage, target: str, many: int = THIEVES) -> None:
        self.stage, self.target = stage, target
        self.refused = 0
        self.stolen: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._steal) for _ in range(many)]

    def __enter__(self) -> "Thieves":
        assert CloudHands(self.stage.cloud).users.image, "made once: several at a time would each make one of the same name"
        for t in self._threads:
            t.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for t in self._threads:
            t.join(120)

    def _steal(self) -> None:
        hands = CloudHands(self.stage.cloud)
        while not self._over.is_set():
            try:
                self.stolen.append(hands.users.boot(self.target, **SIZE))
            except NoValidHost:
                self.refused += 1
