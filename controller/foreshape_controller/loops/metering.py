"""Metering: hour by hour, what guests really had; then again when late reports may have come; then the month's statements are closed.

    every run    who is here, by which terms: changes are noted
    an hour is over for 10 minutes     counted: every bin that reports spoke for, once
    … for 26 hours, and for a week     looked at again: bins that had no data then, and have now
    a month is over for some days      its statements are frozen; what comes later is an adjustment in the running month

Each hour goes into the store in one transaction with the note that it is done. Terms are those that were noted at the time, so that a
later look counts by them too. Where nobody looked for long (the controller was down) and the terms changed meanwhile, nobody knows when:
the bins between are not charged.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from foreshape_controller.decide.book import merged, period_of, span_of
from foreshape_controller.decide.rate import HOUR
from foreshape_controller.log import get_logger
from foreshape_controller.loops.metered import UNIT_BINS, Counter, Hour, MeteringStore
from foreshape_controller.loops.statements import Statements
from foreshape_controller.loops.terms import TermSources, terms_now
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.metering import AT, GAUGED, METERS, UNIT_NAMES, Kind, Published, Since, Terms, UsageDay
from foreshape_controller.model.server import ClusterView
from foreshape_controller.store.metering import UNTIL, Booking

_log = get_logger("metering")

LATE_BINS = 2
"""After the end of an hour until its samples are there."""

AGAIN_S = 26 * 3600.0
A_RUN = 6
"""Hours of one run, at most; the rest comes with the next."""

LATER_A_RUN = 2
CLOSED_A_RUN = 200
WARMED_A_RUN = 200
CATCH_UP_S = 7 * 86400.0
"""Hours that are older are let go: nobody was there to note their terms."""

GAP_S = 900.0
"""Longer than this without a look, and what changed meanwhile is not known."""

CLOCK_BACK_S = 3600.0
DAY_S = 86400


@dataclass(frozen=True)
class MeterTerms:
    """What metering can be told."""

    close_after_s: float = 3 * 86400.0
    late_s: float = 7 * 86400.0
    """Reports that are later than this are not metered any more."""


class _Look(NamedTuple):
    """One of the times at which an hour is looked at."""

    cursor: str
    after_s: float
    most: int
    first: bool = False


class MeteringLoop:
    """``run_once(now)``. Holds no truth: what it needs again is in the store."""

    def __init__(
        self,
        store: MeteringStore,
        view: Callable[[float], ClusterView],
        sources: TermSources,
        statements: Statements,
        terms: MeterTerms = MeterTerms(),
    ) -> None:
        self._store, self._view, self._sources, self._statements = store, view, sources, statements
        self._terms = terms
        self._counter = Counter(store, sources.default_tier)
        self._known: dict[str, Terms] | None = None

    def run_once(self, now: float) -> int:
        """Note terms, count what is over, close what is due. How many hours were counted."""
        view = self._view(now)
        self._observe(view, now)
        newest = min(now, max((h.last_seen for h in view.hosts), default=float("-inf")))
        done = self._count(now, newest)
        self._statements.warm(now, WARMED_A_RUN)
        self._close(now)
        return done

    # --- terms

    def _observe(self, view: ClusterView, now: float) -> None:
        """Note whose terms changed since the last look."""
        meter = self._store.metering
        seen = meter.seen()
        if seen is not None and now < seen:
            if seen - now < CLOCK_BACK_S:
                return  # a small step back: the next look that is later goes on
            _log.warning("clock went back", since=seen, now=now, does="terms are noted anew; no hour is counted twice")
            meter.forget_terms(now)
            seen, self._known = None, None
        known = meter.terms(now) if self._known is None else self._known
        current = terms_now(view, self._sources, now)
        rows = list(_changes(known, current, seen, now))
        meter.note(rows, now)
        self._known = current

    # --- counting

    def _count(self, now: float, newest: float) -> int:
        step = self._store.history.step_s
        looks = (
            _Look(UNTIL, LATE_BINS * step, A_RUN, first=True),
            _Look("metered_again", AGAIN_S, LATER_A_RUN),
            _Look("metered_last", self._terms.late_s, LATER_A_RUN),
        )
        done = 0
        for look in looks:
            published = _Publishing(UNIT_BINS * step) if look.first else None
            for start in self._due(look, now, newest):
                self._hour(start, look, now, published)
                done += 1
        return done

    def _due(self, look: _Look, now: float, newest: float) -> list[int]:
        """Beginnings of the hours to count now. No further than reports reach: a clock that ran ahead must not skip an hour."""
        meter, unit = self._store.metering, UNIT_BINS * self._store.history.step_s
        until = meter.cursor(look.cursor)
        if until is None:  # begin with the hour that is running: nobody noted terms before
            until = float(now // unit * unit)
            meter.settle({}, (look.cursor, until))
        oldest = int((now - look.after_s - CATCH_UP_S) // unit + 1) * unit
        first, last = max(int(until), oldest), min(now - look.after_s, newest)
        return [s for s in range(first, first + look.most * unit, unit) if s + unit <= last]

    def _hour(self, start: int, look: _Look, now: float, published: "_Publishing | None") -> None:
        """One hour, written at once."""
        meter, unit = self._store.metering, UNIT_BINS * self._store.history.step_s
        day = start - start % DAY_S
        before = meter.of_day(day)
        hour = self._counter.measured(start, before, (start - day) // self._store.history.step_s)
        if look.first:
            self._counter.claims(hour, start, start + unit)
        changed, period = {}, period_of(day)
        closed = meter.closed_projects(period)
        for project, used in hour.used.items():
            at = Booking(day, project, period_of(now) if project in closed else period)
            changed[at] = merged(before.get(at, UsageDay(day, at.booked)), used.values(), hour.proofs[project])
        told = published.after(hour) if published is not None else None
        meter.settle(changed, (look.cursor, float(start + unit)), told)
        _log.debug("hour metered", start=start, look=look.cursor, projects=len(changed), things=sum(map(len, hour.used.values())))

    # --- closing

    def _close(self, now: float) -> None:
        """Freeze statements of months that are over, once the second look at all their hours is done."""
        again = self._store.metering.cursor("metered_again")
        left = CLOSED_A_RUN
        for period in self._store.metering.periods():
            ends = span_of(period)[1]
            if left <= 0 or now < ends + self._terms.close_after_s or again is None or again < ends:
                return
            left -= self._statements.close(period, now, left)


class _Publishing:
    """What collectors see: all hours that one run counted, together: they stand there until the next one is over."""

    def __init__(self, unit_s: int) -> None:
        self._hours = unit_s / 3600.0
        self._sums: dict[tuple[str, str], np.ndarray[Any, Any]] = {}

    def after(self, hour: Hour) -> list[Published]:
        for project, used in hour.used.items():
            for u in used.values():
                sums = self._sums.setdefault((project, u.tier), np.zeros(len(METERS), np.int64))
                sums += np.array(u.amounts, np.int64)
        return [Published(project=p, tier=t, amounts=_told(sums, self._hours)) for (p, t), sums in self._sums.items()]


def _told(sums: "np.ndarray[Any, Any]", hours: float) -> dict[str, float]:
    """Mean cores and GiB by gauge."""
    told = {f"{m}_{UNIT_NAMES[r]}": float(sums[AT[f"{r}_{m}"]]) / HOUR[r] / hours for m in GAUGED for r in RESOURCES}
    return {**told, "missed_claims": float(sums[AT["missed_claims"]])}


def _changes(known: Mapping[str, Terms], current: Mapping[str, Terms], seen: float | None, now: float) -> Iterator[Since]:
    """New rows of terms."""
    gap = seen is not None and now - seen > GAP_S
    for server, terms in current.items():
        before = known.get(server)
        if before == terms:
            continue
        if gap and seen is not None and before is not None and before.kind != Kind.GONE:
            yield Since(server, seen, Terms(Kind.GONE))
        yield Since(server, now, terms)
    for server, before in known.items():
        if before.kind != Kind.GONE and server not in current:
            yield Since(server, seen if gap and seen is not None else now, Terms(Kind.GONE))
