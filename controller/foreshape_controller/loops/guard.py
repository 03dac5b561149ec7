"""The guard: before each plan it looks at what came of orders, who else changes sizes, and whether measurements are missing.

It halts, tries again, and says so; what it decided is in the store before the plan that it holds back is made.
"""

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from foreshape_controller.config import Settings
from foreshape_controller.decide import foreign, safety
from foreshape_controller.decide.foreign import Claim, Foreign, Watch
from foreshape_controller.decide.safety import BreakerRule, Ended, Total
from foreshape_controller.log import get_logger
from foreshape_controller.loops.acting import BALANCER
from foreshape_controller.model.brakes import Brakes, Budget, Halt, Spent
from foreshape_controller.model.server import ClusterView, Server
from foreshape_controller.store.halts import Halts

_log = get_logger("guard")

FOREIGN_S = 3600.0
"""Servers changed by somebody else within this long count for their host."""
REST_S = 45.0
"""Its own job looks only when no plan has for so long."""


class _Spending(Protocol):
    def lately(self, now: float) -> Spent: ...


class _Inventory(Protocol):
    def view(self, now: float) -> ClusterView: ...


class GuardStore(Protocol):
    """The part of the store that the guard needs."""

    @property
    def halts(self) -> Halts: ...

    @property
    def spending(self) -> _Spending: ...

    @property
    def inventory(self) -> _Inventory: ...


@dataclass(frozen=True)
class GuardTerms:
    """What the configuration says."""

    budget: Budget
    rule: BreakerRule
    window_s: float = 1800.0
    stale_after_s: float = 60.0
    foreign_servers: int = 3
    hosts_share: float = 0.2
    demand_share: float = 0.4

    @classmethod
    def of(cls, settings: Settings) -> "GuardTerms":
        s = settings.safety
        budget = Budget(
            ttl_s=settings.plan.order_ttl_s,
            orders=s.orders_per_minute,
            orders_per_host=s.host_orders_per_minute,
            fleet_share=s.fleet_share_per_hour,
            shrink_cores=s.shrink_cores_per_minute,
            shrink_mib=s.shrink_mib_per_minute,
            grow_cores=s.grow_cores_per_minute,
            grow_mib=s.grow_mib_per_minute,
        )
        rule = BreakerRule(
            s.server_failures,
            s.host_failures,
            s.host_failure_share,
            s.cloud_failures,
            s.cloud_failure_share,
            s.halt_s,
            max(s.halt_s, s.halt_most_s),
        )
        return cls(
            budget, rule, s.breaker_window_s, settings.plan.stale_after_s, s.foreign_servers, s.outage_hosts_share, s.outage_demand_share
        )


