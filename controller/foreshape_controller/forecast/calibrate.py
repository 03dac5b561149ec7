"""Fans made honest: split-conformal shifts, by resource × stratum × head, from how recent forecasts missed.

A level is moved by the quantile of its own misses (y − level) on days that it did not know, in widths of the fan (5 % to 95 %),
so that a wide fan moves further. Groups ("Mondrian"): the strata, which are bands of scale relative to what was sold; a level
near the end needs many different series, since windows of one series miss together, and takes the coarser group's shift until
it has them. A day's peak is one value a day and does not repeat itself: its shift must have helped from one half of the days to
the other, both ways round, else it is halved or dropped, and counts in full only with a fortnight of days. The conformal level
is rounded up, ⌈(n+1)q⌉/n. Measured with the baseline on Bitbrains, a fortnight to fit and the next to look, 400 VMs: the 80/90/98 %
intervals of busy CPUs' half-hours held 71/80/90 % before and 79/90/98 % after, those of idle CPUs' next steps 88/94/98 and 81/90/98.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import numpy.typing as npt

from foreshape_controller.forecast.fans import per_series
from foreshape_controller.forecast.quantiles import ordered
from foreshape_controller.forecast.scores import Names, tolerance, truth_of
from foreshape_controller.model.forecast import HEADS, LEVELS, Forecast
from foreshape_controller.model.history import Floats, History
from foreshape_controller.model.learned import Cell, Corrections

WIDTH = (LEVELS.index(0.05), LEVELS.index(0.95))
"""Levels whose distance is a fan's width."""

THIN = 1e-3
"""Of the size (entitlement): no fan counts as thinner than this."""

SERVERS = ("idle", "mid", "busy")
"""Strata that one coarser group, ``server``, holds together."""

LEAST_SERIES = 10
"""Different series behind a level in the middle; a level q needs 1 / (1 − q) of them, or 1 / q."""

LEAST_VALUES = 100

PER_SERIES = 24
"""Values of one head, series and origin that are listened to: the day's half-hours say nearly the same as all its bins."""

FORTNIGHT = 12
"""Different days of origins (of 14, some are holes) after which day peaks are believed in full."""

DAY_S = 86400

RATE = 0.3
"""Share of a day's correction that a refit takes: yesterday's weather is not all of the climate."""

SHARES = (0.0, 0.5, 1.0)
"""How much of a shift is taken; of equals the least."""

COST = 1.02
"""Pinball loss that coverage may cost, by the loss without the shift."""


@dataclass(frozen=True, eq=False)
class Misses:
    """What one forecast's fans missed by: per head [n, values, levels] in widths of the fan, NaN where nothing was seen."""

    voice: str
    resource: str
    origin: int
    series: tuple[str, ...]
    strata: Names
    heads: Mapping[str, Floats]
    units: Mapping[str, Floats]
    """Widths of the fans, by head: [n]."""


def misses(forecast: Forecast, truth: History, strata: Names, voice: str = "model") -> Misses:
    """Hold a forecast against what came. ``truth`` has the forecast's series in its order and reaches past its horizon.

    A value within the tolerance of a level counts as met, as in the coverage that is published.
    """
    known, room, size = truth_of(truth, forecast.origin), tolerance(truth, forecast.origin), sizes(truth, forecast.origin)
    units = {head: width(getattr(forecast, head), size) for head in HEADS}
    parts = {head: _missed(getattr(forecast, head), known.of(head), room, units[head]) for head in HEADS}
    return Misses(voice, forecast.resource, forecast.origin, forecast.series, strata, parts, units)


