"""Feedback: when the half-hour after a decision is over, it is held against what came; tiers learn of it once a day.

One half-hour of the clock is one unit of work, of all servers, in batches: what was in force when it began, what was measured in it,
what was decided in the half-hour before. Its sums go into ``marks`` together with the note that it is done, so that a restart neither
loses nor repeats one. A controller that was down does what fell due meanwhile, a few half-hours a run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import numpy as np

from foreshape_controller.config import FeedbackSettings as FeedbackOptions
from foreshape_controller.decide.feedback import (
    HALF_HOUR,
    Codes,
    FeedbackRule,
    Flags,
    InForce,
    adapt,
    adapted,
    tally,
    tally_moves,
)
from foreshape_controller.decide.proof import alarm
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.log import get_logger
from foreshape_controller.model.columns import CODES, GROW, SHRINK, PlanTable, Sizes
from foreshape_controller.model.history import RESOURCES, History
from foreshape_controller.model.mark import Factors, Mark
from foreshape_controller.model.tier import Tier
from foreshape_controller.store.marks import MarkKey, Marks, added
from foreshape_controller.store.tier_factors import TierFactors

_log = get_logger("feedback")

LATE = 2
"""Bins after the end of a half-hour until its samples are surely there."""

A_RUN = 8
"""Half-hours of one run, at most; the rest comes with the next."""

CATCH_UP_S = 86400.0
"""Older half-hours are let go: the decisions that changed nothing in them are deleted."""

BATCH = 2000
"""Servers whose history is read at once."""

MOST_HOLD_BINS = 144
"""How far back an allocation is looked at, to tell what a longer hold would have saved (half a day)."""

DAY_S = 86400.0
ALARM_EVERY_S = 3600.0


class _Decided(Protocol):
    def between(self, since: float, until: float) -> Iterator[PlanTable]:
        """Plans made in (since, until], the oldest first."""
        ...

    def newest(self, until: float, since: float) -> PlanTable | None: ...


class _Histories(Protocol):
    step_s: int

    def read_lived(self, resource: str, names: Sequence[str], until: float, count: int) -> History: ...


class FeedbackStore(Protocol):
    """The part of the store that feedback needs."""

    @property
    def decided(self) -> _Decided: ...

    @property
    def history(self) -> _Histories: ...

    @property
    def marks(self) -> Marks: ...

    @property
    def tier_factors(self) -> TierFactors: ...


class Policies(Protocol):
    """Who knows the tiers (``loops.policy``)."""

    def current(self) -> Tiers:
        """In force: the file's, with feedback on top."""
        ...


@dataclass(frozen=True)
class FeedbackSettings:
    """What feedback can be told."""

    rule: FeedbackRule | None = field(default_factory=FeedbackRule)
    """None: tiers are judged and never adapted."""
    forecasts_on: bool = True


@dataclass(frozen=True)
class _Move:
    """The first growth or shrink of a server in a half-hour."""

    at: float
    tier: str
    allocation: float
    target: float


@dataclass
class _Half:
    """What was decided in the half-hour up to ``newest``; one resource's moves by (choice, server)."""

    newest: PlanTable
    moves: Mapping[str, dict[tuple[int, str], _Move]]
    decisions: Mapping[tuple[str, str], Mark]
    throttled: Mapping[str, set[str]]
    """Under a hard cap, by resource: what people take away says nothing about a tier, so these servers are not judged."""


def feedback_rule(settings: FeedbackOptions) -> FeedbackRule | None:
    """How tiers learn; None: they do not."""
    f = settings
    return FeedbackRule((f.headroom_low, f.headroom_high), (f.hold_low, f.hold_high)) if f.adapt else None


def adapting(factors: TierFactors, rule: FeedbackRule | None) -> Callable[[Tiers], Tiers]:
    """What feedback says on top of the file's tiers; nothing where tiers are not to learn. Made anew only when one of both changed."""
    last: tuple[Tiers, Mapping[tuple[str, str], Factors], Tiers] | None = None

    def adapt_to(policy: Tiers) -> Tiers:
        nonlocal last
        known, made = factors.all(), last
        if made is None or made[0] is not policy or made[1] is not known:
            last = made = (policy, known, adapted(policy, known))
        return made[2]

    return adapt_to if rule is not None else lambda policy: policy


