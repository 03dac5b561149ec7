"""A whole controller whose cloud is the emulated one, with agents that report what stands there: Nova's word beside theirs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from cloud_emulator import ANSWERED_S, Emulator, running
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, Cloud, connect
from foreshape_controller.main import Program, build
from foreshape_controller.model.decision import Decision
from foreshape_wire.ids import ServerId
from foreshape_wire.order import Desired, Mode
from foreshape_wire.quantity import Cores
from foreshape_wire.sample import DomainCard
from store_support import ask, card, report, sample, settings, size

T0 = 1_800_000_000.0
HOSTS = ("node01", "node02")
TOO_LITTLE = 0.1
"""Cores of a server of two that are below what every tier promises: growth is ordered at once."""


class CloudedWorld:
    """Two hosts in Nova, zones east and west; ``at`` is the time of day of everybody. Mode act."""

    def __init__(self, folder: Path, emulator: Emulator, tiers: str = "", segments: str = "") -> None:
        self.at, self.emulator, self.folder = T0, emulator, folder
        emulator.now = emulator.nova.now = lambda: self.at
        for host, zone in zip(HOSTS, ("east", "west"), strict=True):
            emulator.add_host(host, zone=zone)
        base = settings(folder, **self._files(tiers=tiers, segments=segments), forecast="off")
        self.settings = replace(base, cloud=replace(base.cloud, enabled=True))
        patience = Patience(tries=2, first_s=0.0, spread=0.0)
        self.cloud: Cloud = connect(Access(timeout_s=ANSWERED_S, options=emulator.options()), Ways(patience, sleep=lambda _: None))
        self._sequences: dict[str, int] = {}
        self._guests: dict[str, dict[str, DomainCard]] = {}
        self.start()
        self.program.store.modes.set("cloud", Mode.ACT, "a test", self.at)

    def _files(self, **texts: str) -> dict[str, str]:
        for name, text in texts.items():
            (self.folder / f"{name}.yaml").write_text(text)
        return {f"{name}_file": str(self.folder / f"{name}.yaml") if text else "" for name, text in texts.items()}

    def start(self) -> None:
        self.program: Program = build(self.settings, lambda: self.at, self.cloud)
        assert self.program.cloud is not None
        self.work = self.program.cloud

    def restart(self) -> None:
        self.program.store.close()
        self.start()

    # -- Nova, agents

    def boot(self, host: str = "node01", *, reports: bool = True, project: str = "a-project", **what: Any) -> str:
        """Id of a server of 2 cores that its agent sees, too."""
        server = self.emulator.boot(host, **{"ram": 2048, **what})
        self.emulator.nova.servers[server].project = project
        if reports:
            self.guest(server, host)
        return server

    def guest(self, server: str, host: str = "node01", *, cores: float = TOO_LITTLE, **words: Any) -> None:
        """A domain on a host, as its agent sees it."""
        plain = card(server, **{"project": "a-project", "name": "vm", **words})
        self._guests.setdefault(host, {})[server] = msgspec.structs.replace(plain, allocation=size(cores, 2048))

    def gone(self, server: str) -> None:
        for guests in self._guests.values():
            guests.pop(server, None)

    def report(self, host: str = "node01") -> Desired:
        """A report of one agent, and what it is told."""
        guests = self._guests.get(host, {})
        self._sequences[host] = self._sequences.get(host, 0) + 1
        samples = [_measured(s, c) for s, c in guests.items()]
        message = report(self._sequences[host], at=self.at, samples=samples, cards=tuple(guests.values()), host=host)
        return ask(self.program.intake, message, self.at)

    # -- the controller

    def look(self) -> None:
        self.work.watch.run_once(self.at)

    def plan(self) -> Mapping[str, Decision]:
        """By server, of one more plan."""
        return {d.server: d for d in self.program.plan_loop.run_once(self.at).decisions}

    def round(self, seconds: float = 30.0) -> Mapping[str, Decision]:
        """Time passes; agents report, the cloud is read, a plan is made."""
        self.at += seconds
        for host in self._guests:
            self.report(host)
        self.look()
        return self.plan()

    def ordered(self, host: str = "node01") -> set[str]:
        """Servers for which the agent of a host is handed an order now."""
        return {str(o.server) for o in self.report(host).orders}

    def why(self, server: str, found: Mapping[str, Decision]) -> tuple[str, str]:
        """Code and sentence of what became of its CPU."""
        return found[ServerId(server)].cpu.code, found[ServerId(server)].cpu.reason


def _measured(server: str, card: DomainCard) -> Any:
    plain = sample(server, cores=0.05)
    assert plain.cpu is not None
    return msgspec.structs.replace(plain, cpu=msgspec.structs.replace(plain.cpu, allocation=Cores(card.allocation.cpu.cores)))


@contextmanager
def clouded(folder: Path, **files: str) -> Iterator[CloudedWorld]:
    with running(Emulator()) as emulator:
        world = CloudedWorld(folder, emulator, **files)
        yield world
        world.program.store.close()
