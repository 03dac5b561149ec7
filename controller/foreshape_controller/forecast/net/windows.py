"""Training's windows: any series at any moment, cut out of one large array without a loop."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from foreshape_controller.errors import ModelError
from foreshape_controller.forecast.features import WEEK, Windows, grouped, recently
from foreshape_controller.forecast.quantiles import sane
from foreshape_controller.model.history import BINS_PER_DAY, STEP_S, WATCHED, Floats, History

Rows = npt.NDArray[np.intp]

Value = TypeVar("Value", np.float32, np.uint8)

SUMS_OF = (5, 40)
"""Servers in a made-up group."""

LEAST_MEMBERS = 10
"""Series of a resource before groups are made up of them."""

KNOWN_MEMBERS = 0.7
"""Share of a group that must be known in a bin."""

LEAST_BINS = BINS_PER_DAY
"""Known bins of a series before it teaches anything."""

CENSORED = 0.5
"""Share of a bin's samples at their cap from which on its value is only a lower bound."""


@dataclass(frozen=True, eq=False)
class Bank:
    """All series under each other, a week of nothing before them and a day behind. mean, peak, censored: [N, WEEK + T + day]."""

    mean: Floats
    peak: Floats
    censored: npt.NDArray[np.uint8]
    kind: Rows
    entitlement: Floats
    group: npt.NDArray[np.bool_]
    start: int
    step_s: int
    weight: Floats
    """[N]: typical size beside the mean size of the resource."""
    scale: Floats
    """[N]: mean and standard deviation together, cores, MiB, KiB/s."""

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def bins(self) -> int:
        return int(self.mean.shape[1]) - WEEK - BINS_PER_DAY

    def windows(self, rows: Rows, ends: Rows) -> Windows:
        """The weeks before the bins ``ends`` of some rows."""
        mean = _cut(self.mean, rows, ends, WEEK)
        peak = mean if self.peak is self.mean else _cut(self.peak, rows, ends, WEEK)
        clock = np.where(self.step_s == STEP_S, self.start + ends.astype(np.float64) * self.step_s, np.nan)
        lately = _cut(self.censored, rows, ends + WEEK - 2 * BINS_PER_DAY, 2 * BINS_PER_DAY).astype(np.float32) / np.float32(255)
        return Windows(mean, peak, recently(lately), self.kind[rows], self.entitlement[rows], clock, self.group[rows])

    def future(self, rows: Rows, ends: Rows) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """The day after: means and maxima [n, 288], and which are only lower bounds."""
        after = ends + WEEK
        mean = _cut(self.mean, rows, after, BINS_PER_DAY)
        peak = mean if self.peak is self.mean else _cut(self.peak, rows, after, BINS_PER_DAY)
        return mean, peak, _cut(self.censored, rows, after, BINS_PER_DAY) >= CENSORED * 255


def _cut(values: npt.NDArray[Value], rows: Rows, starts: Rows, width: int) -> npt.NDArray[Value]:
    """[m, width]: a piece of each row."""
    pieces: npt.NDArray[Value] = np.lib.stride_tricks.sliding_window_view(values, width, axis=1)[rows, starts]
    return pieces


def bank(histories: Mapping[str, History], until: int | None, limit: int, rng: np.random.Generator) -> Bank:
    """Of all resources up to ``until``, with made-up groups; of more than ``limit`` series of a resource, so many at random."""
    chosen = [_chosen(h, until, limit, rng) for h in histories.values() if h.resource in WATCHED]
    chosen = [h for h in chosen if len(h.series) and h.bins]
    if not chosen:
        raise ModelError(f"nothing to learn from: no series has {LEAST_BINS} known bins before the end; let it run for some days")
    if len({h.step_s for h in chosen}) > 1:
        raise ModelError("histories on different steps: give all resources on the same grid")
    return _stacked([part for h in chosen for part in (h, *_sums(h, rng))])


