"""The last hours of everybody, kept in memory from plan to plan: only what was written since is read again.

The store stays the truth: a copy is made from it at the first reading, told of every report by ``Touched``, and checked against the
store a slice at a time, so that whatever it missed (another process on the same database) is healed within two hours of plans.
Histories that were handed out are never changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.history import Floats, History
from foreshape_controller.store.history import HistoryStore
from foreshape_controller.store.touched import Since

SLICES = 120
"""Plans in which every series is read anew once."""

_BLANK = {"mean": np.nan, "max": np.nan, "coverage": 0.0, "censored": 0.0}
"""Columns that are kept, and what stands where nothing was told."""


@dataclass(frozen=True, eq=False)
class _Kept:
    """A history as it was last read, and the mark from before it was read."""

    history: History
    mark: int
    turn: int = 0


class Recent:
    """``read`` is for one reader at a time: the plan."""

    def __init__(self, history: HistoryStore) -> None:
        self._store = history
        self._kept: dict[str, _Kept] = {}

    @property
    def step_s(self) -> int:
        return self._store.step_s

    def read(self, resource: str, names: Sequence[str], until: float, count: int) -> History:
        """As ``HistoryStore.read_lean`` of servers."""
        mark = self._store.touched.mark  # before reading: what comes meanwhile is read again next time
        kept, start = self._kept.get(resource), self._store.span(until, count)[0]
        since = self._store.touched.since(kept.mark) if kept else None
        if kept is None or since is None or not self._serves(kept.history, since, start, (until, count)):
            self._kept[resource] = _Kept(self._store.read_lean(resource, names, until, count), mark)
        else:
            self._kept[resource] = self._renewed(kept, since, names, (until, count), mark)
        return self._kept[resource].history

    def _serves(self, old: History, since: Since, start: int, span: tuple[float, int]) -> bool:
        """Whether the copy can be brought up to date: of the same width, and what has to be read again is known, and not packed yet."""
        if since.more:
            return False
        until, count = span
        again = min([old.until - self.step_s, *since.bins])
        return old.bins == count and old.start <= start and again >= self._store.oldest_open(until)

    def _renewed(self, kept: _Kept, since: Since, names: Sequence[str], span: tuple[float, int], mark: int) -> _Kept:
        """Moved on in time, its rows put in the order asked for, open bins read again, and some series read whole."""
        old, (until, count) = kept.history, span
        row = {name: i for i, name in enumerate(old.series)}
        ordered = old if old.series == tuple(names) else _rows(old, [row.get(n, -1) for n in names], names)
        history = _moved(ordered, self._store.span(until, count)[0])
        self._reread(history, min([old.until - self.step_s, *since.bins]))
        new = {n for n in names if n not in row}
        turn = {n for i, n in enumerate(names) if i % SLICES == kept.turn}
        self._replace(history, sorted(new | turn | self._late(names, since)), span)
        return _Kept(history, mark, (kept.turn + 1) % SLICES)

    def _late(self, names: Sequence[str], since: Since) -> set[str]:
        """Series that were told of bins which may be packed."""
        return {n for n, number in self._store.numbers(names).items() if number in since.series} if since.series else set()

    def _reread(self, history: History, first: int) -> None:
        """Open bins from ``first`` on, and what was sold to whom."""
        first = max(first, history.start)
        found = self._store.read_open(history.resource, history.series, first, history.until)
        at = (first - history.start) // self.step_s
        for name in _BLANK:
            getattr(history, name)[:, at:] = getattr(found, name)
        for name in ("entitlement", "first_seen"):
            getattr(history, name)[:] = getattr(found, name)

    def _replace(self, history: History, names: Sequence[str], span: tuple[float, int]) -> None:
        """Some series, whole, from chunks and bins."""
        if not names:
            return
        found = self._store.read_lean(history.resource, names, *span)
        row = {name: i for i, name in enumerate(history.series)}
        at = np.array([row[n] for n in names], np.intp)
        for name in (*_BLANK, "entitlement", "first_seen"):
            getattr(history, name)[at] = getattr(found, name)


def _rows(history: History, at: Sequence[int], names: Sequence[str]) -> History:
    """Rows in another order; -1 is a row without data."""
    rows = np.asarray(at, np.intp)
    empty = rows < 0
    parts: dict[str, Any] = {name: _blanked(getattr(history, name)[rows], empty, blank) for name, blank in _BLANK.items()}
    sold = _blanked(history.entitlement[rows], empty, np.nan)
    first_seen = history.first_seen[rows]
    first_seen[empty] = float(history.until)
    return replace(history, series=tuple(names), entitlement=sold, first_seen=first_seen, **parts)


def _blanked(values: Floats, where: npt.NDArray[np.bool_], blank: float) -> Floats:
    values[where] = blank
    return values


def _moved(history: History, start: int) -> History:
    """A copy that begins at ``start``: bins drop out on the left, and come in blank on the right."""
    k = (start - history.start) // history.step_s

    def part(name: str, blank: float) -> Floats:
        values: Floats = getattr(history, name)
        return np.concatenate([values[:, k:], np.full((len(values), k), blank, np.float32)], axis=1)

    parts: dict[str, Any] = {name: part(name, blank) for name, blank in _BLANK.items()}
    return replace(history, start=start, entitlement=history.entitlement.copy(), first_seen=history.first_seen.copy(), **parts)
