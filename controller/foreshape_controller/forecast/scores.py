"""Forecasts held against what came: pinball sums, coverage and scaled errors, added up per stratum.

The truth is a History that reaches past the forecast's horizon. Steps are held against the next bins' means; a half-hour's
marginal against every observed 5-minute mean inside it; peaks against the largest maximum of a window of which at least
nine bins in ten were observed. Tolerance of coverage, levels of wQL and the scale of MASE are those of the public judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foreshape_controller.forecast.quantiles import quantiles, sane
from foreshape_controller.model.forecast import HALF_HOURS, HEADS, LEVELS, Forecast
from foreshape_controller.model.history import BINS_PER_DAY, RESOURCES, Floats, History
from foreshape_controller.model.kinds import GROUPS
from foreshape_controller.model.learned import Score

TOLERANCE = 1e-4
"""Of the entitlement: a value so near to a quantile counts as covered."""

OBSERVED = 0.9
"""Share of a window's bins that must have been seen before its peak is known."""

HALF_HOUR = 6
"""Bins."""

WEEK = 7 * BINS_PER_DAY

YOUNG_BINS = 2 * BINS_PER_DAY
"""A series whose data begin less than 48 h ago."""

IDLE, BUSY = 0.05, 0.30
"""Shares of the entitlement that a series' 95 % quantile of a week is compared with."""

Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Names = npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Truth:
    """What came after an origin, for n series; NaN where it was not seen. steps [n, 6], half_hours [n, 48, 6], peaks [n]."""

    steps: Floats
    half_hours: Floats
    peak30m: Floats
    peak24h: Floats

    def of(self, head: str) -> Floats:
        """[n, k, m]: values of a head; the k parts have a fan each, against which their m values are held."""
        values: Floats = getattr(self, head)
        shape = {"steps": (-1, HALF_HOUR, 1), "half_hours": (-1, HALF_HOURS, HALF_HOUR)}.get(head, (-1, 1, 1))
        return values.reshape(shape) if values.size else np.empty((len(values), *shape[1:]), np.float32)


@dataclass(frozen=True, eq=False)
class Marks:
    """One head's sums, a row each series: what a Score adds up."""

    head: str
    count: Counts
    truth: Doubles
    pinball: Doubles
    below: Counts
    above: Counts
    scaled_error: Doubles
    """Mean over the window; NaN where the scale or the truth is unknown."""

    def score(self, rows: npt.NDArray[np.intp], resource: str, stratum: str, predictor: str) -> Score:
        """The sums of some rows."""
        scaled = self.scaled_error[rows]
        return Score(
            resource=resource,
            stratum=stratum,
            head=self.head,
            predictor=predictor,
            count=int(self.count[rows].sum()),
            windows=int((self.count[rows] > 0).sum()),
            truth=float(self.truth[rows].sum()),
            pinball=tuple(self.pinball[rows].sum(axis=0).tolist()),
            below=tuple(self.below[rows].sum(axis=0).tolist()),
            above=tuple(self.above[rows].sum(axis=0).tolist()),
            scaled_error=float(np.nansum(scaled)),
            scaled_windows=int(np.isfinite(scaled).sum()),
        )


def judge(forecast: Forecast, truth: History, predictor: str = "") -> tuple[Score, ...]:
    """Scores of a forecast by stratum and head; heads and strata without a single observed value are left out.

    ``truth`` must hold the forecast's series by name (others are left out) and, for strata and scales, some past as well.
    """
    theirs = aligned(truth, forecast.series)
    strata = stratum(theirs, forecast.origin)
    return tally(marks(forecast, theirs), strata, forecast.resource, predictor)


def tally(found: Sequence[Marks], strata: Names, resource: str, predictor: str) -> tuple[Score, ...]:
    """Marks added up by stratum and head."""
    scores = (m.score(np.flatnonzero(strata == s), resource, str(s), predictor) for m in found for s in np.unique(strata))
    return tuple(s for s in scores if s.count)


def total(scores: Sequence[Score]) -> tuple[Score, ...]:
    """Scores of the same resource, stratum, head and predictor added up, in the order of their first."""
    sums: dict[tuple[str, str, str, str], Score] = {}
    for s in scores:
        key = (s.resource, s.stratum, s.head, s.predictor)
        sums[key] = sums[key] + s if key in sums else s
    return tuple(sums.values())


def marks(forecast: Forecast, truth: History, scale: Floats | None = None) -> tuple[Marks, ...]:
    """Sums of each head and series. ``truth`` has the forecast's series in its order; ``scale`` [n] is that of MASE."""
    known = truth_of(truth, forecast.origin)
    room = tolerance(truth, forecast.origin)
    scale = seasonal_scale(truth, forecast.origin) if scale is None else scale
    return tuple(_marks(head, getattr(forecast, head), known.of(head), room, scale) for head in HEADS)


def _marks(head: str, fan: Floats, values: Floats, room: Floats, scale: Floats) -> Marks:
    """One head. A row whose fan is NaN (a net that is silent) counts nothing."""
    fans = fan.reshape((len(fan), values.shape[1], len(LEVELS)))
    spoken: Flags = np.asarray(np.isfinite(fans).all(axis=(1, 2)))
    values = np.where(spoken[:, None, None], values, np.float32(np.nan))
    seen = np.isfinite(values)
    sums = [_level(values, fans[:, :, k, None], level, room[:, None, None]) for k, level in enumerate(LEVELS)]
    pinball, below, above = (np.stack(part, axis=1) for part in zip(*sums, strict=True))
    count = seen.sum(axis=(1, 2))
    return Marks(
        head, count, np.nansum(values, axis=(1, 2), dtype=np.float64), pinball, below, above, _scaled(head, values, fans, scale, count)
    )


