"""What people know of before it happens, joined to forecasts. Pure: values in, values out, all series at once.

An occurrence multiplies demand by its factor f between its start and its end; before and after it the factor grows from 1
and falls back to 1 over its ramps. Several at once multiply, between 0 and 20. The effect on a forecast:

    5-minute means:     fan of the step × factor of the step (the mean over its bin)
    half-hour marginal: mixture of the half-hour's bins, each bin's fan × its factor
    window peak:        q-quantile P(q) × max over the parts j of (factor of j × level of j at q),
                        level of j at q = the part's own quantile / the largest of the window's parts

so that without an event a forecast stays as it is, an event over the whole window multiplies its peak by f, and an event at
night raises the day's peak only if f × the night's level exceeds the day's. A part is as high as its window where the
forecast is flat: there a short event counts like a long one, on the safe side.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foreshape_controller.forecast.quantiles import ordered
from foreshape_controller.model.event import FACTOR_MOST, Influence
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, Forecast
from foreshape_controller.model.history import BINS_PER_DAY, Floats, History

Rows = npt.NDArray[np.intp]

DECLARED = 0.25
"""What was declared counts as this many occurrences: one that was seen whole outweighs it 4 to 1, two 8 to 1."""

LEAST = 0.01
"""Factors below this count as this where their logarithm is taken."""

FAINT = 0.05
"""Demand under a factor below this says nothing about demand without it: those bins become gaps."""

NEGLIGIBLE = 0.1
"""A learned effect on a resource for which nothing was declared counts from this far away from 1."""

WHOLE = 0.5
"""Share of a bin that an occurrence must cover for the bin to tell its effect."""


# -- factors over time ------------------------------------------------------------------------------------------------


def covered(influence: Influence, starts: npt.NDArray[np.float64], step_s: float) -> Floats:
    """[bins] share of each bin under the occurrence, ramps counted by their height: exact, by the integral of the trapezoid."""
    area = _area(influence, starts + step_s) - _area(influence, starts)
    return np.clip(area / step_s, 0, 1).astype(np.float32)


def _area(i: Influence, until: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Integral of the trapezoid from the beginning of time to each instant, seconds."""
    rising = np.clip(until - i.begins, 0, i.lead_s)
    whole = np.clip(until - i.start, 0, i.end - i.start)
    falling = np.clip(until - i.end, 0, i.tail_s)
    up = rising**2 / (2 * i.lead_s) if i.lead_s else 0.0
    down = falling - falling**2 / (2 * i.tail_s) if i.tail_s else 0.0
    area: npt.NDArray[np.float64] = up + whole + down
    return area


@dataclass(frozen=True, eq=False)
class Effect:
    """What some rows of a batch are multiplied by. rows: [k]; factor: [k, bins]. All other rows have 1."""

    rows: Rows
    factor: Floats


Grid = tuple[float, int, float]
"""Start of the first bin (epoch seconds), bins, seconds of a bin."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One influence on a grid: the bins from ``first`` on that it covers, and how much of each."""

    influence: Influence
    first: int
    share: Floats


