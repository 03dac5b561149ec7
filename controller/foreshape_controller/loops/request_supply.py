"""The room that requests are answered from: hosts as OpenStack has them, or, without one, as their agents report them.

Promises that others were given count: reservations that are planned, migrations under way, shadow VMs that are still to boot. What a
request's own reservation already holds in Placement is taken off there, as the request counts for itself; but only if it was held when the
cloud was read, so that nothing is ever counted less than once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from foreshape_controller.decide import ground as columns
from foreshape_controller.decide.request_offers import Catalog
from foreshape_controller.decide.request_room import SLOT_S, Ledger, Numbers, Supply
from foreshape_controller.decide.requests import RequestRule
from foreshape_controller.decide.target import Guest, why_not
from foreshape_controller.model.cloud import CLASSES, MEMORY, VCPU, CloudHost, CloudView, Resources
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.moving import Moving
from foreshape_controller.model.pool import Decided, Pool, Shadow
from foreshape_controller.model.request import Request
from foreshape_controller.model.reservation import Reservation, State
from foreshape_controller.model.server import ClusterView, Host, Server

MINE = "request:"
FRESH_S = 3600.0
"""A forecast that is older is none."""


class Fans(Protocol):
    """Forecasts of hosts: row by series' name, origin of each, [n, 48, 13]."""

    @property
    def rows(self) -> Mapping[str, int]: ...

    @property
    def origin(self) -> Numbers: ...

    @property
    def half_hours(self) -> Numbers: ...


class _Forecasts(Protocol):
    def fans(self, resource: str, kind: str) -> Fans: ...


class _Inventory(Protocol):
    def view(self, now: float) -> ClusterView: ...


class _Reservations(Protocol):
    def open(self) -> Sequence[Reservation]: ...


class _Pools(Protocol):
    def all(self) -> Sequence[Pool]: ...
    def decided(self, pool: str) -> Decided | None: ...
    def shadows(self, pool: str = "", *, alive: bool = False) -> Sequence[Shadow]: ...


class _Moves(Protocol):
    def open(self) -> Sequence[Moving]: ...


class _Migrating(Protocol):
    @property
    def moves(self) -> _Moves: ...


class SupplyStore(Protocol):
    """The part of the store that is needed here."""

    @property
    def forecasts(self) -> _Forecasts: ...
    @property
    def inventory(self) -> _Inventory: ...
    @property
    def reservations(self) -> _Reservations: ...
    @property
    def pools(self) -> _Pools: ...
    @property
    def migrating(self) -> _Migrating: ...


@dataclass(frozen=True)
class SupplyTerms:
    """What the configuration says."""

    grid_s: float = 8 * 86400.0
    cpu_ratio: float = 4.0
    """Without an OpenStack: VCPUs that may be sold for each core."""
    memory_ratio: float = 1.0
    memory_reserved_mib: float = 512.0
    silent_s: float = 300.0
    """Without an OpenStack: a host whose agent has been silent for so long gets nothing."""


@dataclass(frozen=True)
class Hold:
    """Room that somebody else was promised on a host."""

    host: str
    amounts: tuple[float, ...]
    start: float
    end: float


@dataclass(frozen=True)
class Seen:
    """All that requests are answered from, at one instant."""

    supply: Supply
    catalog: Catalog
    holds: tuple[Hold, ...] = ()
    view: CloudView | None = None
    """None: no OpenStack is configured; the books are all there is."""
    unforecast: int = 0
    """Hosts without a forecast."""
    specs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Extra specs by flavor's name."""

    def ledger(self, rule: RequestRule) -> Ledger:
        """Room after what others were promised."""
        ledger = Ledger(self.supply, full=rule.full, share=rule.share, spare=rule.spare)
        for hold in self.holds:
            ledger.hold(hold.host, hold.amounts, hold.start, hold.end)
        return ledger

    def barred(self, request: Request) -> frozenset[str]:
        """Hosts that its flavor or its project may not have."""
        if self.view is None or request.only_host:
            return frozenset()
        guest = Guest(request.each, az=request.ask.az, project=request.project, specs=self.specs.get(request.ask.flavor))
        return frozenset(h.name for h in self.view.hosts.values() if why_not(h, guest, self.view, room=False))


