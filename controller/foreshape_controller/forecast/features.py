"""What a net is told of each series: the last week, in units of the series' own spread. numpy only, all series at once.

Two kinds of knowledge: the past itself (48 h bin by bin, a week by two hours, yesterday's and last week's course of the day
ahead), and what simple methods would say of it (``fans``: empirical quantiles and residuals), which the net mixes and
corrects. The second kind is what makes it as good as them where there is nothing to learn. A gap is a gap: it is carried
forward for at most the reading of a sequence, its share is told, and no statistic counts it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from foreshape_controller.forecast.baseline import DAY_RATIO
from foreshape_controller.forecast.quantiles import quantiles, sane, window_max
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS
from foreshape_controller.model.history import BINS_PER_DAY, STEP_S, WATCHED, Floats, History
from foreshape_controller.model.kinds import GROUPS

WEEK = 7 * BINS_PER_DAY
"""Bins of a window."""

NEAR = 2 * BINS_PER_DAY
"""Bins told one by one, and that spreads and residuals look back on."""

HALF_HOUR = 6

PATCHES = NEAR // HALF_HOUR

CHANNELS = HALF_HOUR + 2
"""Of a patch: its bins' means, the largest maximum, the share of bins that are known."""

PERIODS = (6, 12, 24, 36, 48, 72, 96, 144, 288)
"""Bins after which jobs of machines use to come again: half an hour to a day."""

CYCLES = (8, 12, 8, 6, 6, 4, 4, 4, 2)
"""How many of them are averaged."""

PATTERN = 18
"""Bins that a moment of the past is compared by; the newest count most, those 8 bins before them e times less."""

NEAREST = 16
"""Similar moments that are listened to."""

BLOCK = 64
"""Series whose moments are compared at once: so few stay in the processor's cache."""

PRIOR_WEIGHT = 2.0
"""Bins that the expected spread counts for: the spread of a series with two bins is not known to be nothing."""

LEAST = 2
"""Known bins in the last two days before anything can be said."""

LEAST_SPREAD = (1e-3, 2.0, 0.5, 0.5)
"""Of each resource of WATCHED: a spread below this is noise of the measurement (cores, MiB, KiB/s)."""


@dataclass(frozen=True, eq=False)
class Windows:
    """n weeks that end at their origins. mean, peak: [n, WEEK], NaN where unknown. censored: [n, 3], share of the last
    half-hour, two hours, two days. kind: [n], place in WATCHED. entitlement: [n], NaN where nothing was sold.
    clock: [n], epoch seconds of the origin, NaN where the step is not five minutes. group: [n].
    """

    mean: Floats
    peak: Floats
    censored: Floats
    kind: npt.NDArray[np.intp]
    entitlement: Floats
    clock: npt.NDArray[np.float64]
    group: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.mean)

    def some(self, rows: npt.NDArray[np.bool_]) -> "Windows":
        """Only these rows (all of them: no copy)."""
        if rows.all():
            return self
        mean = self.mean[rows]
        peak = mean if self.peak is self.mean else self.peak[rows]
        return Windows(mean, peak, self.censored[rows], self.kind[rows], self.entitlement[rows], self.clock[rows], self.group[rows])

    @cached_property
    def age(self) -> npt.NDArray[np.intp]:
        """Bins since the first known one, at most a week: [n]; 0 without any."""
        known = np.isfinite(self.mean)
        return np.where(known.any(axis=1), self.mean.shape[1] - known.argmax(axis=1), 0)

    @cached_property
    def speaks(self) -> npt.NDArray[np.bool_]:
        """Where there is anything to look at: [n]."""
        enough: npt.NDArray[np.bool_] = np.isfinite(self.mean[:, -NEAR:]).sum(axis=1) >= LEAST
        return enough


