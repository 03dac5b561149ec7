"""The migration coordinator: looks after what is under way, plans what is needed, lets begin what the limits allow (domain.md §8).

Everything is in the store before it is done; a coordinator that starts anew goes on where the last one died. Nothing is ordered without a
person's word unless the mode of server, source and target is act.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

import structlog
from msgspec.structs import replace

from foreshape_controller.decide import permit
from foreshape_controller.decide.migrate import LEASED
from foreshape_controller.decide.moves import Admission, Limits, Queued, admit, time_limit_s
from foreshape_controller.decide.permit import Stop
from foreshape_controller.errors import ControllerError
from foreshape_controller.loops.carry import Carrier, happening
from foreshape_controller.loops.draining import Draining
from foreshape_controller.loops.durations import same_but_for_time
from foreshape_controller.loops.foreigners import Foreigners
from foreshape_controller.loops.proposing import Proposing
from foreshape_controller.loops.surroundings import Gather, Surroundings, queued
from foreshape_controller.model.cloud import CloudMigration
from foreshape_controller.model.migration import Event, Happened, Migration, Room, State
from foreshape_controller.model.moving import AUTOMATIC, Drain, Goal, Moving, Proposal
from foreshape_wire.ids import new_id
from foreshape_wire.order import Mode

_log = structlog.get_logger("foreshape.migrate")

HOUR_S = 3600.0

MEASURED_S = 120.0
"""So long after its arrival a server's agent may still tell for how long it was stopped: libvirt says it late, and agents report every
ten seconds.
"""


class Moves(Protocol):
    """The part of the store that migrations are in."""

    def open(self) -> tuple[Moving, ...]: ...

    def list(self, since: float) -> tuple[Moving, ...]: ...

    def add(self, new: Moving, now: float, *, taken: Proposal | None = None) -> bool: ...

    def save(self, row: Moving, now: float, what: str, text: str = "") -> None: ...

    def cancels(self) -> Mapping[str, str]: ...

    def ordered_since(self, since: float) -> int: ...


class Proposals(Protocol):
    """The part of the store that proposals are in."""

    def waiting(self) -> tuple[Proposal, ...]: ...


@dataclass(frozen=True)
class MigrateRule:
    """What the configuration says."""

    limits: Limits = field(default_factory=Limits)
    plan_every_s: float = 60.0
    per_hour: int = 60
    wait_s: float = 3600.0
    may_force: bool = False
    consolidates: bool = False
    patience_s: float = 0.2
    """How long one round waits for its migrations; what takes longer goes on beside it."""


@dataclass(frozen=True)
class Parts:
    """What the coordinator is put together from."""

    moves: Moves
    proposals: Proposals
    gather: Gather
    carrier: Carrier
    proposing: Proposing
    foreigners: Foreigners
    draining: Draining
    may_abort: Callable[[], bool]
    """Whether this Nova survives an abort. Raises CloudError."""


class Coordinator:
    """``run_once`` by the clock. With an executor migrations are carried side by side."""

    def __init__(self, parts: Parts, rule: MigrateRule, executor: Executor | None = None, ids: Callable[[str], str] = new_id) -> None:
        self._p, self._rule, self._executor, self._ids = parts, rule, executor, ids
        self._planned_at = float("-inf")
        self._busy: dict[str, Future[None]] = {}
        self._measuring = True
        self._running = Lock()

    def run_once(self, now: float) -> None:
        """Carry on what is open → look at others → plan if it is time → take what was approved → let begin what may."""
        with self._running:
            rows = self._p.moves.open()
            self._measure(now, arriving=bool(rows))
            due = now - self._planned_at >= self._rule.plan_every_s
            if not (rows or due or any(p.state == "approved" for p in self._p.proposals.waiting())):
                return
            around = self._p.gather(now)
            self._carry(rows, around, now)
            if around is None:
                return
            self._p.foreigners.run_once(around.facts.cloud, self._ours(around), now)
            if due:
                self._planned_at = now
                self._p.draining.keep(now)
                self._p.proposing.run_once(around)
            self._take(now)
            self._begin(now)

    def replan(self) -> None:
        """Plan with the next round: somebody changed what is wanted."""
        self._planned_at = float("-inf")

    # -- carrying on

    def _carry(self, rows: Sequence[Moving], around: Surroundings | None, now: float) -> None:
        cancels = self._p.moves.cancels()
        for row in rows:
            if not row.begun and row.id not in cancels:
                continue
            self._go(row, self._happening(row, cancels, now), around, now)
        self._settle()

    def _measure(self, now: float, *, arriving: bool) -> None:
        """What arrived a moment ago: for how long its guest was stopped, where its agent tells it only now."""
        self._measuring = self._measuring or arriving
        if not self._measuring:
            return
        newest = {r.migration.server: r for r in reversed(self._p.moves.list(now - MEASURED_S))}
        late = [r for r in newest.values() if r.migration.state is State.SETTLED and r.took_s is not None and r.stopped_s is None]
        for row in late:
            self._p.carrier.measure(row, now)
        self._measuring = arriving or bool(late)

    def _happening(self, row: Moving, cancels: Mapping[str, str], now: float) -> list[Event]:
        """One that has asked for room for too long is given up."""
        asked = row.migration.state is State.QUEUED and row.migration.room is Room.ASKED
        if asked and now - row.migration.created > self._rule.wait_s:
            return [Event(Happened.CANCEL, text=f"no room for {self._rule.wait_s / 60:.0f} minutes: {row.waits}")]
        return happening(row, cancels)

    def _go(self, row: Moving, happened: list[Event], around: Surroundings | None, now: float) -> None:
        """One migration, beside the others where there is an executor; never the same one twice at a time."""
        if row.id in self._busy:
            return

        def work() -> None:
            try:
                self._p.carrier.advance(row, now, happened=happened, may_go=lambda r: _may_go(r, around))
            except ControllerError as e:
                _log.error("migration passed over", id=row.id, server=row.migration.server, code=e.code, reason=str(e))
            except Exception as e:  # noqa: BLE001  one odd migration never stops the others
                _log.error("migration passed over", id=row.id, server=row.migration.server, exc_info=e)

        if self._executor is None:
            work()
        else:
            self._busy[row.id] = self._executor.submit(work)

    def _settle(self) -> None:
        """Wait for this round's work a little; what is not done yet stays busy."""
        if self._busy:
            wait(self._busy.values(), timeout=self._rule.patience_s)
            self._busy = {name: f for name, f in self._busy.items() if not f.done()}

    # -- proposals become migrations

    def _take(self, now: float) -> None:
        """What was approved, by a person or by the mode, is queued."""
        around = self._p.gather(now)
        if around is None or around.facts.blind:
            return
        drains = {d.host: d for d in around.facts.drains}
        for proposal in around.facts.proposals:
            by = self._approved(proposal, drains, around)
            if by and proposal.server in around.facts.cloud.servers:
                self._queue(proposal, by, around, now)

    def _approved(self, p: Proposal, drains: Mapping[str, Drain], around: Surroundings) -> str:
        """Whose word it is carried out on; empty: it waits for one."""
        if p.state == "approved":
            return p.by or "operator"
        drain = drains.get(p.source)
        if p.goal is Goal.DRAIN and drain is not None and drain.approved:
            return drain.by or "operator"
        if p.goal is Goal.OPERATOR or (p.goal is Goal.CONSOLIDATE and not self._rule.consolidates) or around.balancer:
            return ""
        server, levels = around.facts.cloud.servers.get(p.server), around.facts.levels
        if server is None:
            return ""
        modes = (levels.effective(p.source, server.project, p.server), levels.effective(p.target))
        return AUTOMATIC if all(m is Mode.ACT for m in modes) else ""

    def _queue(self, p: Proposal, by: str, around: Surroundings, now: float) -> None:
        server, expected = around.facts.cloud.servers[p.server], around.outlook(p.server, p.source, p.target)
        migration = Migration(
            id=p.id,
            server=p.server,
            source=p.source,
            target=p.target,
            reason=p.reason,
            created=now,
            limit_s=time_limit_s(expected.duration_s),
            may_abort=self._aborts(),
            may_force=self._rule.may_force,
        )
        row = Moving(
            migration=migration,
            goal=p.goal,
            by=by,
            cause=self._ids("cause"),
            name=p.name,
            project=server.project,
            size=around.size(p.server),
            link=around.link(p.source, p.target),
            worth=p.worth,
            deadline=p.deadline,
            predicted_s=p.predicted_s,
            downtime_s=p.downtime_s,
            factors=p.factors,
            copied_mib=expected.used_mib,
        )
        if self._p.moves.add(row, now, taken=replace(p, state="taken", by=by, migration=p.id)):
            _log.info("migration queued", id=p.id, server=p.server, source=p.source, target=p.target, by=by, why=p.reason)

    def _aborts(self) -> bool:
        try:
            return self._p.may_abort()
        except ControllerError:
            return False  # nobody knows: then none

    # -- beginning

    def _begin(self, now: float) -> None:
        """Check who waits, in vain or not; of the others as many as the limits allow ask for room."""
        rows = [r for r in self._p.moves.open() if not r.begun]
        around = self._p.gather(now) if rows else None
        if around is None:
            return
        starting = [queued(r) for r in rows if r.id in self._busy]  # begun, and perhaps not written down yet
        waiting = {r.id: r for r in rows if r.id not in self._busy}
        allowed, waiting = self._admitted(waiting, around, starting, now)
        begin = allowed.begin[: max(0, self._budget(around, now) - len(starting))]
        for one in begin:
            self._go(waiting[one.id], [Event(Happened.START)], self._p.gather(now), now)
        late = {q.id: f"{self._rule.per_hour} were ordered within an hour: the limit" for q in allowed.begin[len(begin) :]}
        for name, why in {**allowed.waits, **late}.items():
            self._say(waiting[name], why, now)
        self._settle()

    def _admitted(
        self, rows: dict[str, Moving], around: Surroundings, starting: Sequence[Queued], now: float
    ) -> tuple[Admission, dict[str, Moving]]:
        """Who may begin by the limits and by every rule, and those who wait for a place. Who waits for a place is not looked at yet."""
        known = around.under_way()
        ids = {q.id for q in known}
        under_way, looked = [*known, *(q for q in starting if q.id not in ids)], set[str]()
        late = {name for name, r in rows.items() if now - r.migration.created > self._rule.wait_s}
        while True:
            allowed = admit([queued(r) for r in rows.values()], under_way, self._rule.limits, now)
            unseen = ({q.id for q in allowed.begin} | late) & rows.keys() - looked
            if not unseen:
                return allowed, rows
            looked |= unseen
            held_up = {name for name in unseen if not self._ready(rows[name], around, now)}
            rows = {name: r for name, r in rows.items() if name not in held_up}

    def _ready(self, row: Moving, around: Surroundings, now: float) -> bool:
        """Whether nothing but limits is in its way; what never will be ready ends here."""
        stop = permit.look(row, around.world(row))
        if stop is None:
            return True
        if not stop.final and now - row.migration.created > self._rule.wait_s:
            stop = Stop(f"it waited for {self._rule.wait_s / 60:.0f} minutes: {stop.why}", final=True)
        if stop.final:
            self._go(row, [Event(Happened.REFUSED, text=stop.why)], around, now)
        else:
            self._say(row, stop.why, now)
        return False

    def _budget(self, around: Surroundings, now: float) -> int:
        """How many may still be ordered in this hour; those that ask for room already count."""
        asked = sum(r.begun and r.migration.ordered_at is None and not r.migration.state.over for r in around.facts.rows)
        return max(0, self._rule.per_hour - self._p.moves.ordered_since(now - HOUR_S) - asked)

    def _say(self, row: Moving, why: str, now: float) -> None:
        if not same_but_for_time(row.waits, why):
            self._p.moves.save(replace(row, waits=why), now, "waits", why)

    # -- others

    def _ours(self, around: Surroundings) -> Callable[[CloudMigration], bool]:
        known = list(_known(around.facts.rows, around.facts.past))
        ids = {uuid for uuid, _, _, _ in known if uuid}
        ways = {(server, source, target) for _, server, source, target in known}
        return lambda m: m.uuid in ids or (m.server, m.source, m.target) in ways


def leased(rows: Iterable[Moving]) -> dict[str, tuple[str, str]]:
    """By server: code and sentence of why its size stays as it is: from just before its order until its shape is back."""
    found = {}
    for row in rows:
        m = row.migration
        if m.state in LEASED or m.state is State.RESERVED:
            found[m.server] = ("migrating", f"it migrates to {m.target} ({m.state}): its size stays until that is over")
    return found


def _known(*parts: Iterable[Moving]) -> Iterator[tuple[str, str, str, str]]:
    """Nova's id, server and way of everything that we ordered."""
    for rows in parts:
        for r in rows:
            m = r.migration
            if m.ordered_at is not None:
                yield m.nova_id, m.server, m.source, m.target


def _may_go(row: Moving, around: Surroundings | None) -> Stop | None:
    return Stop("the cloud was not read yet") if around is None else permit.look(row, around.world(row))
