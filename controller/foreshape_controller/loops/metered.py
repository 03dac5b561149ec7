"""What one hour came to: stretches of terms against the hour's reports, proofs of broken promises, claims that were not served."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from foreshape_controller.decide.meter import Counted, Stretch, Wanted, held, stretches, tally
from foreshape_controller.model.columns import PlanTable
from foreshape_controller.model.history import RESOURCES, History
from foreshape_controller.model.metering import AT, NOTHING, Kind, Proof, UsageDay, Used, bits, mask
from foreshape_controller.model.pool import Claim, Pool
from foreshape_controller.store.metering import Booking, Metering

UNIT_BINS = 12
"""Bins that are counted at once: an hour."""

BATCH = 2000
"""Servers whose history is read at once."""

CAUSE_S = 6 * 3600.0
"""How long before an hour the change may have been that made a server short in it."""

ASKED_MOST = 500
"""Servers whose causes are looked up in an hour."""


class _Histories(Protocol):
    step_s: int

    def read_lived(self, resource: str, names: Sequence[str], until: float, count: int) -> History: ...


class _Decided(Protocol):
    def newest(self, until: float, since: float) -> PlanTable | None: ...


class _Pools(Protocol):
    def all(self, *, closing: bool = False) -> tuple[Pool, ...]: ...

    def claims(self, pool: str, since: float) -> tuple[Claim, ...]: ...


class MeteringStore(Protocol):
    """The part of the store that metering needs."""

    @property
    def metering(self) -> Metering: ...

    @property
    def history(self) -> _Histories: ...

    @property
    def decided(self) -> _Decided: ...

    @property
    def pools(self) -> _Pools: ...


@dataclass
class Hour:
    """What one hour came to."""

    start: int
    used: dict[str, dict[tuple[str, str, int, bool], Used]] = field(default_factory=lambda: defaultdict(dict))
    """By project."""
    proofs: dict[str, list[Proof]] = field(default_factory=lambda: defaultdict(list))

    def add(self, project: str, new: Used) -> None:
        old = self.used[project].get(new.key)
        if old is not None:
            amounts = tuple(a + b for a, b in zip(old.amounts, new.amounts, strict=True))
            new = Used(new.server, new.name, new.tier, new.accuracy, new.act, bits(mask(old.bins) | mask(new.bins)), amounts)
        self.used[project][new.key] = new


class Counter:
    """Counts hours; writes nothing."""

    def __init__(self, store: MeteringStore, default_tier: Callable[[], str]) -> None:
        self._store, self._default_tier = store, default_tier

    def measured(self, start: int, before: Mapping[Booking, UsageDay], offset: int) -> Hour:
        """Everything that reports say of an hour, and was not counted. ``offset``: bins of the day before it."""
        meter, step = self._store.metering, self._store.history.step_s
        until = start + UNIT_BINS * step
        rows = meter.between(float(start), float(until))
        hour, counted = Hour(start), _counted(before)
        found = []
        for s in stretches(rows, start, UNIT_BINS, step):
            seen = _window(counted.get((s.terms.project, *_key(s)), 0), offset)
            if not seen[s.first : s.last].all():
                found.append((s, seen))
        wanted = self._wanted(start, until)
        of_reservations = [f for f in found if f[0].terms.kind == Kind.RESERVATION]
        others = [f for f in found if f[0].terms.kind != Kind.RESERVATION]
        for part in _batches(of_reservations):
            self._keep(hour, [s for s, _ in part], held([s for s, _ in part], _stack(part), step), offset)
        for part in _batches(others):
            of = [s for s, _ in part]
            names = list(dict.fromkeys(s.server for s in of))
            came = {r: self._store.history.read_lived(r, names, until, UNIT_BINS) for r in RESOURCES}
            self._keep(hour, of, tally(came, of, _stack(part), wanted), offset)
        return hour

    def _wanted(self, start: int, until: int) -> Sequence[Wanted]:
        """What the newest plan of the hour wanted of servers that it may not change: for all its bins, as an estimate."""
        table = self._store.decided.newest(until, start)
        if table is None:
            return ()
        cpu, memory = table.cpu.wanted.tolist(), table.memory.wanted.tolist()
        rows = zip(table.servers, table.modes, cpu, memory, strict=True)
        told = {server: (c, m) for server, mode, c, m in rows if mode != "act"}
        return [told] * UNIT_BINS

    def _keep(self, hour: Hour, of: Sequence[Stretch], counted: Counted, offset: int) -> None:
        """Rows of stretches in which anything was counted, and proofs of broken promises."""
        some = np.flatnonzero(counted.bins.any(axis=1)).tolist()
        for i in some:
            s, found = of[i], counted.bins[i]
            used = Used(s.server, s.terms.name, s.terms.tier, s.terms.accuracy, s.terms.act, _shifted(found, offset), ())
            used.amounts = tuple(counted.amounts[i].tolist())
            hour.add(s.terms.project, used)
        self._prove(hour, of, counted, some)

    def _prove(self, hour: Hour, of: Sequence[Stretch], counted: Counted, some: Iterable[int]) -> None:
        step = self._store.history.step_s
        flags = {f"{r} {name}": by[r] for name, by in (("short", counted.short), ("broken", counted.broken)) for r in by}
        hurt = [i for i in some if any(f[i].any() for f in flags.values())]
        asked = list(dict.fromkeys(of[i].server for i in hurt))[:ASKED_MOST]
        ends = hour.start + UNIT_BINS * step
        causes = self._store.metering.causes(asked, hour.start - CAUSE_S, ends) if asked else {}
        for i in hurt:
            for item, found in flags.items():
                bins = np.flatnonzero(found[i])
                if len(bins):
                    s, resource = of[i], item.split()[0]
                    first = hour.start + int(bins[0]) * step
                    why = causes.get((s.server, resource), ())[:5]
                    hour.proofs[s.terms.project].append(Proof(s.server, s.terms.tier, item, len(bins), first, why))

    def claims(self, hour: Hour, start: int, until: int) -> None:
        """Claims of the hour that their pool did not serve."""
        default = self._default_tier()
        for pool in self._store.pools.all(closing=True):
            missed = [c for c in self._store.pools.claims(pool.id, start) if not c.hit and c.at < until]
            if not missed:
                continue
            name = f"pool:{pool.name}"
            amounts = list(NOTHING)
            amounts[AT["missed_claims"]] = len(missed)
            hour.add(pool.project, Used(name, name, default, -1, False, b"", tuple(amounts)))
            ids = tuple(c.shadow for c in missed if c.shadow)[:5]
            said = missed[0].why or "its pool was empty"
            hour.proofs[pool.project].append(Proof(name, default, "claim", len(missed), int(missed[0].at), ids, said))


def _key(s: Stretch) -> tuple[str, str, int, bool]:
    return s.server, s.terms.tier, s.terms.accuracy, s.terms.act


def _counted(before: Mapping[Booking, UsageDay]) -> dict[tuple[str, str, str, int, bool], int]:
    """Mask of the day's bins by project and key, whatever they were booked into."""
    found: dict[tuple[str, str, str, int, bool], int] = {}
    for at, day in before.items():
        for used in day.used:
            key = (at.project, *used.key)
            found[key] = found.get(key, 0) | mask(used.bins)
    return found


def _window(counted: int, offset: int) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """[bins] of the hour that were counted."""
    return np.array([counted >> (offset + k) & 1 for k in range(UNIT_BINS)], np.bool_)


def _shifted(found: "np.ndarray[Any, np.dtype[np.bool_]]", offset: int) -> bytes:
    return bits(sum(1 << (offset + int(k)) for k in np.flatnonzero(found)))


def _stack(part: Sequence[tuple[Stretch, Any]]) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    return np.array([seen for _, seen in part], np.bool_).reshape(-1, UNIT_BINS)


def _batches(items: Sequence[tuple[Stretch, Any]]) -> Iterator[Sequence[tuple[Stretch, Any]]]:
    for i in range(0, len(items), BATCH):
        yield items[i : i + BATCH]
