"""Other people's methods, for comparison only, never in production: statsforecast's per-series models and LightGBM's quantiles.

Both come with the extra ``foreshape[compare]`` and are imported when used. The per-series models are slow (a few to some dozen
series per CPU-second), so they tell how far they are and belong on sampled origins.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from foreshape_controller.errors import TraceError
from foreshape_controller.forecast.fans import Fans, Past
from foreshape_controller.forecast.quantiles import quantiles, rolling_mean, variance, window_max
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS
from foreshape_controller.model.history import BINS_PER_DAY, Floats, History
from foreshape_controller.replay.backtest import before
from foreshape_controller.replay.methods import Simple, held

NEAR, DAY = 6, BINS_PER_DAY
BANDS = (20, 40, 60, 80, 90, 98)
"""Central intervals, in percent, whose ends are our quantile levels."""

Progress = Callable[[int, int], None]
"""Series done, series in all."""


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as e:
        raise TraceError(f"{name} is not installed: it is only for comparison; pip install 'foreshape[compare]'") from e


class PerSeries(Simple):
    """One model fitted to each series at each origin. Its window peaks are the largest of its steps' quantiles: it has no better."""

    def __init__(self, name: str, context: int, make: Callable[[Any], Any], progress: Progress) -> None:
        super().__init__(name)
        self._context, self._progress = context, progress
        self._model = make(_library("statsforecast.models"))

    def fans(self, past: Past) -> Fans:
        x = held(past.mean[:, -self._context :])
        days = []
        for i, row in enumerate(x):
            days.append(self._day(row[np.isfinite(row)]))
            self._progress(i + 1, len(x))
        fan = np.clip(np.stack(days), 0, past.bound[:, None, None])  # some models of ETS explode: 10^6 times what was ever seen
        return Fans(fan[:, :NEAR], fan[:, 3::NEAR], fan[:, :NEAR].max(axis=1), fan.max(axis=1))

    def _day(self, row: Floats) -> Floats:
        """[288, levels] of one series; NaN where the library finds no model."""
        if len(row) < DAY // 2 or row.min() == row.max():
            return np.full((DAY, len(LEVELS)), row[-1] if len(row) else np.nan, np.float32)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                said = self._model.forecast(y=row.astype(np.float64), h=DAY, level=list(BANDS))
        except Exception:  # noqa: BLE001 - a library that fails on one series must not end the comparison
            return np.full((DAY, len(LEVELS)), np.nan, np.float32)
        low = [said[f"lo-{b}"] for b in reversed(BANDS)]
        high = [said[f"hi-{b}"] for b in BANDS]
        top = np.finfo(np.float32).max
        day: Floats = np.clip(np.stack([*low, said["mean"], *high], axis=1), -top, top).astype(np.float32)
        return day


def classical(name: str, progress: Progress) -> PerSeries:
    """``arima``, ``ets`` (both on two days, not seasonal: a season of 288 bins takes minutes a series) or ``theta`` (a week, daily)."""
    makers: Mapping[str, tuple[int, Callable[[Any], Any]]] = {
        "arima": (2 * DAY, lambda m: m.AutoARIMA(season_length=1)),
        "ets": (2 * DAY, lambda m: m.AutoETS(season_length=1)),
        "theta": (7 * DAY, lambda m: m.AutoTheta(season_length=DAY)),
    }
    context, make = makers[name]
    return PerSeries(name, context, make, progress)


# -- LightGBM -----------------------------------------------------------------------------------------------------------

BOOSTED = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99)
"""Levels with a booster of their own; the others lie between."""

ROUNDS = 80
ORIGINS = 32
"""Training origins, spread over the last five weeks before the end of training."""

SETTINGS: dict[str, Any] = {
    "objective": "quantile",
    "learning_rate": 0.08,
    "num_leaves": 31,
    "min_data_in_leaf": 60,
    "feature_fraction": 0.7,
    "num_threads": 1,
    "verbosity": -1,
    "deterministic": True,
}


class Boosted(Simple):
    """Quantile boosters on window statistics, one set for all series and resources (as the net is)."""

    def __init__(self, boosters: Mapping[str, Sequence[Any]]) -> None:
        super().__init__("lightgbm")
        self._boosters = boosters

    def fans(self, past: Past) -> Fans:
        features, level, scale = _features(past.mean, past.peak, past.entitlement)

        def said(head: str, leads: Sequence[float]) -> Floats:
            rows = np.concatenate([np.insert(features, 0, lead, axis=1) for lead in leads])
            fan = np.stack([b.predict(rows) for b in self._boosters[head]], axis=1).reshape(len(leads), len(level), len(BOOSTED))
            out: Floats = (level[:, None, None] + scale[:, None, None] * _between(np.moveaxis(fan, 0, 1))).astype(np.float32)
            return out

        near, far = said("near", range(NEAR)), said("far", range(HALF_HOURS))
        return Fans(near, far, said("peak30m", [0])[:, 0], said("peak24h", [0])[:, 0])


def _between(fan: Any) -> Any:
    """[…, boosted levels] to [… , LEVELS], linear between neighbours."""
    place = np.interp(LEVELS, BOOSTED, np.arange(len(BOOSTED)))
    below = np.minimum(place.astype(int), len(BOOSTED) - 2)
    ordered = np.sort(fan, axis=-1)
    return ordered[..., below] + (ordered[..., below + 1] - ordered[..., below]) * (place - below)