Look = Callable[[float], Seen | str]
"""What there is now, or why nothing can be promised."""


class WithoutCloud:
    """Hosts as their agents report them."""

    def __init__(self, store: SupplyStore, terms: SupplyTerms) -> None:
        self._store, self._terms = store, terms

    def __call__(self, now: float) -> Seen | str:
        view = self._store.inventory.view(now)
        if not view.hosts:
            return "no agent reports yet"
        hosts = sorted(view.hosts, key=lambda h: h.name)
        names = tuple(str(h.name) for h in hosts)
        sold = _sold(names, view.servers)
        size = np.array([self._size(h) for h in hosts])
        physical = np.array([(float(h.cpus), h.memory_total.mib - self._terms.memory_reserved_mib) for h in hosts])
        fans, missing = _fans(self._store.forecasts, names, now)
        supply = Supply(
            start=Supply.begin(now),
            slots=int(self._terms.grid_s / SLOT_S),
            names=names,
            zones=("",) * len(names),
            closed=tuple(f"its agent is silent for {now - h.last_seen:.0f} s" if self._silent(h, now) else "" for h in hosts),
            capacity=np.column_stack([size, np.full(len(names), np.inf)]),
            most=np.column_stack([physical[:, 0], size[:, 1], np.full(len(names), 1e12)]),
            step=np.ones((len(names), 3)),
            used=sold,
            physical=physical,
            fans=fans,
        )
        return Seen(supply, Catalog(_flavors_of(view.servers), ()), unforecast=missing)

    def _size(self, host: Host) -> tuple[float, float]:
        memory = (host.memory_total.mib - self._terms.memory_reserved_mib) * self._terms.memory_ratio
        return float(int(host.cpus * self._terms.cpu_ratio)), float(int(memory))

    def _silent(self, host: Host, now: float) -> bool:
        return not abs(now - host.last_seen) <= self._terms.silent_s


class WithCloud:
    """Hosts as Nova and Placement have them."""

    def __init__(
        self, store: SupplyStore, view: Callable[[], CloudView | None], why_not: Callable[[float], str], terms: SupplyTerms
    ) -> None:
        """``why_not``: why the newest reading is no ground to promise room on."""
        self._store, self._view, self._why_not, self._terms = store, view, why_not, terms

    def __call__(self, now: float) -> Seen | str:
        view, said = self._view(), self._why_not(now)
        if view is None or said:
            return said or "the cloud was not read yet"
        hosts = [view.hosts[name] for name in sorted(view.hosts)]
        names = tuple(h.name for h in hosts)
        agents = {str(h.name): h for h in self._store.inventory.view(now).hosts}
        physical = np.array([self._physical(h, agents.get(h.name)) for h in hosts]).reshape(-1, 2)
        told = columns.hosts(hosts, physical, physical)
        fans, missing = _fans(self._store.forecasts, names, now)
        open_ones = self._store.reservations.open()
        supply = Supply(
            start=Supply.begin(now),
            slots=int(self._terms.grid_s / SLOT_S),
            names=names,
            zones=told.zones,
            closed=told.closed,
            capacity=told.capacity,
            most=told.most,
            step=told.step,
            used=np.maximum(told.held - _own(names, open_ones, view.at), 0.0),
            physical=physical,
            fans=fans,
        )
        flavors = {s.flavor.name: s.flavor for s in view.servers.values() if s.flavor.name}
        catalog = Catalog(
            {n: columns.claim_of(f, from_image=True) for n, f in flavors.items()}, tuple(sorted({h.az for h in hosts if h.az}))
        )
        holds = (*_reserved(open_ones, now), *_moving(self._store.migrating.moves.open(), now), *self._booting(supply, catalog, now))
        return Seen(supply, catalog, holds, view, missing, {n: f.extra_specs for n, f in flavors.items()})

    def _physical(self, host: CloudHost, agent: Host | None) -> tuple[float, float]:
        if agent is not None:
            return float(agent.cpus), agent.memory_total.mib - self._terms.memory_reserved_mib
        owned = [host.inventories.get(name) for name in (VCPU, MEMORY)]
        cores, memory = (float(i.total - i.reserved) if i else float("nan") for i in owned)
        return cores, memory

    def _booting(self, supply: Supply, catalog: Catalog, now: float) -> Iterator[Hold]:
        """Shadow VMs that pools want and do not have yet: nobody knows where they will boot, so the emptiest hosts are taken for it."""
        left = np.where(supply.known[:, None], supply.capacity - supply.used, -np.inf)
        for pool in self._store.pools.all():
            decided = self._store.pools.decided(pool.id)
            wanted = (decided.wanted if decided else 0) - len(self._store.pools.shadows(pool.id, alive=True))
            each = np.array(_row(catalog.flavors.get(pool.flavor, {})))
            for _ in range(wanted if each.any() and left.size else 0):
                host = int(np.argmax(left[:, 0]))
                left[host] -= each
                yield Hold(supply.names[host], tuple(each.tolist()), now, now + self._terms.grid_s)


