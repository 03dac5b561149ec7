"""Quantiles, windows and last values of many series at once. A gap is NaN; nothing here loops over series."""

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.history import Floats


def quantiles(values: Floats, levels: npt.ArrayLike) -> Floats:
    """Empirical quantiles of each row [n, m], NaN left out: [n, levels]. A row without a value gives NaN.

    Linear between order statistics, as numpy's default; ``nanquantile`` loops over rows, this sorts once.
    """
    wanted = np.asarray(levels, np.float32)
    if values.shape[1] == 0:
        return np.full((len(values), len(wanted)), np.nan, np.float32)
    ordered = np.sort(values, axis=1)  # NaN last
    count = np.isfinite(ordered).sum(axis=1)
    place = np.maximum(count - 1, 0)[:, None] * wanted[None, :]
    below = np.floor(place).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(count - 1, 0)[:, None])
    low, high = np.take_along_axis(ordered, below, 1), np.take_along_axis(ordered, above, 1)
    found: Floats = (low + (high - low) * (place - below)).astype(np.float32)
    return found


def window_max(values: Floats, width: int) -> Floats:
    """Largest value of each window that starts at a bin: [n, T − width + 1]; an empty window is NaN.

    Doubling: a window of 2k is the larger of two windows of k, so a day takes nine passes, not 288.
    """
    bins = values.shape[1]
    if bins < width:
        return np.empty((len(values), 0), np.float32)
    top = np.where(np.isnan(values), np.float32(-np.inf), values)
    size = 1
    while size * 2 <= width:
        top = np.maximum(top[:, :-size], top[:, size:])
        size *= 2
    if size < width:
        top = np.maximum(top[:, : bins - width + 1], top[:, width - size :])
    return np.where(np.isinf(top), np.float32(np.nan), top)


def last_value(values: Floats, within: int) -> Floats:
    """The newest value of each row that is at most ``within`` bins old, else NaN: [n]."""
    recent = values[:, -within:]
    if recent.shape[1] == 0:
        return np.full(len(values), np.nan, np.float32)
    newest_first = np.isfinite(recent)[:, ::-1]
    column = recent.shape[1] - 1 - newest_first.argmax(axis=1)
    found = np.take_along_axis(recent, column[:, None], 1)[:, 0]
    return np.where(newest_first.any(axis=1), found, np.float32(np.nan))


def rolling_mean(values: Floats, width: int) -> Floats:
    """Mean of the last ``width`` bins at each bin: [n, T − width + 1]; NaN left out, NaN where a window is empty."""
    if values.shape[1] < width:
        return np.empty((len(values), 0), np.float32)
    known = np.isfinite(values)
    total = _sums(np.where(known, values, 0).astype(np.float64), width)
    count = _sums(known.astype(np.float64), width)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _sums(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    upto = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    return upto[:, width:] - upto[:, :-width]


def ordered(fan: Floats) -> Floats:
    """The fan with levels that do not cross (last axis ascending): the nearest honest reading of a crossed one."""
    return np.sort(fan, axis=-1)


def sane(values: Floats) -> Floats:
    """Negative and infinite values are gaps: nothing that was measured looks like that."""
    return np.where(np.isfinite(values) & (values >= 0), values, np.float32(np.nan)).astype(np.float32, copy=False)


def variance(values: Floats) -> Floats:
    """Of each row, NaN left out: [n]; 0 without a value."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=1), 1)
    mean = np.where(known, values, 0).sum(axis=1) / count
    spread: Floats = (np.where(known, values - mean[:, None], 0) ** 2).sum(axis=1) / count
    return spread