def _level(values: Floats, quantile: Floats, level: float, room: Floats) -> tuple[Doubles, Counts, Counts]:
    error = values - quantile
    pinball: Doubles = np.asarray(np.nansum(np.maximum(level * error, (level - 1) * error), axis=(1, 2), dtype=np.float64))
    return pinball, (error <= room).sum(axis=(1, 2)), (error >= -room).sum(axis=(1, 2))


def _scaled(head: str, values: Floats, fans: Floats, scale: Floats, count: Counts) -> Doubles:
    if head.startswith("peak"):
        return np.full(len(values), np.nan)
    error = np.nansum(np.abs(values - fans[:, :, LEVELS.index(0.5), None]), axis=(1, 2), dtype=np.float64)
    known = (count > 0) & (scale > 0)
    return np.where(known, error / np.maximum(count, 1) / np.where(known, scale, 1), np.nan)


def truth_of(history: History, origin: int) -> Truth:
    """What a history shows from the origin on; bins that it does not reach are gaps."""
    first = bins_before(history, origin)
    mean = _bins(history.mean, first, BINS_PER_DAY)
    peak = _bins(history.max, first, BINS_PER_DAY)
    return Truth(mean[:, :HALF_HOUR], mean.reshape((-1, HALF_HOURS, HALF_HOUR)), _peak(peak[:, :HALF_HOUR]), _peak(peak))


def bins_before(history: History, origin: int) -> int:
    """Bins that begin before the origin: what a forecast of that origin may know (may exceed what the history has)."""
    return max(0, -(-(origin - history.start) // history.step_s))


def _past(history: History, origin: int, bins: int | None = None) -> Floats:
    """Means before the origin (the newest so many); what cannot have been measured is a gap."""
    known = min(bins_before(history, origin), history.bins)
    return sane(history.mean[:, 0 if bins is None else max(0, known - bins) : known])


def _bins(values: Floats, first: int, count: int) -> Floats:
    part = sane(values[:, first : first + count])
    return np.pad(part, ((0, 0), (0, count - part.shape[1])), constant_values=np.nan)


def _peak(values: Floats) -> Floats:
    enough = np.isfinite(values).mean(axis=1) > OBSERVED
    return np.where(enough, np.fmax.reduce(values, axis=1), np.float32(np.nan))


def tolerance(history: History, origin: int) -> Floats:
    """[n]: how near is covered. Where nothing was sold (flows, groups), the largest that was seen stands for the entitlement."""
    seen = np.fmax.reduce(_past(history, origin), axis=1, initial=0.0)
    sold = np.nan_to_num(history.entitlement)
    return (TOLERANCE * np.where(sold > 0, sold, seen)).astype(np.float32)


def seasonal_scale(history: History, origin: int) -> Floats:
    """[n]: mean error of "as a day ago" before the origin; NaN where unknown, or so small that dividing by it means nothing."""
    past = _past(history, origin)
    change = np.abs(past[:, BINS_PER_DAY:] - past[:, :-BINS_PER_DAY])
    count = np.isfinite(change).sum(axis=1)
    scale = np.nansum(change, axis=1, dtype=np.float64) / np.maximum(count, 1)
    return np.where((count > 0) & (scale > tolerance(history, origin)), scale, np.nan).astype(np.float32)


def stratum(history: History, origin: int) -> Names:
    """[n]: what kind of series each is at an origin (``learned.STRATA``), from its data before it only."""
    if history.resource not in RESOURCES:
        return _grouped(np.full(len(history.series), "flow"), history)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = quantiles(_past(history, origin, WEEK), [0.95])[:, 0] / history.entitlement
    names = np.where(share < IDLE, "idle", np.where(share > BUSY, "busy", "mid"))
    return _grouped(np.where(age_bins(history, origin) < YOUNG_BINS, "young", names), history)


def _grouped(names: Names, history: History) -> Names:
    return np.where([is_group(s) for s in history.series], "group", names) if history.series else names


def is_group(series: str) -> bool:
    """A host's, project's, segment's or zone's own series."""
    return series.partition(":")[0] in GROUPS and ":" in series


def age_bins(history: History, origin: int) -> Counts:
    """[n]: bins between a series' first value and the origin; 0 without any."""
    seen = np.isfinite(_past(history, origin))
    known = seen.shape[1]
    first = seen.argmax(axis=1) if known else np.zeros(len(seen), np.intp)
    return np.where(seen.any(axis=1), known - first, 0).astype(np.int64)


def aligned(history: History, series: Sequence[str]) -> History:
    """The history's rows in the order of these series; one that it does not have is a row of gaps."""
    if tuple(series) == history.series:
        return history
    place = {name: i for i, name in enumerate(history.series)}
    rows = np.array([place.get(name, -1) for name in series], np.intp)
    if not len(history.series):
        return _blank(history, tuple(series))
    found = history.pick(np.maximum(rows, 0).tolist())
    for values in (found.mean, found.max):
        values[rows < 0] = np.nan
    return replace(found, series=tuple(series))


def _blank(history: History, series: tuple[str, ...]) -> History:
    gaps = np.full((len(series), history.bins), np.nan, np.float32)
    alone = np.full(len(series), np.nan, np.float32)
    return History(history.resource, series, history.start, gaps, gaps, gaps, gaps, alone, alone.astype(np.float64), history.step_s)