class Feedback:
    """Judges half-hours and adapts tiers. Holds no truth: what it needs again is in the store."""

    def __init__(self, store: FeedbackStore, policy: Policies, settings: FeedbackSettings | None = None) -> None:
        self._store = store
        self._policy = policy
        self._settings = settings or FeedbackSettings()
        self._told_at = float("-inf")

    def run_once(self, now: float) -> int:
        """Judge the half-hours that are over, let tiers learn once a day, and look whether forecasts still count. How many were judged."""
        due = self._due(now)
        for start in due:
            self._judge(start)
        if self._settings.rule is not None:
            self._learn(now, self._settings.rule)
        if now - self._told_at >= ALARM_EVERY_S:
            self._told_at = now
            self._look(now)
        return len(due)

    # --- judging ---

    def _due(self, now: float) -> list[int]:
        """Starts of the half-hours to judge now, the oldest first."""
        step = self._store.history.step_s
        half = HALF_HOUR * step
        oldest = int((now - CATCH_UP_S) // half + 1) * half
        first = max(self._store.marks.until() or oldest, oldest)
        over = now - half - LATE * step
        return [s for s in range(first, first + A_RUN * half, half) if s <= over]

    def _judge(self, start: int) -> None:
        """One half-hour: everything about it, written down at once."""
        step = self._store.history.step_s
        half = HALF_HOUR * step
        before = self._decided(start - half, start)
        found: dict[MarkKey, Mark] = {}
        if before is not None:
            self._note_late_caps(before, start, start + half)
            totals = dict(before.decisions)
            for resource in RESOURCES:
                for tier, mark in self._came(resource, start, before).items():
                    _fold(totals, (tier, resource), mark)
            found = {MarkKey(start, tier, resource): mark for (tier, resource), mark in totals.items()}
        self._store.marks.settle(found, start + half)
        if found:
            bad = {f"{k.tier} {k.resource}": round(m.violation_share or 0.0, 5) for k, m in found.items()}
            _log.info("half-hour judged", start=start, bins=round(sum(m.bins for m in found.values())), violated=bad)

    def _decided(self, since: float, until: float) -> _Half | None:
        """What was decided in (since, until]; where nothing was, the newest plan before. None: nobody ever decided."""
        newest: PlanTable | None = None
        moves: dict[str, dict[tuple[int, str], _Move]] = {r: {} for r in RESOURCES}
        counted: dict[tuple[str, str], Mark] = {}
        throttled: dict[str, set[str]] = {r: set() for r in RESOURCES}
        for table in self._store.decided.between(since, until):
            newest = table
            for resource in RESOURCES:
                throttled[resource] |= _throttled(table, resource)
                _note_moves(moves[resource], table, table.sizes(resource))
                _count(counted, table, resource)
        if newest is None:  # the controller was away: what it decided last was in force all the same
            newest = self._store.decided.newest(until, until - CATCH_UP_S)
        if newest is None:
            return None
        for resource in RESOURCES:
            throttled[resource] |= _throttled(newest, resource)
        return _Half(newest, moves, counted, throttled)

    def _note_late_caps(self, half: _Half, since: float, until: float) -> None:
        """Hard caps that were set while the half-hour ran, and still held at its end."""
        last = self._store.decided.newest(until, since)
        if last is not None:
            for resource in RESOURCES:
                half.throttled[resource].update(_throttled(last, resource))

    def _came(self, resource: str, start: int, before: _Half) -> dict[str, Mark]:
        """Marks by tier of one resource."""
        table, names = before.newest, _tier_names(before)
        code = {name: i for i, name in enumerate(names)}
        decided = self._in_force(table, resource, code)
        step = self._store.history.step_s
        until = start + HALF_HOUR * step
        count = 2 * HALF_HOUR + int(decided.hold_bins.max(initial=0))
        totals = [Mark()] * len(names)
        judged = np.array([i for i, s in enumerate(table.servers) if s not in before.throttled[resource]], np.intp)
        for some in _batches(len(judged)):
            rows = judged[some]
            servers = [table.servers[i] for i in rows]
            came = self._store.history.read_lived(resource, servers, until, count)
            parts = tally(came, count - HALF_HOUR, decided.pick(rows), len(names))
            moved = _moves_of(before.moves[resource], servers, code)
            if moved is not None:
                which, at, decisions = moved
                first = -(-at // step).astype(np.intp) - came.start // step
                extra = tally_moves(came.pick(which.tolist()), first, decisions, len(names))
                parts = [a + b for a, b in zip(parts, extra, strict=True)]
            totals = [a + b for a, b in zip(totals, parts, strict=True)]
        totals = [
            a + b for a, b in zip(totals, self._resized(resource, start, until, (table, judged, decided.tier, len(names))), strict=True)
        ]
        return dict(zip(names, totals, strict=True))

    def _in_force(self, table: PlanTable, resource: str, code: Mapping[str, int]) -> InForce:
        """One resource of a plan, as the judge reads it."""
        sizes, policy = table.sizes(resource), self._policy.current()
        tier = np.array([code[t] for t in table.tiers], np.intp)
        hold = {t: self._hold_bins(policy.tiers.get(t), resource) for t in code}
        return InForce(
            tier=tier,
            choice=sizes.choice.astype(np.intp),
            acting=np.array([m == "act" for m in table.modes], np.bool_) & ~_coded(sizes, "no_lever"),
            frozen=_frozen(sizes),
            allocation=sizes.allocation.astype(np.float32),
            predicted=sizes.inputs.get("peak_wanted", sizes.wanted).astype(np.float32),
            wanted=sizes.wanted.astype(np.float32),
            target=sizes.target.astype(np.float32),
            ceiling=sizes.ceiling.astype(np.float32),
            hold_bins=np.array([hold[t] for t in code], np.intp)[tier],
        )

    def _hold_bins(self, tier: Tier | None, resource: str) -> int:
        if tier is None:
            return HALF_HOUR
        rules = tier.cpu if resource == "cpu" else tier.memory
        return int(min(MOST_HOLD_BINS, max(1.0, rules.hold_s // self._store.history.step_s)))

    def _resized(self, resource: str, since: float, until: float, of: tuple[PlanTable, Codes, Codes, int]) -> list[Mark]:
        table, judged, tier, tiers = of
        done = self._store.marks.resizes(since, until)
        counts = np.array([done.get((table.servers[i], resource), 0) for i in judged.tolist()], np.float64)
        return [Mark(resizes=float(n)) for n in np.bincount(tier[judged], counts, minlength=tiers)]

    # --- learning ---

    def _learn(self, now: float, rule: FeedbackRule) -> None:
        """Once a day and tier: from the marks of the day."""
        known, policy = self._store.tier_factors.all(), self._policy.current()
        due = [(n, r) for n in policy.tiers for r in RESOURCES if not 0 <= now - known.get((n, r), _NEVER).at < DAY_S]
        if not due:
            return
        day = added(self._store.marks.between(now - DAY_S, now))
        moved = {}
        for name, resource in due:
            before = known.get((name, resource))
            if before is None:
                moved[name, resource] = Factors(at=now, reason="nothing was learned yet: its first day is not over")
                continue
            after = adapt(before, day.get((name, resource), Mark()), policy.tiers[name].violation_target, resource, rule)
            moved[name, resource] = msgspec.structs.replace(after, at=now)
            if (after.headroom, after.hold) != (before.headroom, before.hold):
                _log.info("tier adapted", tier=name, resource=resource, headroom=after.headroom, hold=after.hold, reason=after.reason)
        self._store.tier_factors.save(moved)

    def _look(self, now: float) -> None:
        """Whether forecasts still change anything."""
        said = alarm(added(self._store.marks.between(now - DAY_S, now)), forecasts_on=self._settings.forecasts_on)
        if said:
            _log.warning("forecasts change nothing", reason=said)


_NEVER = Factors(at=float("-inf"))
_WAITS = "budget"
_STOPS = frozenset({"no_forecast", "odd_data", "stale", "safe_mode", "migrating", "busy", "not_running"})


def _frozen(sizes: Sizes) -> Flags:
    """[n] nothing could be decided; codes that the size rule does not know are halts', but for what only waits its turn."""
    return _coded(sizes, *(name for name in sizes.codes if name in _STOPS or name not in (*CODES, _WAITS)))


def _coded(sizes: Sizes, *names: str) -> Flags:
    """[n] whose reason code is one of these; a stored plan has a table of codes of its own."""
    return np.asarray(np.isin(sizes.code, [k for k, name in enumerate(sizes.codes) if name in names]))


def _throttled(table: PlanTable, resource: str) -> set[str]:
    """Servers of a plan that were under a hard cap."""
    cap = table.sizes(resource).inputs.get("cap")
    return set() if cap is None else {table.servers[i] for i in np.flatnonzero(np.isfinite(cap)).tolist()}


def _fold(totals: dict[tuple[str, str], Mark], key: tuple[str, str], mark: Mark) -> None:
    totals[key] = totals[key] + mark if key in totals else mark


def _note_moves(moves: dict[tuple[int, str], _Move], table: PlanTable, sizes: Sizes) -> None:
    """The first growth and the first shrink of each server; a plan that wants the same again says nothing new."""
    for i in np.flatnonzero(sizes.moves).tolist():
        key = (int(sizes.choice[i]), table.servers[i])
        if key not in moves:
            moves[key] = _Move(table.at, table.tiers[i], float(sizes.allocation[i]), float(sizes.target[i]))


def _count(counted: dict[tuple[str, str], Mark], table: PlanTable, resource: str) -> None:
    """Decisions that could be made, and those that the forecast changed, by tier."""
    sizes = table.sizes(resource)
    names, tier = np.unique(np.asarray(table.tiers), return_inverse=True)
    able = ~_frozen(sizes) & ~_coded(sizes, _WAITS)
    changed = able & sizes.changed_by_forecast
    for i, name in enumerate(names.tolist()):
        mine = tier == i
        _fold(counted, (name, resource), Mark(decisions=float((able & mine).sum()), changed=float((changed & mine).sum())))


def _tier_names(before: _Half) -> tuple[str, ...]:
    moved = (m.tier for moves in before.moves.values() for m in moves.values())
    return tuple(sorted({*before.newest.tiers, *moved}))


def _moves_of(
    moves: Mapping[tuple[int, str], _Move], servers: Sequence[str], code: Mapping[str, int]
) -> tuple[Codes, np.ndarray[tuple[int], np.dtype[np.float64]], InForce] | None:
    """Rows of the batch that moved, when, and what was decided; None: nobody did."""
    found = [(i, choice, m) for i, s in enumerate(servers) for choice in (GROW, SHRINK) if (m := moves.get((choice, s))) is not None]
    if not found:
        return None
    rows, choices, which = zip(*found, strict=True)
    n = len(found)
    unknown = np.full(n, np.nan, np.float32)
    decided = InForce(
        tier=np.array([code[m.tier] for m in which], np.intp),
        choice=np.array(choices, np.intp),
        acting=np.ones(n, np.bool_),
        frozen=np.zeros(n, np.bool_),
        allocation=np.array([m.allocation for m in which], np.float32),
        predicted=unknown,
        wanted=unknown,
        target=np.array([m.target for m in which], np.float32),
        ceiling=unknown,
        hold_bins=np.ones(n, np.intp),
    )
    return np.array(rows, np.intp), np.array([m.at for m in which], np.float64), decided


def _batches(count: int) -> Iterator[Codes]:
    for i in range(0, count, BATCH):
        yield np.arange(i, min(count, i + BATCH), dtype=np.intp)
