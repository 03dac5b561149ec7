"""Which windows training looks at: any series of the taught ones, any moment, big ones oftener."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foreshape_controller.forecast import features
from foreshape_controller.forecast.features import CALENDAR, NEAR, WEEK, Features, Windows
from foreshape_controller.forecast.net.windows import Bank, Rows
from foreshape_controller.model.history import BINS_PER_DAY, Floats

HELD_OUT = 0.08
"""Share of the series that only validate."""

LEAST_SERIES = 12
"""Series before some are held out; fewer validate on themselves."""

LATE = 0.75
"""Validation looks at the last quarter of the time."""

CUT_GROWN = 0.25
"""Share of the grown net's windows with less than a week (never less than YOUNG_BELOW)."""

YOUNG_BELOW = NEAR
"""Bins of age below which the young net speaks."""

FORGET_CLOCK = 0.25
"""Share of the windows that do not know the time."""

BIG_COUNTS = 0.5
"""A series' weight is its size to this power: costs are in cores, but a few large series must not be all that is learned."""

GROUPS = 0.2
"""Share of groups: they are made of the same servers, and a net that learned mostly sums knows little of one server."""

LARGEST = 3.0
"""A window counts by the root of its spread beside its series' scale; a spread beyond so many of those counts no more."""

EVEN = 0.3
"""Share of what is learned that counts every series alike: ranges must be right for the idle too."""

SHARES = (0.35, 0.35, 0.15, 0.15)
"""Of cpu, memory, disk and net in what is looked at, where all are there."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Features of some windows, their future (see Bank.future) and what each is worth."""

    told: Features
    future: tuple[Floats, Floats, npt.NDArray[np.bool_]]
    worth: Floats


class Sampler:
    """Draws from a part of the rows; what a draw looks like depends on the generator alone."""

    def __init__(self, data: Bank, rows: Rows, since: float = 0.0) -> None:
        self.data, self.rows, self.since = data, rows, since
        size = np.clip(data.weight[rows], 1e-3, 100.0) ** BIG_COUNTS
        even = _shared(np.ones_like(size), data, rows)
        wanted = (1 - EVEN) * _shared(size, data, rows) + EVEN * even
        self.chance = 0.5 * wanted + 0.5 * even
        self.worth = (wanted / self.chance).astype(np.float32)

    def draw(self, count: int, young: bool, rng: np.random.Generator) -> Sample:
        """``young``: histories cut at 10 minutes to two days; else now and then at two days to a week."""
        picked = rng.choice(len(self.rows), count, p=self.chance)
        first, last = self._span()
        ends = rng.integers(first, last, count)
        rows = self.rows[picked]
        windows = _cut(self.data.windows(rows, ends), young, rng)
        told = features.compute(windows)
        told.table[rng.random(count) < FORGET_CLOCK, -CALENDAR:] = 0
        restless = np.sqrt(np.clip(told.spread / np.maximum(self.data.scale[rows], 1e-9), 0, LARGEST))
        worth = self.worth[picked] * restless
        return Sample(told, self.data.future(rows, ends), np.where(windows.speaks, worth, 0).astype(np.float32))

    def _span(self) -> tuple[int, int]:
        """Bins between which origins lie: half a day of future must be there, a third of the past at most is skipped."""
        last = max(2, self.data.bins - BINS_PER_DAY // 2)
        first = max(min(BINS_PER_DAY, self.data.bins // 3), int(self.since * self.data.bins))
        return min(first, last - 1), last


def _shared(weight: Floats, data: Bank, rows: Rows) -> npt.NDArray[np.float64]:
    """Chances [rows], sum 1: in proportion to the weights inside each resource's servers and groups, SHARES between them."""
    chance = np.zeros(len(rows))
    for kind, part in enumerate(SHARES):
        for group, share in ((False, 1 - GROUPS), (True, GROUPS)):
            here = (data.kind[rows] == kind) & (data.group[rows] == group)
            chance[here] = part * share * weight[here] / max(1e-9, float(weight[here].sum()))
    shared: npt.NDArray[np.float64] = chance / chance.sum()
    return shared


def split(data: Bank, seed: int) -> tuple[Rows, Rows]:
    """Rows that validate and rows that teach; groups teach only where servers are held out, for they hold all servers."""
    servers = np.flatnonzero(~data.group)
    if len(servers) < LEAST_SERIES:
        every = np.arange(len(data))
        return every, every
    held = np.sort(np.random.default_rng((seed, 1)).choice(servers, max(2, int(HELD_OUT * len(servers))), replace=False))
    return held, np.setdiff1d(np.arange(len(data)), held)


def _cut(windows: Windows, young: bool, rng: np.random.Generator) -> Windows:
    """Some of the windows without what was before an age, log-uniform."""
    low, high = (2, YOUNG_BELOW) if young else (YOUNG_BELOW, WEEK)
    age = np.exp(rng.uniform(np.log(low), np.log(high), len(windows)))
    age = np.where(young | (rng.random(len(windows)) < CUT_GROWN), age, WEEK)
    before = np.arange(WEEK) < (WEEK - np.floor(age))[:, None]
    mean = np.where(before, np.float32(np.nan), windows.mean)
    same = windows.peak is windows.mean
    peak = mean if same else np.where(before, np.float32(np.nan), windows.peak)
    return replace(windows, mean=mean, peak=peak)