@dataclass(frozen=True, eq=False)
class Features:
    """Of n windows, all in (value - middle) / spread. sequence: [n, PATCHES, CHANNELS] and table: [n, F], squashed;
    levels: [n, 4, 13] quantiles of 2 h, 24 h, 48 h, 7 d. steps: [n, 6, 4, 13]. courses: [n, 48, 2] yesterday's and last week's
    half-hours, with ``daily`` [n, 13], how a day differs from the one before. peak30m, peak24h: [n, 4, 13].
    """

    sequence: Floats
    table: Floats
    levels: Floats
    steps: Floats
    courses: Floats
    daily: Floats
    peak30m: Floats
    peak24h: Floats
    middle: Floats
    spread: Floats


def cut(history: History, origin: int, rows: slice) -> Windows:
    """The week before ``origin`` of some rows of a history (the bin that contains the origin as far as it has filled)."""
    known = min(history.bins, max(0, -(-(origin - history.start) // history.step_s)))
    mean = _week(history.mean[rows, :known])
    peak = mean if history.max is history.mean else np.fmax(_week(history.max[rows, :known]), mean)
    clock = float(origin) if history.step_s == STEP_S else np.nan
    return Windows(
        mean=mean,
        peak=peak,
        censored=recently(np.nan_to_num(history.censored[rows, max(0, known - NEAR) : known])),
        kind=np.full(len(mean), WATCHED.index(history.resource)),
        entitlement=history.entitlement[rows].astype(np.float32),
        clock=np.full(len(mean), clock),
        group=grouped(history.series[rows]),
    )


def grouped(series: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Which of them are groups: [n]."""
    return np.asarray([":" in name and name.partition(":")[0] in GROUPS for name in series], bool)


def _week(values: Floats) -> Floats:
    """[n, WEEK]: the end of a past of any length, NaN before it."""
    week = sane(values[:, -WEEK:])
    return np.pad(week, ((0, 0), (WEEK - week.shape[1], 0)), constant_values=np.nan)


def recently(censored: Floats) -> Floats:
    """[n, 3]: mean share over the last half-hour, two hours, two days (or as much as there is)."""
    if censored.shape[1] == 0:
        return np.zeros((len(censored), 3), np.float32)
    return np.stack([censored[:, -bins:].mean(axis=1) for bins in (HALF_HOUR, 24, NEAR)], axis=1).astype(np.float32)


def squash(values: Floats) -> Floats:
    """sign(x)·log(1 + |x|), unknown as 0: what asinh is used for, several times cheaper."""
    known = zeroed(values)
    squashed: Floats = np.copysign(np.log(1 + np.abs(known)), known)
    return squashed


def zeroed(values: Floats) -> Floats:
    """Unknown as 0 (numpy's nan_to_num takes twice as long)."""
    return np.where(np.isfinite(values), values, np.float32(0))


def compute(windows: Windows) -> Features:
    """Everything at once; about 60 µs for each window on one core of 2020."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return _Reading(windows).features()


class _Reading:
    """A batch of windows in its own units, and what several features are made from."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        day2 = quantiles(windows.mean[:, -NEAR:], LEVELS)
        self.middle = zeroed(day2[:, LEVELS.index(0.5)])
        self.spread = _spread(windows, self.middle)
        self.lately = (day2 - self.middle[:, None]) / self.spread[:, None]
        self.mean = (windows.mean - self.middle[:, None]) / self.spread[:, None]
        same = windows.peak is windows.mean
        self.peak = self.mean if same else (windows.peak - self.middle[:, None]) / self.spread[:, None]
        self.near = self.mean[:, -NEAR:]
        self.carried, self.stale = _carried(self.near)
        self.half_hours, self.tops, self.known = _half_hours(self.mean, self.peak)
        self.miss, self.course = _periods(self.carried)
        self.fading = _fading(self.carried)
        self.alike, self.apart = _alike(self.near, self.carried)

    def features(self) -> Features:
        levels, daily = self._levels(), self._daily()
        steps, peak30m, peak24h = self._steps(), self._peak30m(), self._peak24h()
        told = (levels, daily, steps[:, 0], steps[:, -1], peak30m, peak24h)
        return Features(
            sequence=self._sequence(),
            table=np.concatenate([*(squash(t.reshape(len(t), -1)) for t in (*told, *self._past())), self._facts()], axis=1),
            levels=levels,
            steps=steps,
            courses=self._courses(),
            daily=daily,
            peak30m=peak30m,
            peak24h=peak24h,
            middle=self.middle,
            spread=self.spread,
        )

    def _or_lately(self, fan: Floats) -> Floats:
        """A fan [n, ..., 13] that can always be mixed: where it does not know, the last two days' quantiles."""
        lately = self.lately.reshape(len(fan), *(1,) * (fan.ndim - 2), -1)
        return zeroed(np.where(np.isfinite(fan), fan, lately))

    def _levels(self) -> Floats:
        spans = (self.near[:, -24:], self.near[:, -BINS_PER_DAY:], None, self.mean[:, :: WEEK // BINS_PER_DAY])
        fans = [self.lately if span is None else quantiles(span, LEVELS) for span in spans]
        return self._or_lately(np.stack(fans, axis=1))

    def _daily(self) -> Floats:
        """[n, 13]: half-hours' difference from a day before, over the week."""
        change = self.half_hours[:, HALF_HOURS:] - self.half_hours[:, :-HALF_HOURS]
        return zeroed(quantiles(change, LEVELS))

    def _steps(self) -> Floats:
        """[n, 6, 4, 13]: the last value, the last bins' mean, the best period and similar moments, on each bin ahead."""
        season, errors = self._season()
        fans = []
        for ahead in range(1, HALF_HOUR + 1):
            miss = quantiles(_later(self.near, self.near, ahead), LEVELS)
            followed = quantiles(np.take_along_axis(self.near, self.alike + ahead, 1), LEVELS)
            anchors = (self.carried[:, -1:] + miss, self.fading[:, 1:2] + miss, season[:, ahead - 1, None] + errors)
            fans.append(np.stack([*anchors, followed], axis=1))
        return self._or_lately(np.stack(fans, axis=1))

    def _season(self) -> tuple[Floats, Floats]:
        """Course of the next half-hour after the period that erred least over the last day [n, 6], and its errors' quantiles."""
        best = self.miss.argmin(axis=1)
        lag = np.asarray(PERIODS)[best]
        place = np.arange(NEAR - BINS_PER_DAY, NEAR, 2)[None, :]
        then = np.take_along_axis(self.near, place - lag[:, None], 1)
        return self.course[np.arange(len(best)), best], quantiles(self.near[:, place[0]] - then, LEVELS)

    def _peak30m(self) -> Floats:
        """[n, 4, 13]: past half-hours' peaks; the last value, and the last half-hour's, with what followed such; similar moments."""
        near = self.peak[:, -NEAR:]
        top = window_max(near, HALF_HOUR)
        now = near[:, -1:] if near is self.near else self._newest(near)
        after = top[:, 1::2] - near[:, :-HALF_HOUR:2]
        again = top[:, HALF_HOUR::2] - top[:, :-HALF_HOUR:2]
        alike = quantiles(np.take_along_axis(top, self.alike + 1, 1), LEVELS)
        fans = (quantiles(top[:, ::2], LEVELS), now + quantiles(after, LEVELS), top[:, -1:] + quantiles(again, LEVELS), alike)
        return self._or_lately(np.stack(fans, axis=1))

    def _newest(self, near: Floats) -> Floats:
        """[n, 1]: the newest known maximum, as old as the newest known mean."""
        return np.take_along_axis(near, (NEAR - 1 - self.stale)[:, None], 1)

    def _peak24h(self) -> Floats:
        """[n, 4, 13]: peaks of all days of the week; days as a whole; the last day's and the last two's, as a day follows a day."""
        days = window_max(self.tops, HALF_HOURS)
        whole = days[:, ::-1][:, ::HALF_HOURS]
        followed = [self._as_days_follow(bins) for bins in (HALF_HOURS, PATCHES)]
        return self._or_lately(np.stack([quantiles(days, LEVELS), quantiles(whole, LEVELS), *followed], axis=1))

    def _as_days_follow(self, half_hours: int) -> Floats:
        """[n, 13]: the largest of the last half-hours times DAY_RATIO."""
        last = np.fmax.reduce(self.tops[:, -half_hours:], axis=1, initial=-np.inf)
        last = np.where(np.isfinite(last), last, self.lately[:, -1]) * self.spread + self.middle
        return (np.outer(last, DAY_RATIO).astype(np.float32) - self.middle[:, None]) / self.spread[:, None]

    def _courses(self) -> Floats:
        """[n, 48, 2]: half-hours of the day ahead, as they were yesterday and a week ago; else the usual level (0)."""
        return zeroed(np.stack([self.half_hours[:, -HALF_HOURS:], self.half_hours[:, :HALF_HOURS]], axis=2))

    def _sequence(self) -> Floats:
        bins = squash(self.carried).reshape(-1, PATCHES, HALF_HOUR)
        tops = squash(self.tops[:, -PATCHES:, None])
        return np.concatenate([bins, tops, self.known[:, -PATCHES:, None]], axis=2)

    def _past(self) -> tuple[Floats, ...]:
        """Parts of the table that are values."""
        two_hours = sum(zeroed(self.half_hours)[:, i::4] for i in range(4))
        tops = np.maximum.reduce([zeroed(self.tops)[:, i::4] for i in range(4)])
        ahead = (self.half_hours[:, :HALF_HOURS], self.tops[:, :HALF_HOURS], self.tops[:, -HALF_HOURS:])
        return (
            self.miss,
            self.course,
            np.asarray(two_hours, np.float32) / np.float32(4),
            np.asarray(tops, np.float32),
            *ahead,
            self.fading,
            self.apart,
        )

    def _facts(self) -> Floats:
        """[n, facts]: size, age, gaps, calendar, kind."""
        w = self.windows
        sold = zeroed(w.entitlement)
        share = np.where(sold > 0, sold, np.float32(np.nan))
        sizes = [np.log(self.spread), np.log(np.maximum(sold, 1e-3)) * (sold > 0), sold > 0, w.group]
        ratios = [
            squash(np.asarray(10 * v / share, np.float32))
            for v in (self.middle, self.spread, self.middle + self.spread * self.carried[:, -1])
        ]
        gaps = [self.known[:, -bins:].mean(axis=1) for bins in (12, PATCHES, self.known.shape[1])]
        ages = [np.log1p(w.age), np.log1p(self.stale), w.age >= WEEK]
        kinds = [w.kind == k for k in range(len(WATCHED))]
        columns = [*sizes, *ratios, *gaps, *ages, *w.censored.T, *kinds, squash(self.middle / self.spread), *calendar(w.clock)]
        return np.stack(columns, axis=1).astype(np.float32)


CALENDAR = 5
"""Columns of the calendar, the table's last: training forgets them now and then, for clouds whose time zone is unknown."""


def calendar(clock: npt.NDArray[np.float64]) -> list[Floats]:
    """Time of day and day of the week as circles, and whether they are known: CALENDAR columns [n]."""
    known = np.isfinite(clock)
    turns = [2 * np.pi * np.where(known, clock, 0) / seconds for seconds in (86400, 7 * 86400)]
    circles = [f(turn) * known for turn in turns for f in (np.sin, np.cos)]
    return [c.astype(np.float32) for c in (*circles, known)]


def _spread(windows: Windows, middle: Floats) -> Floats:
    """[n]: standard deviation of the last two days, drawn towards what is usual of such a size while few bins are known."""
    near = windows.mean[:, -NEAR:]
    known = np.isfinite(near)
    off = np.where(known, near - middle[:, None], 0)
    sold = zeroed(windows.entitlement)
    usual = 0.25 * middle + np.where(sold > 0, 0.05 * sold, 0) + np.asarray(LEAST_SPREAD, np.float32)[windows.kind]
    square = (off * off).sum(axis=1) + PRIOR_WEIGHT * usual**2
    spread: Floats = np.sqrt(square / (known.sum(axis=1) + PRIOR_WEIGHT)).astype(np.float32)
    return spread


def _carried(near: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
    """The bins with gaps bridged by the value before them (0, the middle, before the first), and the newest one's age in bins."""
    bins = near.shape[1]
    known = np.isfinite(near)
    place = np.maximum.accumulate(np.where(known, np.arange(bins, dtype=np.int32), np.int32(-1)), axis=1)
    carried = zeroed(np.take_along_axis(near, np.maximum(place, 0), 1))
    return carried, np.minimum(bins - 1 - place[:, -1], bins - 1).astype(np.intp)


def _half_hours(mean: Floats, peak: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, largest maximum and known share of each half-hour of the window: [n, WEEK / 6] each; NaN, NaN, 0 if empty."""
    known = np.isfinite(mean)
    total, count, top = np.where(known, mean, 0), known.astype(np.float32), np.where(np.isnan(peak), -np.inf, peak)
    middle = sum(total[:, i::HALF_HOUR] for i in range(HALF_HOUR))
    counts = sum(count[:, i::HALF_HOUR] for i in range(HALF_HOUR))
    tops = np.maximum.reduce([top[:, i::HALF_HOUR] for i in range(HALF_HOUR)])
    share = np.asarray(counts, np.float32)
    return (
        np.asarray(middle / share, np.float32),
        np.where(share > 0, tops, np.nan).astype(np.float32),
        (share / HALF_HOUR).astype(np.float32),
    )


def _later(values: Floats, then: Floats, ahead: int) -> Floats:
    """What every second bin brought ``ahead`` bins after ``then`` (aligned at the end, maybe shorter)."""
    return values[:, values.shape[1] - then.shape[1] + ahead :: 2] - then[:, :-ahead:2]


def _alike(near: Floats, carried: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """The moments of the last two days most like the present one: bins [n, NEAREST], and how unlike the best and all of them are [n, 2].

    A job that comes every 37 minutes, or after another one, is found without knowing its period.
    """
    moments = NEAR - HALF_HOUR - PATTERN + 1
    distance = np.concatenate([_distance(carried[i : i + BLOCK], moments) for i in range(0, len(carried), BLOCK)])
    distance[~np.isfinite(near[:, PATTERN - 1 : PATTERN - 1 + moments])] = np.inf
    nearest = np.argpartition(distance, NEAREST, axis=1)[:, :NEAREST]
    apart = np.sqrt(np.take_along_axis(distance, nearest, 1))
    told = np.stack([apart.min(axis=1), apart.mean(axis=1)], axis=1)
    return nearest + PATTERN - 1, told


def _distance(carried: Floats, moments: int) -> Floats:
    """[n, moments]: squared, from the present pattern."""
    distance = np.zeros((len(carried), moments), np.float32)
    for back in range(PATTERN):
        last = PATTERN - 1 - back
        off = carried[:, last : last + moments] - carried[:, -1 - back, None]
        off *= off
        off *= np.float32(np.exp(-back / 8))
        distance += off
    return distance


def _periods(carried: Floats) -> tuple[Floats, Floats]:
    """Mean error of each period over the last day: [n, periods], and the course it foretells: [n, periods, 6]."""
    day = NEAR - BINS_PER_DAY
    miss = [np.abs(carried[:, day:] - carried[:, day - p : NEAR - p]).mean(axis=1) for p in PERIODS]
    course = [_course(carried, p, c) for p, c in zip(PERIODS, CYCLES, strict=True)]
    return np.stack(miss, axis=1), np.stack(course, axis=1)


def _course(carried: Floats, period: int, cycles: int) -> Floats:
    """[n, 6]: the mean of what came in the next half-hour's place in the last cycles."""
    starts = carried.shape[1] - period * np.arange(cycles, 0, -1)
    course: Floats = np.mean([carried[:, s : s + HALF_HOUR] for s in starts.tolist()], axis=0)
    return course


def _fading(carried: Floats) -> Floats:
    """[n, 3]: exponentially weighted means of the last hours, memory of 10, 3 and 1.7 bins."""
    back = np.arange(NEAR // 12, dtype=np.float32)[::-1]
    weight = np.stack([a * (1 - a) ** back for a in (0.1, 0.3, 0.6)], axis=1)
    fading: Floats = carried[:, -len(back) :] @ (weight / weight.sum(axis=0))
    return fading