def _missed(fan: Floats, values: Floats, room: Floats, unit: Floats) -> Floats:
    fans = fan.reshape((len(fan), values.shape[1], len(LEVELS)))
    error = values[..., None] - fans[:, :, None, :]
    side = np.sign(np.asarray(LEVELS) - 0.5).astype(np.float32)
    allowed = error - side * room[:, None, None, None]
    every = max(1, values.shape[1] * values.shape[2] // PER_SERIES)
    flat = allowed.reshape((len(fan), -1, len(LEVELS)))[:, ::every]
    return (flat / unit[:, None, None]).astype(np.float32)


def width(fan: Floats, size: Floats) -> Floats:
    """[n]: the unit of shifts, the mean distance from the 5 % to the 95 % level, not thinner than a thousandth of the size."""
    wide = fan[..., WIDTH[1]] - fan[..., WIDTH[0]]
    mean: Floats = wide.reshape((len(fan), -1)).mean(axis=1) if fan.size else np.zeros(len(fan), np.float32)
    return (mean + THIN * size + np.float32(1e-9)).astype(np.float32)


def sizes(history: History, origin: int) -> Floats:
    """[n]: the entitlement, or where nothing was sold the largest that was seen."""
    return (tolerance(history, origin) * np.float32(1e4)).astype(np.float32)


class Calibration:
    """Shifts that are ready to use."""

    def __init__(self, corrections: Corrections) -> None:
        self.corrections = corrections
        self._shifts = {(c.voice, c.resource, c.stratum, c.head): np.asarray(c.shifts, np.float32) for c in corrections.cells}

    @classmethod
    def fit(cls, found: Sequence[Misses]) -> "Calibration":
        """From misses of many origins; cells with too little behind them are left out (their fans stay as they are)."""
        return cls(Corrections(_bounded(_fitted(found)), float(max((m.origin for m in found), default=0))))

    @classmethod
    def of(cls, cells: Sequence[Cell], fitted_at: float) -> "Calibration":
        return cls(Corrections(tuple(cells), float(fitted_at)))

    def apply(self, forecast: Forecast, strata: Names, size: Floats, voice: str = "model") -> Forecast:
        """Every fan moved, levels in order and nothing negative; ``size`` as from ``sizes``. Unknown strata stay as they are."""
        steps, half_hours, peak30m, peak24h = (
            self._moved(getattr(forecast, head), (voice, forecast.resource), head, strata, size) for head in HEADS
        )
        return replace(forecast, steps=steps, half_hours=half_hours, peak30m=peak30m, peak24h=peak24h)

    def _moved(self, fan: Floats, whose: tuple[str, str], head: str, strata: Names, size: Floats) -> Floats:
        shifts = self._rows(whose, head, strata)
        if not shifts.any():
            return fan
        unit = per_series(width(fan, size), fan)
        moved = fan + shifts.reshape((-1,) + (1,) * (fan.ndim - 2) + (len(LEVELS),)) * unit
        return ordered(np.maximum(moved, 0)).astype(np.float32)

    def _rows(self, whose: tuple[str, str], head: str, strata: Names) -> Floats:
        """[n, levels]: the shifts of each series."""
        kinds, place = np.unique(strata, return_inverse=True)
        table = [self._of(whose, str(kind), head) for kind in kinds]
        return np.stack(table)[place] if table else np.zeros((0, len(LEVELS)), np.float32)

    def _of(self, whose: tuple[str, str], kind: str, head: str) -> Floats:
        own = self._shifts.get((*whose, kind, head))
        if own is None and kind in SERVERS:
            own = self._shifts.get((*whose, "server", head))
        return np.zeros(len(LEVELS), np.float32) if own is None else own


def refit(calibration: Calibration, found: Sequence[Misses], rate: float = RATE) -> Calibration:
    """Follow the days: shifts moved by a part of what the newest calibrated forecasts still missed by.

    ``found`` are misses of forecasts to which ``calibration`` was already applied, each listened to once (a day's worth).
    """
    old = {_key(c): c for c in calibration.corrections.cells}
    new = {_key(c): c for c in _fitted(found)}
    cells = _bounded([_stepped(old.get(key), new.get(key), rate) for key in dict.fromkeys((*old, *new))])
    newest = max((m.origin for m in found), default=0)
    return Calibration(Corrections(cells, max(calibration.corrections.fitted_at, float(newest))))


def _key(cell: Cell) -> tuple[str, str, str, str]:
    return cell.voice, cell.resource, cell.stratum, cell.head


def _stepped(old: Cell | None, new: Cell | None, rate: float) -> Cell:
    if new is None:
        assert old is not None
        return old
    before = old.shifts if old else (0.0,) * len(LEVELS)
    shifts = tuple(a + rate * b for a, b in zip(before, new.shifts, strict=True))
    return msgspec.structs.replace(new, shifts=shifts)


def _fitted(found: Sequence[Misses]) -> list[Cell]:
    return [cell for key in _keys(found) for cell in _cells(key, [m for m in found if (m.voice, m.resource) == key])]


def _bounded(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """No level near the end moves inwards on the word of few series: it could only be seen to be too wide by many."""
    behind = {_key(c): c.series for c in cells}
    return tuple(_widening(c, max(c.series, behind.get(_coarse(c), 0))) for c in cells)


def _coarse(cell: Cell) -> tuple[str, str, str, str]:
    """Key of the cell whose shifts stand in where this one lacks series."""
    return cell.voice, cell.resource, "server" if cell.stratum in SERVERS else cell.stratum, cell.head


def _widening(cell: Cell, series: int) -> Cell:
    few = [series < needed(level) for level in LEVELS]
    out = [max(0.0, s) if level > 0.5 else min(0.0, s) for s, level in zip(cell.shifts, LEVELS, strict=True)]
    return msgspec.structs.replace(cell, shifts=tuple(o if f else s for o, f, s in zip(out, few, cell.shifts, strict=True)))


def _keys(found: Iterable[Misses]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((m.voice, m.resource) for m in found))


def _cells(key: tuple[str, str], found: Sequence[Misses]) -> Iterable[Cell]:
    """Every cell of one voice and resource, the coarser group first: its shifts stand in for levels that lack series."""
    strata = np.concatenate([m.strata for m in found])
    names = np.concatenate([np.asarray(m.series, np.str_) for m in found])
    origins = np.concatenate([np.full(len(m.series), m.origin, np.int64) for m in found])
    late = origins > np.median([m.origin for m in found])
    for head in HEADS:
        errors = np.concatenate([m.heads[head] for m in found])
        units = np.concatenate([m.units[head] for m in found])
        heap = Heap(names, origins // DAY_S, late, errors, units)
        coarse = _cell((*key, "server", head), heap.where(np.isin(strata, SERVERS)), None)
        cells = [coarse] + [_cell((*key, str(s), head), heap.where(strata == s), coarse) for s in np.unique(strata)]
        yield from (c for c in cells if c is not None)


@dataclass(frozen=True, eq=False)
class Heap:
    """Misses of one head from many windows (m of them): errors [m, values, levels]; the others [m]."""

    names: Names
    days: npt.NDArray[np.int64]
    late: npt.NDArray[np.bool_]
    """Of the later half of the origins."""
    errors: Floats
    units: Floats

    def where(self, rows: npt.NDArray[np.bool_]) -> "Heap":
        """The windows in which anything was seen, of these."""
        rows = rows & np.isfinite(self.errors).any(axis=(1, 2))
        return Heap(self.names[rows], self.days[rows], self.late[rows], self.errors[rows], self.units[rows])

    @property
    def trust(self) -> float:
        """How far these days speak for other days."""
        return min(1.0, len(np.unique(self.days)) / FORTNIGHT)

    def level(self, k: int) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """One level's misses, their units and which are late; all [values seen]."""
        errors = self.errors[:, :, k]
        known = np.isfinite(errors)
        spread = np.broadcast_to
        return errors[known], spread(self.units[:, None], errors.shape)[known], spread(self.late[:, None], errors.shape)[known]


def _cell(key: tuple[str, str, str, str], heap: Heap, coarse: Cell | None) -> Cell | None:
    voice, resource, stratum, head = key
    series, values = len(np.unique(heap.names)), int(np.isfinite(heap.errors[:, :, 0]).sum())
    if values < LEAST_VALUES or series < LEAST_SERIES:
        return None
    fallback = coarse.shifts if coarse is not None and stratum in SERVERS else (None,) * len(LEVELS)
    shifts = tuple(_shift(heap, head, k, series, fallback[k]) for k in range(len(LEVELS)))
    return Cell(voice=voice, resource=resource, stratum=stratum, head=head, shifts=shifts, series=series, values=values)


def _shift(heap: Heap, head: str, k: int, series: int, fallback: float | None) -> float:
    """A level's shift; with too few series for it, the coarser group's where there is one."""
    if series < needed(LEVELS[k]) and fallback is not None:
        return fallback
    missed, unit, late = heap.level(k)
    return heap.trust * proven(missed, unit, late, LEVELS[k]) if head == "peak24h" else conformal(missed, LEVELS[k])


def needed(level: float) -> float:
    """Different series that a level needs before its own group is believed."""
    return max(LEAST_SERIES, 1 / min(level, 1 - level) - 1e-6)


def proven(missed: Floats, unit: Floats, late: npt.NDArray[np.bool_], level: float) -> float:
    """The conformal shift of all misses, times the share (0, 1/2 or 1) that covered best from one half of the days to the other.

    A share that costs more than COST in pinball loss on the days it was not fitted on is out.
    """
    whole = conformal(missed, level)
    if late.all() or not late.any():
        return whole / 2
    halves = [
        (missed[late], unit[late], conformal(missed[~late], level)),
        (missed[~late], unit[~late], conformal(missed[late], level)),
    ]
    before = sum(_pinball(m, u, level) for m, u, _ in halves)
    allowed = [s for s in SHARES if sum(_pinball(m - s * shift, u, level) for m, u, shift in halves) <= COST * before]
    return whole * min(allowed, key=lambda s: sum(abs(_covered(m - s * shift, level) - level) for m, _, shift in halves))


def _pinball(missed: Floats, unit: Floats, level: float) -> float:
    return float((np.maximum(level * missed, (level - 1) * missed) * unit).sum(dtype=np.float64))


def _covered(missed: Floats, level: float) -> float:
    """Share at or under the level; of the lower levels one less the share at or over it."""
    return float((missed <= 0).mean()) if level >= 0.5 else 1 - float((missed >= 0).mean())


def conformal(missed: Floats, level: float) -> float:
    """The ⌈(n+1)·level⌉-th smallest miss above the middle, its mirror image below: coverage is never rounded down."""
    if level < 0.5:
        return -conformal(-missed, 1 - level)
    place = min(int(np.ceil((len(missed) + 1) * level - 1e-9)), len(missed)) - 1
    return float(np.partition(missed, place)[place])