def _chosen(h: History, until: int | None, limit: int, rng: np.random.Generator) -> History:
    """The part of a history that may be learned from."""
    bins = h.bins if until is None else min(h.bins, max(0, (until - h.start) // h.step_s))
    mean = sane(h.mean[:, :bins])
    rows = np.flatnonzero(np.isfinite(mean).sum(axis=1) >= LEAST_BINS)
    if len(rows) > limit:
        rows = np.sort(rng.choice(rows, limit, replace=False))
    same = h.max is h.mean
    mean = mean[rows]
    peak = mean if same else np.fmax(sane(h.max[rows, :bins]), mean)
    known = np.isfinite(mean).astype(np.float32)
    names = tuple(h.series[i] for i in rows.tolist())
    return History(
        h.resource, names, h.start, mean, peak, known, h.censored[rows, :bins], h.entitlement[rows], h.first_seen[rows], h.step_s
    )


def _sums(h: History, rng: np.random.Generator) -> Iterable[History]:
    """Random groups of servers, so that hosts and projects are nothing new."""
    servers = np.flatnonzero(~grouped(h.series))
    if len(servers) < LEAST_MEMBERS:
        return
    members = [_members(servers, rng) for _ in range(max(8, len(servers) // 2))]
    known, carried = np.isfinite(h.mean), _bridged(h.mean)
    burst = None if h.max is h.mean else np.where(known, h.max - h.mean, 0)
    mean = np.stack([_total(carried, known, rows, w) for rows, w in members])
    peak = mean if burst is None else mean + np.stack([np.sqrt(w**2 @ burst[rows] ** 2) for rows, w in members])
    sold = np.asarray([w @ h.entitlement[rows] for rows, w in members], np.float32)
    names = tuple(f"host:{i}" for i in range(len(members)))
    nothing = np.zeros_like(mean)
    yield History(h.resource, names, h.start, mean, peak, nothing, nothing, sold, np.zeros(len(members)), h.step_s)


def _members(servers: Rows, rng: np.random.Generator) -> tuple[Rows, Floats]:
    count = int(rng.integers(SUMS_OF[0], min(SUMS_OF[1], len(servers)) + 1))
    return rng.choice(servers, count, replace=False), rng.uniform(0.5, 1.5, count).astype(np.float32)


def _total(carried: Floats, known: npt.NDArray[np.bool_], rows: Rows, weight: Floats) -> Floats:
    """[T]: the group's demand; NaN where too few of its members are known."""
    enough = known[rows].mean(axis=0) >= KNOWN_MEMBERS
    return np.where(enough, weight @ carried[rows], np.nan).astype(np.float32)


def _bridged(values: Floats) -> Floats:
    """Gaps filled with the value before; nothing before the first."""
    place = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(values.shape[1], dtype=np.int32), 0), axis=1)
    return np.nan_to_num(np.take_along_axis(values, place, 1))


def _stacked(parts: list[History]) -> Bank:
    """One grid for all: the earliest start, the longest span."""
    first = min(h.start for h in parts)
    bins = max((h.start - first) // h.step_s + h.bins for h in parts)
    mean = _laid([h.mean for h in parts], parts, first, bins)
    peak = mean if all(h.max is h.mean for h in parts) else _laid([h.max for h in parts], parts, first, bins)
    censored = np.nan_to_num(_laid([h.censored for h in parts], parts, first, bins)) * 255
    kinds = [np.full(len(h.series), WATCHED.index(h.resource)) for h in parts]
    kind = np.concatenate(kinds)
    groups = np.concatenate([grouped(h.series) for h in parts])
    sold = np.concatenate([h.entitlement for h in parts]).astype(np.float32)
    return Bank(mean, peak, censored.astype(np.uint8), kind, sold, groups, first, parts[0].step_s, *_sizes(mean, kind))


def _laid(arrays: list[Floats], parts: list[History], first: int, bins: int) -> Floats:
    """[N, WEEK + bins + day] on the common grid."""
    laid = np.full((sum(len(a) for a in arrays), WEEK + bins + BINS_PER_DAY), np.nan, np.float32)
    row = 0
    for values, h in zip(arrays, parts, strict=True):
        left = WEEK + (h.start - first) // h.step_s
        laid[row : row + len(values), left : left + values.shape[1]] = values
        row += len(values)
    return laid


def _sizes(mean: Floats, kind: Rows) -> tuple[Floats, Floats]:
    """Weight and scale of each row (see Bank)."""
    known = np.isfinite(mean)
    count = np.maximum(known.sum(axis=1), 1)
    size = np.where(known, mean, 0).sum(axis=1, dtype=np.float64) / count
    off = np.where(known, mean - size[:, None].astype(np.float32), 0)
    spread = np.sqrt((off * off).sum(axis=1, dtype=np.float64) / count)
    usual = np.asarray([size[kind == k].mean() if (kind == k).any() else 1.0 for k in range(len(WATCHED))])
    return (size / np.maximum(usual[kind], 1e-9)).astype(np.float32), (size + spread).astype(np.float32)
