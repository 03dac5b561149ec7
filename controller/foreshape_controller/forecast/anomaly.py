"""Anomalies of many series at once: spikes, level shifts, flat lines, dead sensors, at a stated rate of false alarms.

Spikes and shifts are surprises (``surprise``) beyond a threshold from extreme values (``tails``); flat lines and dead sensors
are runs longer than a series' habits (``runs``). No model is needed, so detection works from the first day, and a net that
learnt an anomaly cannot hide it. What is found is masked from training and widens the margin of forecasts while it lasts.
What comes as often as once a week is a habit, not an anomaly.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foreshape_controller.forecast import surprise, tails
from foreshape_controller.forecast.caution import widen
from foreshape_controller.forecast.quantiles import sane
from foreshape_controller.forecast.runs import Runs, find
from foreshape_controller.forecast.surprise import HOUR, Surprise, lag
from foreshape_controller.model.anomaly import Finding, Findings, Kind, Mask
from foreshape_controller.model.history import BINS_PER_DAY, Floats, History

__all__ = ["detect", "masked", "widen"]

ALARMS_PER_MONTH = 1.0
"""False alarms per series and 30 days that the thresholds are set for, all kinds together."""
SHARE = {Kind.SPIKE: 0.4, Kind.SHIFT: 0.4, Kind.FLAT: 0.1, Kind.DEAD: 0.1}
"""How the kinds divide it."""
RECORDS = 0.7
"""Share of the spikes' rate for values that are the largest by far; the rest for values that are odd for their time."""
WORTH = 0.5
"""Share of the values beyond a spike's threshold that matter and are news (Bitbrains, Azure): thresholds may be lower for it."""
MATTERS = 0.02
"""Of the entitlement: nothing smaller is worth an alarm."""
MATTERS_UNSOLD = 0.05
"""Of the largest value seen, where nothing was sold (disk, network)."""
SETTLED = 36
"""Bins after which a new level is the normal one."""
APART = 24
"""Bins between two surprises that make them two anomalies."""
STAYED = 2 / 3
"""Share of an hour's values beyond the band that makes a shift of a spike."""
SAME = 1e-6
"""Relative: values closer than this are the same."""
ZERO = 1e-3
"""Of a series' level: below is zero."""
HOLE = 6
"""Bins of gap across which a value counts as standing still."""
TOGETHER = 0.5
"""A gap that this share of the fleet has is the controller's, not the sensor's."""
PEERS = 4
"""Series that make a fleet."""
RUN_TAIL = 2.0
"""Tail index of runs, for their confidence."""
MONTH_BINS = 30 * BINS_PER_DAY

Bins = npt.NDArray[np.intp]


@dataclass(frozen=True)
class _Spell:
    """One finding in bins. end: first bin that is normal again, None while it lasts. odd: bins to mask."""

    row: int
    kind: Kind
    first: int
    end: int | None
    noticed: int
    strength: float
    tail: float
    odd: Bins


@dataclass(frozen=True, eq=False)
class _Past:
    """A history, prepared. y [n, T] values; matters [n]: smallest difference worth an alarm; scale [n]: what counts as large."""

    y: Floats
    scale: Floats
    matters: Floats

    @classmethod
    def of(cls, history: History) -> "_Past":
        y = sane(history.mean)
        top = np.fmax.reduce(y, axis=1, initial=np.float32(0))
        sold = np.nan_to_num(history.entitlement)
        matters = np.where(sold > 0, MATTERS * sold, MATTERS_UNSOLD * top).astype(np.float32)
        return cls(y, np.fmax(surprise.level(y), 2 * matters), matters)


def detect(history: History, *, alarms_per_month: float = ALARMS_PER_MONTH) -> Findings:
    """Everything odd in a history, judged at each bin by what was known then. Never raises; a short history finds little."""
    if days := history.empty_days:  # of a young cloud's window: most of the work, and nothing in it
        since = detect(history.without_days(days), alarms_per_month=alarms_per_month)
        return replace(since, mask=np.pad(since.mask, ((0, 0), (days * BINS_PER_DAY, 0))))
    past = _Past.of(history)
    rate = {kind: alarms_per_month * share for kind, share in SHARE.items()}
    with np.errstate(invalid="ignore", over="ignore"):
        spells = [*_runs(past, rate)]
        spells += _apart(_surprises(past, rate), spells)
    mask = np.zeros(past.y.shape, np.bool_)
    for s in spells:
        mask[s.row, s.odd] = True
    spells.sort(key=lambda s: (s.row, s.first))
    peak = np.fmax(sane(history.max), past.y)
    found = tuple(_finding(history, s, peak[s.row], alarms_per_month) for s in spells)
    return Findings(history.resource, history.series, mask, found, alarms_per_month)


