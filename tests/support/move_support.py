"""A controller that migrates on an emulated cloud, with agents that report where servers are; everything in one thread, time by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec.structs import replace as changed

from cloud_emulator import Emulator, running
from foreshape_controller.decide.tiers import BUILT_IN
from foreshape_controller.loops.migrations import Migrations, migrations
from foreshape_controller.model.migration import State
from foreshape_controller.model.moving import Moving
from foreshape_controller.model.need import Need
from foreshape_wire.ids import ServerId
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import DomainState
from foreshape_wire.sample import CpuSample, DomainCard, MemorySample, VmSample
from reserve_support import World
from store_support import card, order, outcome, report

ENDED = (State.SETTLED, State.COMPENSATED)


class MoveWorld(World):
    """Three hosts with agents. ``migration_s`` of the emulator is a second: two rounds, a second apart, see one end."""

    def __init__(self, folder: Path, emulator: Emulator, mode: Mode = Mode.ACT, **options: Any) -> None:
        self.workers = options.pop("workers", 0)
        self.options = {"plan_every_s": 1.0, "hold_s": 0.0, **options}
        self.sequence = 0
        self.shapes: dict[str, tuple[float, float]] = {}
        """Cores and MiB that a server has, where they are not what it was sold."""
        self.silent: set[str] = set()
        """Hosts whose agent says nothing."""
        self.strays: dict[str, str] = {}
        """By server: the host where its guest runs, where Nova has another."""
        self.absent: set[str] = set()
        """Servers that no agent reports."""
        self.leaving: set[str] = set()
        """Servers whose guests somebody moves without Nova."""
        self.stops: dict[tuple[str, str], float] = {}
        """By server and host: how long coming there stopped its guest, where the hypervisor says it."""
        self.ahead: dict[str, float] = {}
        """By host: how far its agent's clock is ahead, seconds."""
        emulator.nova.migration_s, emulator.nova.lag_s = 1.0, 0.5
        super().__init__(folder, emulator, mode)

    def start(self) -> None:
        super().start()
        settings = replace(self.settings, migrations=replace(self.settings.migrations, **self.options))
        self.moves: Migrations = migrations(
            settings,
            self.store,
            self.cloud.nova,
            self.work.watch,
            self.reservations,
            lambda: BUILT_IN,
            workers=self.workers,
            placement=self.cloud.placement,
        )
        self.coordinator = self.moves.coordinator

    # -- time

    def agents(self) -> None:
        """Every agent reports what is on its host now: servers that migrate are still the source's."""
        for host in self.emulator.nova.hosts:
            if host not in self.silent:
                self.sequence += 1
                mine = [s for s in self.emulator.nova.servers.values() if self.strays.get(s.id, s.host) == host and s.id not in self.absent]
                samples = [self._sample(s) for s in mine]
                cards = tuple(self._card(s, host) for s in mine)
                told = report(self.sequence, self.at + self.ahead.get(host, 0.0), samples, host=host, cards=cards, epoch=f"e-{host}")
                self.store.history.take(told, self.at)

    def _card(self, server: Any, host: str) -> DomainCard:
        plain = card(server.id, name=server.name, project=server.project, cores=server.vcpus, mib=server.ram)
        return changed(plain, stopped_s=self.stops.get((server.id, host)))

    def _sample(self, server: Any) -> VmSample:
        cores, mib = self.shapes.get(server.id, (server.vcpus, server.ram))
        state = DomainState.MIGRATING if server.status == "MIGRATING" or server.id in self.leaving else DomainState.RUNNING
        zero = Cores(0.0)
        cpu = CpuSample(
            used=Cores(1.0), waiting=zero, throttled=zero, demand=Cores(1.0), allocation=Cores(cores), censored=False, confidence=1.0
        )
        memory = MemorySample(demand=Memory(200.0), allocation=Memory(mib), censored=False, confidence=0.9, rss=Memory(256.0))
        return VmSample(server=server.id, state=state, window_s=10.0, cpu=cpu, memory=memory)

    def round(self, seconds: float = 1.0) -> None:
        """Time passes; the emulator moves on, agents report, the cloud is read, the coordinator has its turn."""
        self.at += seconds
        with self.emulator.lock:
            self.emulator.nova.advance()
        self.agents()
        self.look()
        self.coordinator.run_once(self.at)

    def rounds(self, most: int = 40, seconds: float = 5.0) -> list[Moving]:
        """Until nothing is open any more; what was done."""
        for _ in range(most):
            self.round(seconds)
            if not self.store.migrating.moves.open():
                break
        return self.done()

    # -- what is wanted, and what came of it

    def short(self, host: str, cores: float = 4.0, **more: Any) -> None:
        """The plan loop says that a host will run short."""
        words = {"starts": self.at + 1800, "deadline": self.at + 1200, "probability": 0.9, "candidates": (), "reason": "a test", **more}
        self.store.needs.write([Need(host=host, resource="cpu", amount=cores, **words)], {}, self.at)

    def resizing(self, server: str) -> None:
        """An agent has an order for this server, and has not said yet what came of it."""
        self.store.journal.again(order(f"ord-{server[:8]}", server, self.at), self.host_of(server), (1.0, 512.0), self.at)
        self.at += 1.0
        self.agents()

    def resized(self, server: str) -> None:
        has = self.emulator.nova.servers[server] if server in self.emulator.nova.servers else self.emulator.nova.deleted[server]
        for resource, after in (("cpu", has.vcpus), ("memory", has.ram)):
            told = outcome(f"ord-{server[:8]}", resource, server=ServerId(server), at=self.at, after=float(after))
            self.store.journal.settle([told], self.at)

    def enough(self, host: str) -> None:
        self.store.needs.write([], {(host, "cpu"): "it fits again"}, self.at)

    def propose(self, server: str, target: str, by: str = "ann") -> str:
        """A person wants this very move."""
        around = self.moves.gather(self.at)
        assert around is not None
        proposal = replace_state(self.moves.proposing.single(server, target, "a person wants it", around), by)
        self.store.migrating.proposals.put([proposal])
        return str(proposal.id)

    def done(self) -> list[Moving]:
        return sorted(self.store.migrating.moves.list(0.0), key=lambda r: r.migration.created)

    def orders(self, server: str = "") -> int:
        """How often Nova was told to migrate."""
        return sum("compute POST /servers/" in r and "/action" in r and server in r for r in self.emulator.requests)

    def moved(self, server: str) -> int:
        """How many migrations Nova began."""
        return sum(m.server == server for m in self.emulator.nova.migrations)

    def moves_size(self, server: str) -> dict[str, int]:
        """What it holds in Placement."""
        around = self.moves.gather(self.at)
        assert around is not None
        return around.size(server)

    def host_of(self, server: str) -> str:
        return self.emulator.nova.servers[server].host

    def tidy(self) -> None:
        """Nothing of ours is left in the cloud, no lease, no open migration."""
        assert not self.ours(), "reservations are left in Placement"
        assert not any(self.locked(h) for h in self.emulator.nova.hosts), "a lock is left"
        assert not self.store.migrating.moves.open()
        assert not self.reservations.open()


def replace_state(proposal: Any, by: str) -> Any:
    return changed(proposal, state="approved", by=by) if by else proposal


@contextmanager
def moving(folder: Path, mode: Mode = Mode.ACT, newest: str = "2.104", **options: Any) -> Iterator[MoveWorld]:
    """``newest``: Nova's microversion; ``options``: of ``[migrations]``."""
    with running(Emulator(newest=newest)) as emulator:
        made = MoveWorld(folder, emulator, mode, **options)
        made.agents()
        yield made
        made.store.close()


def placed(world: MoveWorld, host: str = "node01") -> str:
    """Id of a server that runs there, and was seen."""
    server = world.emulator.boot(host, vcpus=4, ram=4096)
    world.round()
    return server
