"""The peaks that servers are sized by, out of a forecast: of the next half-hour, and of as many after it as a change takes."""

from collections.abc import Sequence
from math import ceil

import numpy as np

from foreshape_controller.decide.facts import Peaks
from foreshape_controller.model.columns import Codes, Column, Rows
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, Forecast
from foreshape_controller.model.history import Floats

WINDOW = 6
"""Bins of half an hour."""

_LEVELS = np.asarray(LEVELS, np.float64)


def no_peaks(n: int) -> Peaks:
    """Where nothing was forecast."""
    unknown, none = np.full(n, np.nan), np.zeros(n, np.int32)
    words = {"peak_source": ("",), "peak_reason": ("",)}
    return Peaks(unknown, unknown, unknown, np.ones(n), unknown, np.zeros(n, bool), unknown, np.zeros(n), none, none, words)


def peaks(forecast: Forecast, rows: Rows, quantile: Column, headroom: Column, until: Column, now: float) -> Peaks:
    """[n] q50 + s·(q_tier − q50) of each server's window; ``headroom`` is s, ``rows`` the forecast's rows, -1: none.

    until: [n], epoch seconds; the window reaches so far at least. Its first half-hour is forecast as a peak; each further one
    that begins before ``until`` is taken in with its own quantile, and the largest counts.
    """
    there = rows >= 0
    if not len(forecast.series):
        return no_peaks(len(rows))
    at = np.where(there, rows, 0)
    fan = forecast.peak30m[at].astype(np.float64)
    half_hour = WINDOW * forecast.step_s
    more = np.clip(np.ceil((until - forecast.origin) / half_hour) - 1, 0, HALF_HOURS - 1)
    more = np.where(there & np.isfinite(more), more, 0.0)
    median, high = at_quantile(fan, np.full(len(rows), 0.5)), at_quantile(fan, quantile)
    wanted = median + headroom * (high - median)
    for k in range(1, ceil(more.max(initial=0.0)) + 1):
        fan = forecast.half_hours[at, k].astype(np.float64)
        middle, high = at_quantile(fan, np.full(len(rows), 0.5)), at_quantile(fan, quantile)
        later = middle + headroom * (high - middle)
        larger = (k <= more) & (later > wanted)
        median, wanted = np.where(larger, middle, median), np.where(larger, later, wanted)
    source, sources = _coded(forecast.source, at)
    reason, reasons = _coded(forecast.reason, at)
    return Peaks(
        median=np.where(there, median, np.nan),
        wanted=np.where(there, wanted, np.nan),
        quantile=quantile,
        headroom=headroom,
        age_s=np.where(there, forecast.age_s[at], np.nan),
        there=there,
        made_s=np.full(len(rows), now - forecast.origin),
        half_hours=more,
        source=source,
        reason=reason,
        words={"peak_source": sources, "peak_reason": reasons},
    )


def at_quantile(fan: Column | Floats, quantile: Column | Floats) -> Column:
    """[n]: each row's own quantile out of ``fan`` [n, 13], linear between the levels."""
    q = np.clip(np.asarray(quantile, np.float64), _LEVELS[0], _LEVELS[-1])
    above = np.clip(np.searchsorted(_LEVELS, q), 1, len(_LEVELS) - 1)
    share = (q - _LEVELS[above - 1]) / (_LEVELS[above] - _LEVELS[above - 1])
    rows = np.arange(len(fan))
    low, high = fan[rows, above - 1], fan[rows, above]
    found: Column = low + share * (high - low)
    return found


def _coded(texts: Sequence[str], rows: Rows) -> tuple[Codes, tuple[str, ...]]:
    """Each row's text as an index, and the texts."""
    known = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return np.asarray([known[t] for t in texts], np.int32)[rows], tuple(known)