def masked(history: History, findings: Findings) -> History:
    """The history without its odd bins, for training: they are gaps."""
    gap = np.float32(np.nan)
    mean, peak = np.where(findings.mask, gap, history.mean), np.where(findings.mask, gap, history.max)
    return replace(history, mean=mean, max=peak)


# --- spikes and shifts -------------------------------------------------------------------------------------------------


def _surprises(past: _Past, rate: dict[Kind, float]) -> Iterator[_Spell]:
    x = surprise.squeeze(past.y, past.scale)
    sudden, slow = surprise.of_bins(x), surprise.of_hours(x)
    tests = _tests(sudden, x, rate[Kind.SPIKE])
    onsets = _onsets(tests, past, sudden)
    yield from _sudden(sudden, onsets)
    hours = _test(slow.size, _compared(slow), rate[Kind.SHIFT])
    for onset in _without(_onsets((hours,), past, slow), onsets):
        first = max(0, onset.at - HOUR + 1)
        yield _shift(onset, first, x.shape[1])


@dataclass(frozen=True, eq=False)
class _Test:
    """A statistic [n, T] and its thresholds."""

    values: Floats
    limits: tails.Limits
    normal: Floats | None = None
    """[n, T]: the top of what is normal now; where that is beyond the threshold already, being beyond is no news."""

    @property
    def alarms(self) -> Mask:
        beyond: Mask = self.values > self.limits.at
        return beyond if self.normal is None else beyond & ~(self.normal > self.limits.at)


class _Onset(NamedTuple):
    """The first alarm of a group."""

    row: int
    at: int
    strength: float
    tail: float


def _tests(sudden: Surprise, x: Floats, per_month: float) -> tuple[_Test, _Test]:
    """Two questions to each value: is it odd for this time of day, and is it the largest by far."""
    per_month /= WORTH
    odd = _test(sudden.size, _compared(sudden), per_month * (1 - RECORDS))
    largest = _test(np.nan_to_num(x, nan=-1.0), np.isfinite(x), per_month * RECORDS, first=np.inf)
    return odd, replace(largest, normal=sudden.high)


def _test(values: Floats, judged: Mask, per_month: float, first: float = tails.FIRST) -> _Test:
    return _Test(values, tails.limits(values, judged, per_month / 30, first))


def _compared(s: Surprise) -> Mask:
    """Values that had another day to be compared with."""
    known = np.isfinite(s.values)
    later = np.zeros_like(known)
    later[:, BINS_PER_DAY:] = _begun(known)[:, :-BINS_PER_DAY]
    compared: Mask = known & later
    return compared


def _onsets(tests: Sequence[_Test], past: _Past, s: Surprise) -> list[_Onset]:
    """The first alarm of each group, of those that matter."""
    alarms: Mask = np.logical_or.reduce([t.alarms for t in tests])
    rows, at = np.nonzero(alarms)
    edge = np.where(s.up[rows, at], s.high[rows, at], s.low[rows, at])
    off = np.abs(np.sinh(s.values[rows, at]) - np.sinh(edge)) * past.scale[rows]
    keep = (off >= past.matters[rows]) & (s.size[rows, at] > 0)
    rows, at = rows[keep], at[keep]
    new = np.ones(len(rows), np.bool_)
    new[1:] = (rows[1:] != rows[:-1]) | (at[1:] - at[:-1] > APART)
    return [_onset(tests, int(r), int(a)) for r, a in zip(rows[new], at[new], strict=True)]


def _onset(tests: Sequence[_Test], row: int, at: int) -> _Onset:
    """With the strength of the test that is surest."""
    heard = [t for t in tests if t.alarms[row, at]]
    strength, tail = max((t.limits.strength(float(t.values[row, at]), row, at), t.limits.alpha) for t in heard)
    return _Onset(row, at, strength, tail)


def _without(slow: list[_Onset], sudden: list[_Onset]) -> Iterator[_Onset]:
    """Shifts that did not begin with a jump that is known already."""
    near: dict[int, list[int]] = {}
    for o in sudden:
        near.setdefault(o.row, []).append(o.at)
    for o in slow:
        if not any(0 <= o.at - begun <= SETTLED for begun in near.get(o.row, ())):
            yield o


def _sudden(s: Surprise, onsets: list[_Onset]) -> Iterator[_Spell]:
    bins = s.size.shape[1]
    for o in onsets:
        hour = s.values[o.row, o.at : o.at + HOUR]
        half = s.size[o.row, o.at] / 2
        out = hour > s.high[o.row, o.at] + half if s.up[o.row, o.at] else hour < s.low[o.row, o.at] - half
        if len(hour) == HOUR and out.sum() >= STAYED * np.isfinite(hour).sum():
            yield _shift(o, o.at, bins)
        else:
            odd = o.at + np.flatnonzero(out)
            end = int(odd[-1]) + 1
            yield _Spell(o.row, Kind.SPIKE, o.at, None if end == bins else end, o.at + 1, o.strength, o.tail, odd)


