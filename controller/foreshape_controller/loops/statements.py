"""Statements from what is kept: closed ones as they were frozen, open ones by the rate cards of now."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import msgspec

from foreshape_controller.decide.book import Book, period_of, span_of
from foreshape_controller.decide.statement import Frame, check_way, make, regrouped
from foreshape_controller.errors import NotFound
from foreshape_controller.log import get_logger
from foreshape_controller.model.rating import RateCards
from foreshape_controller.model.statement import Saving, Statement, StatementRow
from foreshape_controller.store.metering import Metering

_log = get_logger("statements")

REMEMBERED = 10_000
"""Rows of open statements that are kept in memory until metering goes on."""


class _Rates(Protocol):
    def current(self) -> RateCards: ...


class Statements:
    """``make`` for one, ``rows`` for lists, ``close`` for the loop that meters."""

    def __init__(self, store: Metering, rates: _Rates, targets: Callable[[], Mapping[str, float]], *, shadow: bool = True) -> None:
        """``targets``: by tier, the share of 5-minute bins that may be short."""
        self._store, self._rates, self._targets, self.shadow = store, rates, targets, shadow
        self._known: dict[tuple[str, str, float | None, str], StatementRow] = {}

    def make(self, project: str, period: str, by: str = "meter") -> Statement:
        """Raises Invalid, and NotFound where nothing is known of a project in that month."""
        span_of(period)
        check_way(by)
        frozen = self._store.closed(project, period)
        if frozen is not None:
            told = frozen.days if by == "day" else tuple(regrouped(frozen.statement.lines, by))
            return msgspec.structs.replace(frozen.statement, by=by, lines=told)
        made = self._open(project, period, by)
        if made is None:
            raise NotFound(f"nothing was metered of project {project[:80]!r} in {period}: see 'foreshape statement list'")
        return made

    def rows(self, period: str, project: str | None = None) -> list[StatementRow]:
        """All statements of a month, or one project's. Raises Invalid."""
        span_of(period)
        closed = self._store.closed_rows(period)
        named = {*closed, *self._store.projects(period)} if project is None else {project}
        state = self._state()
        found = (closed.get(p) or self._row(p, period, state) for p in sorted(named))
        return [r for r in found if r is not None]

    def savings(self, now: float, project: str | None = None) -> tuple[Saving, ...]:
        """Of the running month, by project."""
        fields = Saving.__struct_fields__
        return tuple(Saving(**{f: getattr(r, f) for f in fields}) for r in self.rows(period_of(now), project))

    def warm(self, now: float, most: int) -> None:
        """Count open statements anew that have become old, so many at most: who lists them all does not wait for it."""
        period = period_of(now)
        state = self._state()
        old = [p for p in self._store.projects(period) if (p, period, *state) not in self._known]
        for project in old[:most]:
            self._row(project, period, state)

    def close(self, period: str, now: float, most: int) -> int:
        """Freeze statements of a month that are still open, so many at most; how many were."""
        done = 0
        for project in self._to_close(period):
            if done >= most:
                break
            made, days = self._open(project, period, "line", now), self._open(project, period, "day", now)
            if made is not None and days is not None:
                self._store.close(made, days.lines, row_of(made), now)
                _log.info("statement closed", project=project, period=period, total=str(made.total), currency=made.currency, card=made.card)
            done += 1
        return done

    def _to_close(self, period: str) -> Iterator[str]:
        closed = self._store.closed_projects(period)
        yield from (p for p in self._store.projects(period) if p not in closed)

    def _row(self, project: str, period: str, state: tuple[float | None, str]) -> StatementRow | None:
        """Of an open statement; counted anew when metering or the rates have gone on."""
        key = (project, period, *state)
        if key not in self._known:
            made = self._open(project, period, "meter")
            if made is None:
                return None
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = row_of(made)
        return self._known[key]

    def _state(self) -> tuple[float | None, str]:
        """What open statements change with."""
        return self._store.until(), self._rates.current().version

    def _open(self, project: str, period: str, by: str, closed_at: float | None = None) -> Statement | None:
        days = self._store.days(project, period)
        if not days:
            return None
        book = Book(self._rates.current(), period, self._targets())
        return make(book, days, Frame(project, self._store.until() or 0.0, by, closed_at, self.shadow))


def row_of(made: Statement) -> StatementRow:
    """A statement without its lines."""
    return StatementRow(**{f: getattr(made, f) for f in StatementRow.__struct_fields__})
