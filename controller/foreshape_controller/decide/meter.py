"""What was really used, from what reports said: whole amounts, each 5-minute bin of a server once. Pure.

Only seconds that samples speak for count, and only what they saw: an order that was refused, or that nobody proved, changed no
measurement and so is not metered. Whatever is uncertain counts for the customer: a bin without data, one whose terms nobody noted, a
size beyond what the server can reach.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.history import History
from foreshape_controller.model.metering import AT, METERS, Kind, Since, Terms

Whole = npt.NDArray[np.int64]
Planned = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

GRAIN = 1e-3
"""Day chunks keep one part in two thousand: less than that is no difference."""

CAPPED = 0.5
"""Share of a bin at its cap from which the demand is not known: it counts as short, for the customer."""

PER = {"cpu": 1000.0, "memory": 1.0}
"""Whole units in a core, in a MiB."""

Wanted = Mapping[str, tuple[float, float]]
"""Cores and MiB that a plan wanted, by server."""


class Stretch(NamedTuple):
    """Bins [first, last) in which one thing was under the same terms."""

    server: str
    terms: Terms
    first: int
    last: int


def stretches(rows: Sequence[Since], start: int, count: int, step: int) -> list[Stretch]:
    """Who was under which terms, by the bins of an hour. ``rows``: by server, then time; the last one before ``start`` among them.

    A bin is a server's by the terms at its beginning. Of a reservation, only bins count through which it was held all the time.
    """
    edges = [start + i * step for i in range(count + 1)]
    found: list[Stretch] = []
    for _, of in groupby(rows, key=lambda r: r.server):
        mine = list(of)
        for row, following in zip(mine, [*mine[1:], None], strict=True):
            ends = edges[-1] if following is None else following.at
            first = _at_or_after(edges, row.at)
            whole = row.terms.kind == Kind.RESERVATION
            last = bisect_right(edges, ends) - 1 if whole else _at_or_after(edges, ends)
            if first < min(last, count) and row.terms.kind != Kind.GONE:
                found.append(Stretch(row.server, row.terms, first, min(last, count)))
    return found


def _at_or_after(edges: Sequence[int], at: float) -> int:
    """Index of the first edge that is not before an instant."""
    return next((i for i, edge in enumerate(edges) if edge >= at), len(edges))


@dataclass(frozen=True)
class Counted:
    """What came of some stretches; row i belongs to stretch i."""

    amounts: Whole
    """[n, meters], in the order of ``METERS``."""
    bins: Flags
    """[n, bins] that were counted."""
    short: Mapping[str, Flags]
    """[n, bins] by resource."""
    broken: Mapping[str, Flags]


def tally(came: Mapping[str, History], of: Sequence[Stretch], before: Flags, wanted: Sequence[Wanted] = ()) -> Counted:
    """Stretches of servers against histories of the hour. ``before``: [n, bins] that were counted already.

    ``wanted``: by bin, what plans wanted of servers that are not resized; empty: nobody knows.
    """
    step, count = came["cpu"].step_s, came["cpu"].bins
    row = {name: i for i, name in enumerate(came["cpu"].series)}
    at = np.array([row[s.server] for s in of], np.intp)
    index = np.arange(count)
    mine = (index >= np.array([[s.first] for s in of])) & (index < np.array([[s.last] for s in of])) & ~before
    had = {r: _had(came[r], at, r) for r in came}
    known = {r: mine & (had[r] > 0) for r in came}
    counted = known["cpu"] | known["memory"]
    amounts = np.zeros((len(of), len(METERS)), np.int64)
    seconds = np.zeros(counted.shape, np.int64)
    short, broken = {}, {}
    for resource, history in came.items():
        lived = np.rint(np.nan_to_num(history.coverage[at]) * step).astype(np.int64)
        seconds = np.maximum(seconds, lived)
        case = _Case(resource, of, np.where(known[resource], had[resource], 0), np.where(known[resource], lived, 0))
        short[resource] = case.short(history, at)
        broken[resource] = known[resource] & (case.had < case.floor * (1 - GRAIN)) & case.servers
        case.count(amounts, short[resource], broken[resource], _planned(of, wanted, resource, count))
    amounts[:, AT["seconds"]] = np.where(counted, seconds, 0).sum(axis=1)
    return Counted(amounts, counted, short, broken)


def held(of: Sequence[Stretch], before: Flags, step: int) -> Counted:
    """Stretches of reservations: Placement held them, and no report is wanted."""
    index = np.arange(before.shape[1])
    mine = (index >= np.array([[s.first] for s in of])) & (index < np.array([[s.last] for s in of])) & ~before
    amounts = np.zeros((len(of), len(METERS)), np.int64)
    seconds = mine.sum(axis=1) * step
    for resource in ("cpu", "memory"):
        sold = np.array([s.terms.size(resource)[0] for s in of], np.int64)
        amounts[:, AT[f"{resource}_reservation"]] = sold * seconds
    none = {r: np.zeros(mine.shape, np.bool_) for r in ("cpu", "memory")}
    return Counted(amounts, mine, none, none)


def _had(history: History, at: npt.NDArray[np.intp], resource: str) -> Whole:
    """[n, bins] whole units; 0 where nothing honest was said."""
    assert history.allocated is not None, "metering reads histories with what each had"
    values = history.allocated[at].astype(np.float64) * PER[resource]
    odd = ~np.isfinite(values) | (values < 0) | (values > 1e12) | (history.coverage[at] <= 0)
    whole: Whole = np.rint(np.where(odd, 0, values)).astype(np.int64)
    return whole


def _planned(of: Sequence[Stretch], wanted: Sequence[Wanted], resource: str, count: int) -> Planned:
    """[n, bins] whole units that plans wanted; NaN: not known."""
    which = 0 if resource == "cpu" else 1
    planned = np.full((len(of), count), np.nan)
    for k, told in enumerate(wanted[:count]):
        planned[:, k] = [told[s.server][which] if s.server in told else np.nan for s in of]
    result: Planned = planned * PER[resource]
    return result


class _Case:
    """One resource of n stretches. All [n, bins] whole units, or [n, 1]."""

    def __init__(self, resource: str, of: Sequence[Stretch], had: Whole, seconds: Whole) -> None:
        self.resource, self.seconds = resource, seconds
        sizes = np.array([s.terms.size(resource) for s in of], np.int64).reshape(-1, 3)
        self.sold, self.floor, self.most = (sizes[:, k : k + 1] for k in range(3))
        self.servers = np.array([[s.terms.kind == Kind.SERVER] for s in of], np.bool_)
        self.idle = np.array([[not s.terms.act] for s in of], np.bool_)
        self.measured = had > 0
        self.had = np.where(np.abs(had - self.sold) <= self.sold * GRAIN, self.sold, had)

    def short(self, history: History, at: npt.NDArray[np.intp]) -> Flags:
        """Wanted more than it had, and had less than was sold: that is a promise, more than that was none."""
        need = history.mean[at].astype(np.float64) * PER[self.resource]
        hurt = (need > self.had * (1 + GRAIN)) | (history.censored[at] >= CAPPED)
        found: Flags = self.measured & self.servers & hurt & (self.had < self.sold)
        return found

    def count(self, amounts: Whole, short: Flags, broken: Flags, planned: Planned) -> None:
        """Add up over bins, into the columns of the resource."""
        mine = self.seconds * self.servers
        sold = np.minimum(self.had, self.sold)
        spare = np.where(np.isfinite(planned) & self.idle, sold - np.maximum(np.nan_to_num(planned), self.floor), 0)
        kept = np.where(self.measured & ~broken, self.floor, 0)
        columns = {
            "entitlement": sold * mine,
            "freed": (self.sold - sold) * mine,
            "guaranteed": kept * mine,
            "burst": np.clip(self.had - self.sold, 0, np.maximum(self.most - self.sold, 0)) * mine,
            "missing": np.where(broken, self.floor - self.had, 0) * mine,
            "could_free": np.rint(np.maximum(spare, 0)).astype(np.int64) * mine,
            "pool": self.sold * self.seconds * ~self.servers,
            "known": self.measured & self.servers,
            "short": short,
            "broken": broken,
        }
        for name, values in columns.items():
            amounts[:, AT[f"{self.resource}_{name}"]] = values.sum(axis=1)