def _row(amounts: Resources) -> tuple[float, ...]:
    return tuple(float(amounts.get(name, 0)) for name in CLASSES)


def _reserved(open_ones: Iterable[Reservation], now: float) -> Iterator[Hold]:
    """What others have planned and Placement does not hold yet; whoever comes is taken to stay."""
    for r in open_ones:
        if r.wanted and not r.wish.owner.startswith(MINE) and r.held < len(r.slots):
            amounts = tuple(a * (len(r.slots) - r.held) for a in _row(r.wish.resources))
            yield Hold(r.wish.host, amounts, max(r.wish.starts, now), now + 3650 * 86400.0)


def _moving(moves: Iterable[Moving], now: float) -> Iterator[Hold]:
    """Migrations whose target holds nothing for them yet."""
    for row in moves:
        if not row.reservation:
            yield Hold(row.migration.target, _row(row.size), now, now + 3650 * 86400.0)


def _own(names: Sequence[str], open_ones: Iterable[Reservation], read_at: float) -> Numbers:
    """[n, 3] what requests' reservations held when the cloud was read."""
    index, found = {name: i for i, name in enumerate(names)}, np.zeros((len(names), 3))
    for r in open_ones:
        mine = r.wish.owner.startswith(MINE) and r.state is State.HELD and r.ending is None and r.changed < read_at
        if mine and r.wish.host in index:
            found[index[r.wish.host]] += r.held * np.array(_row(r.wish.resources))
    return found


def _sold(names: Sequence[str], servers: Iterable[Server]) -> Numbers:
    """[n, 3] what the servers on each host were sold."""
    index, found = {name: i for i, name in enumerate(names)}, np.zeros((len(names), 3))
    for s in servers:
        if s.host in index:
            found[index[s.host], :2] += (s.entitlement.cpu.cores, s.entitlement.memory.mib)
    return found


def _fans(forecasts: _Forecasts, names: Sequence[str], now: float) -> tuple[Numbers, int]:
    """[n, 48, 2, 13] from the half-hour that ``now`` is in, and of how many hosts there is none.

    Of those nothing is known but what was sold: only that gate holds there, as it does for Nova; and the answer says so.
    """
    found = np.zeros((len(names), HALF_HOURS, 2, len(LEVELS)))
    missing = np.zeros(len(names), dtype=bool)
    for r, resource in enumerate(RESOURCES):
        told = forecasts.fans(resource, "host")
        for i, name in enumerate(names):
            row = told.rows.get(f"host:{name}")
            if row is None or not 0 <= now - told.origin[row] <= FRESH_S or not np.isfinite(told.half_hours[row]).all():
                missing[i] = True
                continue
            passed = int((Supply.begin(now) - told.origin[row]) // SLOT_S)
            found[i, :, r] = np.roll(told.half_hours[row], -max(0, passed), axis=0)
    return found, int(missing.sum())


def _flavors_of(servers: Iterable[Server]) -> dict[str, Resources]:
    """Sizes by flavor's name, as agents report them."""
    return {
        s.flavor: {VCPU: int(s.entitlement.cpu.cores), MEMORY: int(s.entitlement.memory.mib)}
        for s in servers
        if s.flavor and s.entitlement.cpu.cores >= 1
    }
