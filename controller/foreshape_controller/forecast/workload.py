"""The class of work of each server, from one to two weeks of its CPU; read- or write-heavy from its disk.

Each day is summed up by itself (hourly means, share of time that it is busy, for how long at a stretch), and the class follows
from the sums over days. So gaps and missing days cost evidence, not correctness, and the same rules give the class of any
half of the days: the share of such halves that agree is the confidence. Everything is relative to a series' own size, but for
"idle", which is relative to what was sold.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshape_controller.forecast.quantiles import quantiles, sane
from foreshape_controller.model.history import BINS_PER_DAY, Floats, History
from foreshape_controller.model.workload import ReadWrite, WorkClass, Workload

Picked = npt.NDArray[np.bool_]

LEAST_DAYS = 3
"""Days with data before there is a class."""
SURE_DAYS = 7
KNOWN_DAY = BINS_PER_DAY // 2
"""Bins with data that make a day."""
IDLE = 0.05
"""Of the entitlement, at the 95 % quantile."""
EVEN = 0.7
"""Steady: the 5 and 95 % quantiles are no further apart than this share of the median (noise of 20 % has 0.66)."""
DAILY = 0.4
"""Diurnal: share of the hourly variance that the hour of the day explains."""
LONG_PART = 0.2
"""Diurnal: busy for at least this share of the time; what is shorter and as regular is a nightly job, so batch."""
SHORT_PART = 0.5
"""Batch: busy for at most this share of the time,"""
STRETCH = 6
"""… for at least so many bins on end,"""
CONTRAST = 3.0
"""… at so many times the level of its rest."""
HALVES = 16
HEAVY = 0.7
"""Share of reads (or of writes) that makes a disk read-heavy (or write-heavy)."""
HOURS = 24


@dataclass(frozen=True, eq=False)
class _Days:
    """n series by D days; a day with too little data does not count. hours [n, D, 24]; low, middle, high, busy, runs [n, D]."""

    counts: Picked
    hours: Floats
    low: Floats
    middle: Floats
    high: Floats
    busy: Floats
    """Bins nearer to the top than to rest, as a share of all; a gap is as the bin before it."""
    runs: Floats
    """Stretches of such bins."""
    bins: Floats
    """Such bins."""


@dataclass(frozen=True, eq=False)
class _Levels:
    """[n] each, over all days, in units of the largest value."""

    rest: Floats
    top: Floats
    sold: Floats

    @property
    def between(self) -> Floats:
        """Geometrically halfway from rest to top: noise is relative."""
        halfway: Floats = np.sqrt(np.maximum(self.rest, self.top / 50) * self.top)
        return halfway


def classify(cpu: History, read_share: Floats | None = None) -> tuple[Workload, ...]:
    """A class for each series. ``read_share``: [n], share of the disk's bytes that was read; NaN where there was none.

    Bins are counted back from the end, so whole days that pass change nothing but the oldest day.
    """
    days, levels = _days(cpu)
    all_days = days.counts
    told = _rules(days, levels, all_days)
    agree = np.mean([_rules(days, levels, half) == told for half in _halves(all_days)], axis=0)
    known = all_days.sum(axis=1)
    sure = agree * np.minimum(1.0, known / SURE_DAYS)
    shares = np.full(len(cpu.series), np.nan) if read_share is None else read_share
    return tuple(_workload(*row) for row in zip(told, sure, known, shares, strict=True))


def read_write(share: float) -> ReadWrite:
    """What a disk mostly does."""
    if not np.isfinite(share):
        return ReadWrite.UNKNOWN
    if share >= HEAVY:
        return ReadWrite.READ
    return ReadWrite.WRITE if share <= 1 - HEAVY else ReadWrite.MIXED


def _workload(work: str, confidence: float, days: int, share: float) -> Workload:
    disk = read_write(share)
    if days < LEAST_DAYS:
        return Workload(work=WorkClass.UNKNOWN, read_write=disk, confidence=0.0, note=f"{days} days of data, {LEAST_DAYS} are needed")
    return Workload(work=WorkClass(work), read_write=disk, confidence=round(float(confidence), 2), note=f"from {days} days")


def _days(cpu: History) -> tuple[_Days, _Levels]:
    y = sane(cpu.mean)
    most = np.fmax.reduce(y, axis=1, initial=np.finfo(np.float32).tiny)
    y = y / most[:, None]
    y = y[:, y.shape[1] % BINS_PER_DAY :] if y.shape[1] >= BINS_PER_DAY else np.empty((len(y), 0), np.float32)
    n, days = len(y), y.shape[1] // BINS_PER_DAY
    edges = quantiles(y[:, ::2], (0.2, 0.99))
    with np.errstate(over="ignore"):  # beside nothing at all, what was sold is infinite
        levels = _Levels(edges[:, 0], edges[:, 1], np.nan_to_num(cpu.entitlement) / most)
    day = y.reshape(n * days, BINS_PER_DAY)
    known = np.isfinite(day).sum(axis=1)
    spread = quantiles(day, (0.05, 0.5, 0.95))
    busy = _busy(day, np.repeat(levels.between, days))
    count = busy.sum(axis=1)
    runs = (busy[:, 1:] & ~busy[:, :-1]).sum(axis=1) + busy[:, 0]

    def table(values: npt.NDArray[np.generic]) -> Floats:
        return values.reshape(n, days).astype(np.float32)

    summed = _Days(
        counts=known.reshape(n, days) >= KNOWN_DAY,
        hours=_hours(day).reshape(n, days, HOURS),
        low=table(spread[:, 0]),
        middle=table(spread[:, 1]),
        high=table(spread[:, 2]),
        busy=table(count / BINS_PER_DAY),
        runs=table(runs),
        bins=table(count),
    )
    return summed, levels


def _busy(day: Floats, above: Floats) -> Picked:
    """[days, 288] above a level; across a gap the last known bin of the day holds."""
    place = np.maximum.accumulate(np.where(np.isfinite(day), np.arange(day.shape[1]), 0), axis=1)
    with np.errstate(invalid="ignore"):
        busy: Picked = np.take_along_axis(day, place, axis=1) > above[:, None]
    return busy


def _hours(day: Floats) -> Floats:
    """[days, 24] means; NaN where an hour has no data."""
    parts = day.reshape(len(day), HOURS, BINS_PER_DAY // HOURS)
    known = np.isfinite(parts)
    count = known.sum(axis=2)
    total = np.where(known, parts, 0).sum(axis=2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _rules(days: _Days, levels: _Levels, picked: Picked) -> npt.NDArray[np.str_]:
    """[n] names of classes, from the days that are picked."""
    low, middle, high = (_over(part, picked) for part in (days.low, days.middle, days.high))
    part = _over(days.busy, picked)
    stretch = _total(days.bins, picked) / np.maximum(_total(days.runs, picked), 1)
    daily = _daily(days.hours, picked)
    idle = (levels.sold > 0) & (high < IDLE * levels.sold)
    steady = high - low <= EVEN * middle
    diurnal = (daily >= DAILY) & (part >= LONG_PART)
    batch = (part <= SHORT_PART) & (stretch >= STRETCH) & (levels.top >= CONTRAST * levels.rest)
    return np.select(
        [idle | (high <= 0), steady, diurnal, batch],
        [WorkClass.IDLE, WorkClass.STEADY, WorkClass.DIURNAL, WorkClass.BATCH],
        WorkClass.BURSTY,
    )


def _daily(hours: Floats, picked: Picked) -> Floats:
    """[n]: share of the hourly variance explained by the hour of the day; its noise (variance / days) is taken off."""
    known = np.isfinite(hours) & picked[:, :, None]
    count = known.sum(axis=1)
    profile = np.where(known, hours, 0).sum(axis=1) / np.maximum(count, 1)
    left = np.where(known, hours - profile[:, None, :], 0)
    within = (left**2).sum(axis=(1, 2)) / np.maximum((np.maximum(count - 1, 0)).sum(axis=1), 1)
    profile = np.where(count > 0, profile, np.nan)
    hours_known = np.maximum((count > 0).sum(axis=1), 1)
    centre = np.where(count > 0, profile, 0).sum(axis=1) / hours_known
    between = np.where(count > 0, (profile - centre[:, None]) ** 2, 0).sum(axis=1) / hours_known
    true = np.maximum(between - within / np.maximum(picked.sum(axis=1), 1), 0)
    share: Floats = true / np.maximum(true + within, np.finfo(np.float32).tiny)
    return share


def _total(values: Floats, picked: Picked) -> Floats:
    total: Floats = np.where(picked, values, 0).sum(axis=1)
    return total


def _over(values: Floats, picked: Picked) -> Floats:
    """[n]: mean over the picked days."""
    mean: Floats = _total(np.nan_to_num(values), picked) / np.maximum(picked.sum(axis=1), 1).astype(np.float32)
    return mean


def _halves(counts: Picked) -> list[Picked]:
    """Half-samples of each series' days: always the same ones, so that a class does not flicker by chance."""
    rng = np.random.default_rng(0)
    halves: list[Picked] = []
    for _ in range(HALVES):
        order = np.where(counts, rng.random((1, counts.shape[1])), np.inf).argsort(axis=1).argsort(axis=1)
        halves.append(counts & (order < np.maximum(counts.sum(axis=1, keepdims=True) // 2, 1)))
    return halves
