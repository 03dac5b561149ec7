"""A controller's reservations on an emulated cloud over HTTP, with a clock that stands until moved, and a way to die and come back."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloud_emulator import ANSWERED_S, Emulator, Fault, running
from foreshape_controller import assemble
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, Cloud, connect
from foreshape_controller.model.cloud import LOCKED_OUT, RESERVATION
from foreshape_controller.model.reservation import ReservationWish
from foreshape_controller.store import Store
from foreshape_wire.order import Mode
from store_support import settings

T0 = 1_800_000_000.0
HOSTS = ("node01", "node02", "node03")


class Killed(BaseException):
    """The process dies here: nothing catches it."""


class World:
    """Three hosts of 64 VCPU (16 per consumer), mode act; ``at`` is the time of day."""

    def __init__(self, folder: Path, emulator: Emulator, mode: Mode = Mode.ACT, timeout_s: float = ANSWERED_S, **options: Any) -> None:
        self.at = T0
        self.emulator = emulator
        emulator.now = emulator.nova.now = lambda: self.at
        options = {"lock_wait_s": 0.0, "plan_needs": False, **options}
        base = settings(folder)
        self.settings = replace(base, cloud=replace(base.cloud, enabled=True), reservations=replace(base.reservations, **options))
        for host in HOSTS:
            emulator.add_host(host)
        self.cloud: Cloud = connect(
            Access(timeout_s=timeout_s, options=emulator.options()), Ways(Patience(tries=2, first_s=0.0, spread=0.0), sleep=lambda _: None)
        )
        self.start()
        self.store.modes.set("cloud", mode, "a test", self.at)

    def start(self) -> None:
        """The controller comes up, on the database that is there, and reads the cloud."""
        self.store = Store.open(self.settings.store.url)
        work = assemble.build(self.settings, self.store, lambda: self.at, self.cloud)
        assert work is not None
        self.work, self.reservations = work, work.reservations
        self.look()

    def look(self) -> None:
        self.work.watch.run_once(self.at)

    def restart(self) -> None:
        self.store.close()
        self.start()

    def later(self, seconds: float) -> None:
        """Time passes; the cloud is read, and the loop has its turn."""
        self.at += seconds
        self.look()
        self.reservations.run_once(self.at)

    def wish(self, **changed: Any) -> ReservationWish:
        said = {
            "host": "node02",
            "resources": {"VCPU": 4, "MEMORY_MB": 4096},
            "owner": "operator:ann",
            "reason": "a test",
            "until": self.at + 3600,
        }
        return ReservationWish(**{**said, **changed})

    def hold(self, **changed: Any) -> Any:
        return self.reservations.hold(self.wish(**changed), self.at)

    # -- what is really there

    def provider(self, host: str = "node02") -> str:
        return self.emulator.nova.hosts[host].provider

    def ours(self, host: str = "") -> dict[str, dict[str, int]]:
        """What consumers of our type hold, by their uuid."""
        provider = self.provider(host) if host else ""
        return {
            uuid: amounts
            for uuid, c in self.emulator.placement.consumers.items()
            if c.type.startswith(RESERVATION)
            for where, amounts in c.held.items()
            if provider in ("", where)
        }

    def locked(self, host: str = "node02") -> bool:
        return LOCKED_OUT in self.emulator.placement.providers[self.provider(host)].traits

    def fill(self, host: str, leave: int = 0) -> None:
        """Customers take all VCPUs but so many."""
        provider = self.provider(host)
        free = 64 - self.emulator.placement.used(provider)["VCPU"] - leave
        while free > 0:
            self.emulator.boot(host, vcpus=min(16, free), ram=64)
            free -= 16

    def cloud_loses(self, consumer: str) -> None:
        """As an operator's ``nova-manage placement audit --delete`` does."""
        with self.emulator.lock:
            self.emulator.placement.consumers.pop(consumer)

    def fails(self, pattern: str, kind: str = "status", **how: Any) -> Fault:
        """The next requests that match go wrong."""
        fault = Fault(pattern, kind, **how)
        self.emulator.faults.append(fault)
        return fault

    def asked(self, what: str) -> int:
        return sum(what in request for request in self.emulator.requests)


@contextmanager
def world(folder: Path, mode: Mode = Mode.ACT, **options: Any) -> Iterator[World]:
    with running(Emulator()) as emulator:
        made = World(folder, emulator, mode, **options)
        yield made
        made.store.close()


def until(holds: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.01)
