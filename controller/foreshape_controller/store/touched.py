"""Which bins reports have written to, so that whoever keeps a copy in memory knows what to read again. Safe from any thread."""

import threading
from collections.abc import Iterable
from typing import NamedTuple

MOST_BINS = 4096
"""Bins remembered, the newest ones: two weeks of 5 minutes. Copies in memory are shorter."""


class Since(NamedTuple):
    """What was written after a mark."""

    bins: frozenset[int]
    """Starts of bins that were open when they were written."""
    series: frozenset[int]
    """Numbers of series that were told something about older bins: a backlog."""
    more: bool = False
    """Something else was written, and nobody knows what."""


class Touched:
    """Marks grow with every report. A mark is taken before reading, ``note`` is called after the commit: so nothing is missed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mark = 0
        self._bins: dict[int, int] = {}
        self._late: dict[int, int] = {}
        self._missed = 0

    @property
    def mark(self) -> int:
        """The present; whatever is noted from now on comes after it."""
        return self._mark

    def note(self, written: Iterable[tuple[int, int]], oldest_open: int) -> None:
        """Remember (bin, series) that were written; ``oldest_open``: older bins may be packed in chunks, or soon."""
        with self._lock:
            self._mark += 1
            for at, series in written:
                if at < oldest_open:
                    self._late[series] = self._mark
                else:
                    self._bins[at] = self._mark
            if len(self._bins) > MOST_BINS:
                self._bins = dict(sorted(self._bins.items())[-MOST_BINS // 2 :])

    def missed(self) -> None:
        """Something may have been written that was not noted."""
        with self._lock:
            self._mark += 1
            self._missed = self._mark

    def since(self, mark: int) -> Since:
        """What was noted after the mark."""
        with self._lock:
            bins = frozenset(b for b, at in self._bins.items() if at > mark)
            series = frozenset(s for s, at in self._late.items() if at > mark)
            return Since(bins, series, self._missed > mark)