def _shift(o: _Onset, first: int, bins: int) -> _Spell:
    end = first + SETTLED
    odd = np.arange(first, min(first + HOUR, bins))
    return _Spell(o.row, Kind.SHIFT, first, end if end < bins else None, o.at + 1, o.strength, o.tail, odd)


def _apart(spells: Iterable[_Spell], runs: list[_Spell]) -> list[_Spell]:
    """Surprises that are no more than the edges of a flat line or of a dead sensor's silence are left out."""
    spans: dict[int, list[tuple[int, float]]] = {}
    for r in runs:
        spans.setdefault(r.row, []).append((r.first, np.inf if r.end is None else r.end))
    return [s for s in spells if not any(a - 1 <= s.first + HOUR and s.first <= b + HOUR for a, b in spans.get(s.row, ()))]


# --- flat lines and dead sensors ---------------------------------------------------------------------------------------


def _runs(past: _Past, rate: dict[Kind, float]) -> Iterator[_Spell]:
    y = past.y
    known = np.isfinite(y)
    dead, flat = rate[Kind.DEAD] / 2 / MONTH_BINS, rate[Kind.FLAT] / MONTH_BINS
    zero = known & (y <= ZERO * past.scale[:, None])
    taken = [*_spells(past, find(zero | (~known & _recent(zero)), known, dead), Kind.DEAD)]
    yield from taken
    yield from _spells(past, find(gone := _gone(known), gone | known, dead), Kind.DEAD)
    before = _filled(y)
    same = np.abs(y - before) <= SAME * past.scale[:, None]
    stands = (same | (~known & np.isfinite(before))) & ~zero
    yield from _spells(past, find(stands, known & np.isfinite(before), flat), Kind.FLAT)


def _spells(past: _Past, runs: Runs, kind: Kind) -> Iterator[_Spell]:
    """Runs that alarm, each once, where there was load before."""
    alarms, bins = runs.alarms, runs.length.shape[1]
    begins = alarms & ~np.pad(alarms, ((0, 0), (1, 0)))[:, :-1]
    for row, at in zip(*np.nonzero(begins), strict=True):
        first = int(at - runs.length[row, at] + 1)
        over = np.flatnonzero(runs.length[row, at:] == 0)
        end = int(at + over[0]) if len(over) else bins
        day = past.y[row, max(0, first - BINS_PER_DAY) : first]
        if np.fmax.reduce(day, initial=0) - np.fmin.reduce(day, initial=np.inf if kind is Kind.FLAT else 0) >= past.matters[row]:
            strength = float(runs.seen[row, end - 1] / runs.limit[row, end - 1])
            yield _Spell(int(row), kind, first, end if end < bins else None, int(at) + 1, strength, RUN_TAIL, np.arange(first, end))


def _gone(known: Mask) -> Mask:
    """No data, after the first there was, where most of the fleet has some."""
    gone = ~known & _begun(known)
    return gone & (gone.mean(axis=0) < TOGETHER)[None, :] if len(known) >= PEERS else gone


def _begun(known: Mask) -> Mask:
    begun: Mask = np.maximum.accumulate(known, axis=1)
    return begun


def _recent(holds: Mask) -> Mask:
    """Held a few bins ago."""
    return np.nan_to_num(surprise.trailing_max(holds.astype(np.float32), HOLE)) > 0


def _filled(y: Floats) -> Floats:
    """The last value before each bin, at most HOLE bins old."""
    bins = np.arange(y.shape[1], dtype=np.int32)
    place = np.maximum.accumulate(np.where(np.isfinite(y), bins, -1), axis=1)
    last = np.take_along_axis(y, np.maximum(place, 0), axis=1)
    return lag(np.where(bins - place < HOLE, last, np.float32(np.nan)), 1)


# --- words -------------------------------------------------------------------------------------------------------------


def _finding(history: History, s: _Spell, peak: Floats, per_month: float) -> Finding:
    day = peak[max(0, s.first - BINS_PER_DAY) : s.first]

    def at(place: int) -> int:
        return history.start + place * history.step_s

    return Finding(
        series=history.series[s.row],
        resource=history.resource,
        kind=s.kind,
        since=at(s.first),
        until=None if s.end is None else at(s.end),
        noticed=at(s.noticed),
        strength=s.strength,
        confidence=float(1 / (1 + per_month * max(s.strength, 1.0) ** -s.tail)),
        before=float(np.fmax.reduce(day, initial=0.0)),
    )
