"""A controller with pools on an emulated cloud over HTTP, agents that carry out its orders, a clock that stands until moved, and death."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import structlog

from cloud_emulator import ANSWERED_S, PROJECT, Emulator, Fault, running
from foreshape_controller import assemble
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, Cloud, connect
from foreshape_controller.loops.claiming import Claiming
from foreshape_controller.loops.intake import Intake
from foreshape_controller.main import Program, build
from foreshape_controller.model.pool import SHADOW_KEY, ClaimAnswer, ClaimRequest, Pool, PoolRequest, Shadow, State
from foreshape_controller.store import Store
from foreshape_wire.ids import OrderId
from foreshape_wire.order import Mode, Outcome
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import Capability, LeverName
from store_support import ask, card, outcome, report, sample, settings
from tenants_support import FakeTokens

T0 = 1_800_000_000.0
HOSTS = ("node01", "node02")


class Killed(BaseException):
    """The process dies here: nothing catches it."""


class Life:
    """Counts what changes anything, in the store and in the cloud, and dies at the chosen moment."""

    def __init__(self, dies_at: int = 0) -> None:
        self.steps, self.dies_at = 0, dies_at

    def tick(self) -> None:
        self.steps += 1
        if self.steps == self.dies_at:
            raise Killed


class Mortal:
    """Somebody whose changing methods can be the last thing that happens. Dead after one is dead before the next: nothing is between."""

    ACTS = frozenset({"create", "delete", "rename", "tag", "create_port", "delete_port", "plan", "change", "claim", "missed", "record"})

    def __init__(self, inner: Any, life: Life) -> None:
        self._inner, self._life = inner, life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self.ACTS:
            return found

        def act(*args: Any, **words: Any) -> Any:
            done = found(*args, **words)
            self._life.tick()
            return done

        return act


class World:
    """Two hosts, an image ``cirros``, a network, mode act; ``at`` is the time of day."""

    def __init__(self, folder: Path, emulator: Emulator, mode: Mode = Mode.ACT, *, whole: bool = False, **options: Any) -> None:
        """``whole``: with plans and the API, which costs most of a second; else there is only what pools need."""
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        self.at, self.emulator, self.life = T0, emulator, Life()
        emulator.now = emulator.nova.now = lambda: self.at
        base = settings(folder, forecast="off")
        pools = replace(base.pools, **{"interval_s": 10.0, "sweep_every_s": 10.0, **options})
        self.settings = replace(base, cloud=replace(base.cloud, enabled=True), pools=pools)
        for host in HOSTS:
            emulator.add_host(host)
        self.image, self.network = emulator.glance.add("cirros"), emulator.neutron.add_network()
        self.sizes: dict[str, Size] = {}
        """What agents gave each server."""
        self.done: dict[str, list[Outcome]] = {}
        self.sequence = 0
        self.told: dict[str, Any] = {}
        """Each agent's newest reply."""
        self.deaf: set[str] = set()
        """Hosts whose agents say nothing."""
        self.program: Program | None = None
        self.whole = whole
        self.start()
        self.store.modes.set("cloud", mode, "a test", self.at)

    def start(self) -> None:
        """The controller comes up on the database that is there, and reads the cloud."""
        access = Access(timeout_s=ANSWERED_S, options=self.emulator.options())
        cloud: Any = connect(access, Ways(Patience(tries=2, first_s=0.0, spread=0.0), sleep=lambda _: None))
        door = Cloud(Mortal(cloud.nova, self.life), cloud.placement, cloud.keystone, cloud.glance, Mortal(cloud.neutron, self.life))  # type: ignore[arg-type]
        self._make(door)
        assert self.cloud is not None
        self.work = self.cloud.pools
        self.store.pools = Mortal(self.store.pools, self.life)  # type: ignore[assignment]
        self.work.shadowing._store = self.store.pools
        self.claiming = Claiming(self.work)
        self.look()

    def _make(self, door: Cloud) -> None:
        if self.whole:
            self.program = build(self.settings, lambda: self.at, door, FakeTokens())
            self.store, self.cloud, self.intake = self.program.store, self.program.cloud, self.program.intake
            return
        self.store = Store.open(self.settings.store.url)
        self.cloud, self.intake = assemble.build(self.settings, self.store, lambda: self.at, door), Intake(self.store, self.settings)

    def restart(self) -> None:
        self.life.dies_at = 0
        self.store.close()
        self.start()

    # -- time

    def look(self) -> None:
        assert self.cloud is not None
        self.cloud.watch.run_once(self.at)

    def later(self, seconds: float = 10.0, *, plan: bool = True) -> None:
        """Time passes: agents report, the cloud is read, a plan is made where the test wants some, pools are looked after."""
        self.at += seconds
        self.report()
        self.look()
        if self.program and plan:
            self.program.plan_loop.run_once(self.at)
        self.work.run_once(self.at)

    def until(self, holds: Any, what: str, times: int = 60, seconds: float = 10.0) -> None:
        for _ in range(times):
            if holds():
                return
            self.later(seconds)
        raise AssertionError(f"waited for {what}: {[(s.id, s.state.value, s.why) for s in self.shadows()]}")

    def report(self) -> None:
        """Every agent tells of its servers, and does at once what the reply says."""
        for host in HOSTS:
            if host in self.deaf:
                continue
            there = [s for s in self.emulator.nova.servers.values() if s.host == host and s.status == "ACTIVE"]
            self.sequence += 1
            cards = tuple(self._card(s) for s in there)
            samples = [self._sample(s.id) for s in there]
            told = report(self.sequence, self.at, samples, host=host, cards=cards, outcomes=tuple(self.done.pop(host, [])))
            reply = self.told[host] = ask(self.intake, told, self.at)
            for order in reply.orders:
                self._obey(host, order)

    def _card(self, server: Any) -> Any:
        made = card(server.id, name=server.name, project=server.project, cores=float(server.vcpus), mib=float(server.ram))
        has = self.sizes.setdefault(server.id, made.entitlement)
        balloon = Capability(lever=LeverName.MEM_BALLOON, lowest=64.0, highest=float(server.ram), granule=1.0)
        return msgspec.structs.replace(made, allocation=has, capabilities=(*made.capabilities, balloon))

    def _sample(self, server: str) -> Any:
        has, made = self.sizes[server], sample(server, cores=0.01, mib=120.0)
        cpu = msgspec.structs.replace(made.cpu, allocation=has.cpu)
        return msgspec.structs.replace(made, cpu=cpu, memory=msgspec.structs.replace(made.memory, allocation=has.memory))

    def _obey(self, host: str, order: Any) -> None:
        had = self.sizes[order.server]
        to = Size(order.cpu or had.cpu, order.memory or had.memory)
        self.sizes[order.server] = to
        for resource, asked, amount in (("cpu", order.cpu, to.cpu.cores), ("memory", order.memory, to.memory.mib)):
            if asked is not None:
                words = {"server": order.server, "cause": order.cause, "at": self.at, "target": amount, "after": amount}
                self.done.setdefault(host, []).append(outcome(OrderId(order.order), resource, **words))

    # -- asking

    def pool(self, **changed: Any) -> Pool:
        """One that wants two shadow VMs, and lets one too many go after a minute."""
        said = {"name": "web", "image": "cirros", "flavor": "m1.small", "least": 2, "most": 4, "idle_s": 60.0}
        return self.work.create(PoolRequest(**{**said, **changed}), self.at)

    def claim(self, name: str = "shop", pool: str = "web", **more: Any) -> ClaimAnswer:
        return self.claiming.claim(self.store.pools.find(pool), ClaimRequest(name=name, **more), self.at)

    def shadows(self, *states: State) -> list[Shadow]:
        return [s for s in self.store.pools.shadows() if not states or s.state in states]

    def ready(self) -> list[Shadow]:
        return self.shadows(State.READY)

    def warm(self, count: int = 2) -> None:
        self.until(lambda: len(self.ready()) == count, f"{count} ready")

    # -- what is really there

    def servers(self, **of: Any) -> list[Any]:
        """Servers in Nova that have our tag."""
        return [
            s for s in self.emulator.nova.servers.values() if SHADOW_KEY in s.metadata and all(getattr(s, k) == v for k, v in of.items())
        ]

    def asked(self, what: str) -> int:
        return sum(what in request for request in self.emulator.requests)

    def fails(self, pattern: str, kind: str = "status", **how: Any) -> Fault:
        fault = Fault(pattern, kind, **how)
        self.emulator.faults.append(fault)
        return fault

    def size(self, server: str) -> tuple[float, float]:
        return self.sizes[server].cpu.cores, self.sizes[server].memory.mib


@contextmanager
def world(folder: Path, mode: Mode = Mode.ACT, *, whole: bool = False, **options: Any) -> Iterator[World]:
    with running(Emulator()) as emulator:
        made = World(folder, emulator, mode, whole=whole, **options)
        yield made
        made.store.close()


__all__ = ["HOSTS", "PROJECT", "T0", "Cores", "Killed", "Life", "Memory", "World", "world"]