def boosted(histories: Mapping[str, History], until: int, seed: int = 0) -> Boosted:
    """Train on data before ``until`` of all series and resources given."""
    lightgbm = _library("lightgbm")
    rng = np.random.default_rng(seed)
    lessons = _lessons(histories, until, rng)
    boosters = {}
    for head, (rows, targets, weights) in lessons.items():
        data = lightgbm.Dataset(rows, targets, weight=weights, free_raw_data=False)
        settings = SETTINGS | {"seed": seed}
        boosters[head] = [lightgbm.train(settings | {"alpha": level}, data, num_boost_round=ROUNDS) for level in BOOSTED]
    return Boosted(boosters)


Lesson = tuple[Floats, Floats, Floats]


def _lessons(histories: Mapping[str, History], until: int, rng: np.random.Generator) -> Mapping[str, Lesson]:
    parts: dict[str, list[Lesson]] = {head: [] for head in ("near", "far", "peak30m", "peak24h")}
    for history in histories.values():
        last = min(until, history.until) - DAY * history.step_s
        first = max(history.start + 2 * DAY * history.step_s, last - 35 * DAY * history.step_s)
        if last <= first:
            raise TraceError("LightGBM needs at least four days of history before the first origin to learn from")
        for origin in np.sort(rng.integers(first, last, ORIGINS)) // history.step_s * history.step_s:
            for head, lesson in _lesson(history, int(origin), rng).items():
                parts[head].append(lesson)
    return {head: _joined(lessons) for head, lessons in parts.items()}


def _joined(lessons: Sequence[Lesson]) -> Lesson:
    rows, targets, weights = (np.concatenate(part) for part in zip(*lessons, strict=True))
    known = np.isfinite(targets)
    return rows[known], targets[known], weights[known]


def _lesson(history: History, origin: int, rng: np.random.Generator) -> Mapping[str, Lesson]:
    """What could be known at an origin, and what came, by head."""
    past = Past.before(before(history, origin), origin)
    features, level, scale = _features(past.mean, past.peak, past.entitlement)
    at = (origin - history.start) // history.step_s
    mean, top = history.mean[:, at : at + DAY], history.max[:, at : at + DAY]
    n = len(level)
    weight = np.sqrt(scale / np.median(scale)).astype(np.float32)

    def lesson(leads: Any, y: Floats) -> Lesson:
        return np.insert(features, 0, leads, axis=1), ((y - level) / scale).astype(np.float32), weight

    def joined(count: int, draw: Callable[[], Any], bin_of: Callable[[Any], Any]) -> Lesson:
        drawn = [draw() for _ in range(count)]
        several = [lesson(d, mean[np.arange(n), bin_of(d)]) for d in drawn]
        rows, targets, weights = (np.concatenate(p) for p in zip(*several, strict=True))
        return rows, targets, weights

    return {
        "near": joined(2, lambda: rng.integers(0, NEAR, n), lambda d: d),
        "far": joined(3, lambda: rng.integers(0, HALF_HOURS, n), lambda d: NEAR * d + rng.integers(0, NEAR, n)),
        "peak30m": lesson(0, np.fmax.reduce(top[:, :NEAR], axis=1)),
        "peak24h": lesson(0, np.where(np.isfinite(top).mean(axis=1) > 0.9, np.fmax.reduce(top, axis=1), np.float32(np.nan))),
    }


def _features(mean: Floats, peak: Floats, entitlement: Floats) -> tuple[Floats, Floats, Floats]:
    """[n, f] statistics of each series' past less its level, in units of its scale; level [n]; scale [n]."""
    short = max(0, 8 * DAY - mean.shape[1])
    mean = np.pad(mean, ((0, 0), (short, 0)), constant_values=np.nan)[:, -8 * DAY :]
    peak = np.pad(peak, ((0, 0), (short, 0)), constant_values=np.nan)[:, -8 * DAY :]
    lately = mean[:, -2 * DAY :]
    quartiles = quantiles(lately, (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99))
    level = np.nan_to_num(held(mean)[:, -1])
    spread = np.sqrt(np.nan_to_num(variance(lately)))
    top = np.nan_to_num(np.fmax.reduce(peak, axis=1))
    scale = np.maximum(spread, np.maximum(0.001 * np.nan_to_num(entitlement), 0.01 * top) + np.float32(1e-6)).astype(np.float32)
    columns = [
        *(mean[:, -1 - i] for i in range(12)),
        *(rolling_mean(mean, w)[:, -1] for w in (12, 36, 72, DAY, 2 * DAY, 7 * DAY)),
        *(window_max(peak, w)[:, -1] for w in (NEAR, 12, 72, DAY, 2 * DAY, 7 * DAY)),
        *quartiles.T,
        *(rolling_mean(mean, NEAR)[:, -back] for back in (DAY - NEAR + 1, DAY - 12, DAY + NEAR, 7 * DAY - NEAR + 1)),
        *(window_max(peak, NEAR)[:, -back] for back in (DAY - NEAR + 1, 7 * DAY - NEAR + 1)),
    ]
    features = (np.stack(columns, axis=1) - level[:, None]) / scale[:, None]
    share = np.stack([level / np.maximum(entitlement, 1e-6), scale / np.maximum(entitlement, 1e-6)], axis=1)
    return np.concatenate([features, share], axis=1).astype(np.float32), level.astype(np.float32), scale