def curves(influences: Sequence[Influence], grid: Grid) -> tuple[Curve, ...]:
    """Those that reach into the grid; the same for every batch of series on it."""
    start, bins, step_s = grid
    starts = start + step_s * np.arange(bins, dtype=np.float64)
    found = []
    for i in influences:
        first, last = (int(np.clip((t - start) // step_s + k, 0, bins)) for t, k in ((i.begins, 0), (i.ends, 1)))
        share = covered(i, starts[first:last], step_s)
        if share.any():
            found.append(Curve(i, first, share))
    return tuple(found)


def effect(told: Sequence[Curve], shares: Callable[[str], Floats], resource: str, bins: int) -> Effect:
    """All influences on one resource together: their product, between 0 and 20.

    shares: [n] for a scope, how much of each series' demand is in it: 0 or 1 for servers, for groups by ``group_share``.
    An event on a share s of a group's demand multiplies the group's by 1 + s·(f − 1).
    """
    mine = [c for c in told if resource in c.influence.factors]
    inside = {scope: share for scope in {c.influence.scope for c in mine} if (share := shares(scope)).any()}
    rows = np.flatnonzero(np.logical_or.reduce([share > 0 for share in inside.values()])) if inside else np.zeros(0, np.intp)
    some = {scope: np.flatnonzero(share[rows] > 0) for scope, share in inside.items()}
    product = np.ones((len(rows), bins), np.float32)
    for c in (c for c in mine if c.influence.scope in inside):
        hit = some[c.influence.scope]
        change = inside[c.influence.scope][rows[hit], None] * c.share[None, :] * np.float32(c.influence.factors[resource] - 1)
        product[hit, c.first : c.first + len(c.share)] *= 1 + change
    return Effect(rows, np.clip(product, 0, np.float32(FACTOR_MOST)))


# -- onto a forecast --------------------------------------------------------------------------------------------------


def apply(forecast: Forecast, effect: Effect, said: Mapping[int, str]) -> Forecast:
    """The forecast under an effect over the 288 bins from its origin; ``said`` is added to the reasons of its rows.

    Rows without an effect come back as they were, to the bit.
    """
    rows, f = effect.rows, effect.factor
    if len(rows) == 0:
        return forecast
    near = forecast.steps.shape[1]
    half_hours = _half_hours(forecast.half_hours[rows], f)
    peak30m = _peak(forecast.peak30m[rows], forecast.steps[rows], f[:, :near])
    peak24h = _peak(forecast.peak24h[rows], forecast.half_hours[rows], _by_half_hour(f).max(axis=2))
    return replace(
        forecast,
        steps=_put(forecast.steps, rows, forecast.steps[rows] * f[:, :near, None]),
        half_hours=_put(forecast.half_hours, rows, half_hours),
        peak30m=_put(forecast.peak30m, rows, peak30m),
        peak24h=_put(forecast.peak24h, rows, np.maximum(peak24h, peak30m)),
        reason=tuple(f"{r}; {said[k]}" if r and k in said else said.get(k, r) for k, r in enumerate(forecast.reason)),
    )


def _put(whole: Floats, rows: Rows, part: Floats) -> Floats:
    """A copy with some rows replaced, levels in order."""
    new = whole.copy()
    new[rows] = ordered(part.astype(np.float32))
    return new


def _by_half_hour(factor: Floats) -> Floats:
    """[n, 48, 6]: the bins of each half-hour."""
    return factor[:, :BINS_PER_DAY].reshape(len(factor), HALF_HOURS, -1)


def _half_hours(fan: Floats, factor: Floats) -> Floats:
    """Each half-hour's marginal: scaled where its bins have one factor, else mixed from its bins' scaled fans."""
    by = _by_half_hour(factor)
    scaled: Floats = fan * by.mean(axis=2)[:, :, None]
    mixed = np.nonzero(by.max(axis=2) != by.min(axis=2))
    if len(mixed[0]):
        scaled[mixed] = _mixture(fan[mixed][:, None, :] * by[mixed][:, :, None])
    return scaled


def _mixture(fans: Floats) -> Floats:
    """[m, levels]: quantiles of the equal mixture of k fans [m, k, levels]: where the mean of their distribution functions is the level."""
    m, k, levels = fans.shape
    mass = np.diff(np.concatenate([[0.0], (np.asarray(LEVELS)[1:] + np.asarray(LEVELS)[:-1]) / 2, [1.0]])) / k
    order = np.argsort(fans.reshape(m, -1), axis=1, kind="stable")
    values = np.take_along_axis(fans.reshape(m, -1), order, 1)
    return _at_levels(_places(values, np.tile(mass, k)[order]), values).reshape(m, levels)


def _places(values: Floats, weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """[m, points]: the level at which each value stands among its row's, in order: the middle of the weight of its equals."""
    upto = np.cumsum(weight, axis=1)
    new = np.diff(values, axis=1, prepend=-1.0) != 0
    last = np.roll(new, -1, axis=1)
    last[:, -1] = True
    below = np.maximum.accumulate(np.where(new, upto - weight, 0), axis=1)
    above = np.minimum.accumulate(np.where(last, upto, 2)[:, ::-1], axis=1)[:, ::-1]
    middle: npt.NDArray[np.float64] = (below + above) / 2
    return middle


def _at_levels(place: npt.NDArray[np.float64], values: Floats) -> Floats:
    """[m, levels]: each row's values at the levels, linear between their places (``np.interp`` of many rows at once)."""
    wanted = np.asarray(LEVELS)
    above = np.clip((place[:, :, None] < wanted).sum(axis=1), 1, place.shape[1] - 1)
    p0, p1 = np.take_along_axis(place, above - 1, 1), np.take_along_axis(place, above, 1)
    v0, v1 = np.take_along_axis(values, above - 1, 1), np.take_along_axis(values, above, 1)
    part = np.clip((wanted - p0) / np.maximum(p1 - p0, 1e-12), 0, 1)
    found: Floats = (v0 + (v1 - v0) * part).astype(np.float32)
    return found


def _peak(peak: Floats, parts: Floats, factor: Floats) -> Floats:
    """[n, levels]: P(q) × max over parts of (factor × level of the part); parts [n, k, levels], factor [n, k]."""
    top = parts.max(axis=1, keepdims=True)
    level = np.where(top > 0, parts / np.where(top > 0, top, 1), 1)
    found: Floats = peak * (factor[:, :, None] * level).max(axis=1)
    return found


def group_share(inside: npt.NDArray[np.bool_], usual: Floats, whole: float = 0.0) -> float:
    """How much of what a group usually wants its servers inside a scope want; known of none, they count alike.

    inside: [members] in the scope; usual: [members] each one's level; whole: the group's own, which may be more than its members'
    (what a host needs for itself). A host whose tenth is in an event moves by a tenth of it.
    """
    weight = np.where(np.isfinite(usual) & (usual > 0), usual, 0)
    if weight.sum() > 0:
        return float(weight[inside].sum() / max(weight.sum(), whole))
    return float(inside.mean()) if len(inside) else 0.0


# -- off a history ----------------------------------------------------------------------------------------------------


def neutral(history: History, effect: Effect) -> History:
    """The history as it would have been without events: each bin divided by the factor that it was under.

    So nothing counts twice: a forecast is made from the neutral history, and multiplied by what is to come. While an occurrence
    lasts, the last values divided and multiplied by the same factor are what was measured, however wrong the factor is.
    """
    rows = effect.rows
    if len(rows) == 0:
        return history
    known = effect.factor >= FAINT
    by = np.where(known, effect.factor, np.float32(np.nan))
    mean, peak, coverage = history.mean.copy(), history.max.copy(), history.coverage.copy()
    mean[rows] /= by
    peak[rows] /= by
    coverage[rows] *= known
    return replace(history, mean=mean, max=peak, coverage=coverage)


# -- learning ---------------------------------------------------------------------------------------------------------


def measure(observed: Floats, expected: Floats, coverage: Floats, share: Floats) -> tuple[float, float]:
    """Factor and weight of one occurrence: the weighted median over its bins of (sum of demand / sum of what was expected without it).

    observed, expected, coverage: [n, bins] of the series in its scope, expected being the neutral forecast's median; share: [bins]
    under the occurrence. A bin that is covered by a part s only counts as 1 + (ratio − 1) / s. Weight: the share of the
    occurrence that samples spoke for; 0 where nothing can be said.
    """
    told = np.where(np.isfinite(observed) & np.isfinite(expected) & (share >= WHOLE)[None, :], np.nan_to_num(coverage), 0)
    seen = np.where(told > 0, observed, 0) * told
    usual = np.where(told > 0, expected, 0) * told
    total, base = seen.sum(axis=0), usual.sum(axis=0)
    wanted = np.isfinite(expected).sum(axis=0) * (share >= WHOLE)
    weight = np.where(base > 0, told.sum(axis=0), 0)
    if wanted.sum() == 0 or weight.sum() <= 0:
        return 1.0, 0.0
    ratio = 1 + (total / np.where(base > 0, base, 1) - 1) / np.maximum(share, WHOLE)
    factor = _weighted_median(np.clip(ratio, 0, FACTOR_MOST), weight)
    return factor, float(min(1.0, weight.sum() / wanted.sum()))


def uncapped(observed: Floats, censored: Floats, least: Floats) -> Floats:
    """Demand that ran into its cap was at least what was to be expected: a cap must not teach that an event is small."""
    return np.where(np.nan_to_num(censored) >= WHOLE, np.fmax(observed, least), observed).astype(np.float32)


def _weighted_median(values: Floats, weight: Floats) -> float:
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(upto, upto[-1] / 2)])


def in_force(declared: float, measured: Sequence[tuple[float, float]]) -> float:
    """The factor that counts: geometric mean of the declared one (as ¼ occurrence) and of those measured, by weight.

        ln f = (k·ln declared + Σ wᵢ·ln factorᵢ) / (k + Σ wᵢ),  k = DECLARED

    Between the declared and the measured, whatever their order; with more occurrences it goes to what was measured.
    """
    told = sorted((f, w) for f, w in measured if w > 0)
    if not told:
        return declared
    logs = np.log(np.clip([declared, *(f for f, _ in told)], LEAST, FACTOR_MOST))
    return float(np.exp(np.average(logs, weights=[DECLARED, *(w for _, w in told)])))


def expected(declared: float | None, measured: Sequence[tuple[float, float]]) -> float:
    """``in_force``, where nothing declared counts as 1."""
    return known(declared, in_force(1.0 if declared is None else declared, measured))


def known(declared: float | None, factor: float) -> float:
    """The factor; a small one on what nobody spoke of is taken for chance."""
    return 1.0 if declared is None and abs(factor - 1) < NEGLIGIBLE else factor