class Guard:
    """``look`` before each plan; ``halts`` and ``brakes`` are what the plan is held back by. Safe from any thread."""

    def __init__(self, store: GuardStore, terms: GuardTerms) -> None:
        self._store, self._terms = store, terms
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._changed: deque[Foreign] = deque(maxlen=10_000)
        self._totals: deque[Total] = deque(maxlen=100)
        self._looked_at = 0.0
        self._known: dict[tuple[str, str], Halt] = {}

    # --- for the plan ---

    def halts(self, view: ClusterView, now: float) -> Mapping[str, tuple[str, str]]:
        """By server: code and sentence of what forbids any change: somebody else changes its size."""
        self.look(view, now)
        held = {h.scope: h for h in self._active() if h.kind == "foreign"}
        found = {s.id: ("foreign", h.reason) for s in view.servers if (h := _of(held, s))} if held else {}
        return self._suspected() | found

    def _suspected(self) -> dict[str, tuple[str, str]]:
        """Who changed a size may be told yet; an order of ours in the meantime would hide that it was not us."""
        with self._lock:
            suspects = self._watch.suspects if self._watch else {}
            return {server: ("foreign", s.change.not_yet) for (server, _), s in suspects.items()}

    def brakes(self, view: ClusterView, now: float) -> Brakes:
        """Budgets, what was spent of them, and where less is ordered."""
        active = [h for h in self._active() if h.kind not in ("foreign", BALANCER)]
        stopped, trials = self._stopped(view, active)
        return Brakes(self._terms.budget, self._store.spending.lately(now), stopped, trials, tuple(self._notes()))

    def run_once(self, now: float) -> None:
        """Its own job: a look when no plan has had one lately."""
        if now - self._looked_at >= REST_S:
            self.look(self._store.inventory.view(now), now)

    def clear(self, scope: str, reason: str, now: float) -> tuple[Halt, ...]:
        """A person's word: every halt of a scope is over. Returns those that were."""
        with self._lock:
            mine = [h for h in self._store.halts.all() if h.scope == scope and h.active]
            over = [safety.cleared(h, reason, now) for h in mine]
            self._store.halts.save(over)
            self._known |= {(h.scope, h.kind): h for h in over}
            return tuple(mine)

    # --- the look ---

    def look(self, view: ClusterView, now: float) -> None:
        """The table of contents: step what is halted, halt what should be, write it down."""
        with self._lock:
            self._looked_at = now
            before = {(h.scope, h.kind): h for h in self._store.halts.all()}
            ended = [Ended(*r) for r in self._store.halts.ended(now - self._terms.window_s, now)]
            after = dict(self._stepped(before, ended, now))
            for scope, kind, reason in (*self._failing(after, ended), *self._outage(view, now), *self._foreign(view, now)):
                after[scope, kind] = self._opened(after.get((scope, kind)), scope, kind, reason, now)
            self._write(before, after)

    def _stepped(self, before: Mapping[tuple[str, str], Halt], ended: list[Ended], now: float) -> Iterator[tuple[tuple[str, str], Halt]]:
        for key, halt in before.items():
            trial = safety.tried(halt, ended) if halt.state == "half_open" else safety.Trial.NONE
            new = safety.step(halt, trial, now, self._terms.rule)
            if new is not None:
                yield key, new

    def _failing(self, halts: Mapping[tuple[str, str], Halt], ended: list[Ended]) -> Iterator[tuple[str, str, str]]:
        mine = {scope: h for (scope, kind), h in halts.items() if kind == "failures"}
        since = {scope: h.since for scope, h in mine.items()}
        for scope, reason in safety.failing(ended, since, self._terms.rule):
            if scope not in mine or not mine[scope].active:
                yield scope, "failures", reason

    def _outage(self, view: ClusterView, now: float) -> Iterator[tuple[str, str, str]]:
        told = [s.last for s in view.servers if s.last is not None and now - s.last_seen <= self._terms.stale_after_s]
        cpu = sum(t.cpu.demand.cores for t in told if t.cpu)
        self._totals.append(Total(now, len(view.servers), cpu, sum(t.memory.demand.mib for t in told if t.memory)))
        silent = sum(now - h.last_seen > self._terms.stale_after_s for h in view.hosts)
        why = safety.silence(silent, len(view.hosts), self._terms.hosts_share) or safety.fall(self._totals, self._terms.demand_share)
        if why:
            yield "cloud", "outage", why

    def _foreign(self, view: ClusterView, now: float) -> Iterator[tuple[str, str, str]]:
        watch = self._watch = self._watch or Watch.remembered(view, self._store.halts.proven())
        odd = foreign.odd(watch, view)
        ranges = self._store.halts.ours(foreign.asked(watch)) if odd else {}
        found = list(foreign.judged(watch, odd, {key: [Claim(*r) for r in of] for key, of in ranges.items()}))
        self._changed.extend(found)
        for f in found:
            yield f"server:{f.server}", "foreign", f.sentence
        for host in sorted({f.host for f in found}):
            mine = {f.server for f in self._changed if f.host == host and f.at > now - FOREIGN_S}
            if len(mine) >= self._terms.foreign_servers:
                yield f"host:{host}", "foreign", f"somebody else changed {len(mine)} servers there within the hour"

    def _opened(self, before: Halt | None, scope: str, kind: str, reason: str, now: float) -> Halt:
        """Halted from now on; one that is halted already stays as long as what is said again would last, without another trip."""
        if before is not None and before.active:
            return msgspec.structs.replace(before, reason=reason, until=max(before.until, now + self._terms.rule.base_s))
        return safety.opened(before, scope, kind, reason, now, self._terms.rule)

    def _write(self, before: Mapping[tuple[str, str], Halt], after: dict[tuple[str, str], Halt]) -> None:
        changed = [h for key, h in after.items() if before.get(key) != h]
        gone = [h for key, h in before.items() if key not in after]
        if changed or gone:
            self._store.halts.save(changed, gone)
        for h in changed:
            old = before.get((h.scope, h.kind))
            if old is None or old.state != h.state:
                _log.warning("halt", scope=h.scope, kind=h.kind, state=h.state, until=h.until, trips=h.trips, reason=h.reason)
        self._known = after

    # --- words ---

    def _active(self) -> list[Halt]:
        return [h for h in self._known.values() if h.active]

    def _stopped(self, view: ClusterView, active: list[Halt]) -> tuple[dict[str, str], dict[str, str]]:
        """By server: why it is halted; and of those that are not, which scope tries one order."""
        if not active:
            return {}, {}
        waits = self._store.halts.under_way()
        awaited = {h.scope for h in active if any(at >= h.since and safety.inside(h.scope, s, host) for s, host, at in waits)}
        still = {h.scope: h for h in active if h.state == "open"}
        waiting = {h.scope: h for h in active if h.state == "half_open" and h.scope in awaited}
        trying = {h.scope: h for h in active if h.state == "half_open" and h.scope not in awaited}
        stopped: dict[str, str] = {}
        trials: dict[str, str] = {}
        for s in view.servers:
            if h := _of(still, s):
                stopped[s.id] = f"{h.scope} is halted: {h.reason}"
            elif h := _of(waiting, s):
                stopped[s.id] = f"{h.scope} was halted, and what comes of the order that is tried there is awaited"
            elif h := _of(trying, s):
                trials[s.id] = h.scope
        return stopped, trials

    def _notes(self) -> Iterator[str]:
        for h in self._active():
            yield f"{h.scope} is halted ({h.kind}): {h.reason}"


def _of(halts: Mapping[str, Halt], server: Server) -> Halt | None:
    """The widest of these that a server is in."""
    return halts.get("cloud") or halts.get(f"host:{server.host}") or halts.get(f"server:{server.id}")
