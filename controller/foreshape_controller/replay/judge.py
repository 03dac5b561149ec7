"""How good forecasts were, in the arithmetic that forecasts are judged by everywhere here.

wQL = mean over the levels .1 … .9, .95, .99 of 2·Σ pinball / Σ y, in cores, MiB or KiB/s, so that big series weigh more.
MASE = |y − q50| / the series' own mean difference to the same time a day earlier, before the first origin; mean over windows.
Coverage allows 0.0001 of the entitlement for rounding. A bin without data counts nowhere; the peak of a window counts where
more than 90 % of its bins are known. Sums are kept per series, so that figures of any group of them can be had afterwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.history import BINS_PER_DAY, Floats, History

HORIZONS = ("30min", "24h", "peak30m", "peak24h")
NEAR, DAY = 6, BINS_PER_DAY
IN_WQL = slice(2, 13)
WEIGHED = np.asarray(LEVELS[IN_WQL], np.float32)
MEDIAN = LEVELS.index(0.5)
BOUNDS = {"cov80": (2, 10), "cov90": (1, 11), "cov98": (0, 12)}
TOLERANCE = 1e-4
LEAST_KNOWN = 0.9
"""Share of a window's bins without which its peak is unknown."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """What came of some series at one horizon. Coverages are shares 0..1; mase is NaN for peaks and where no series has a scale."""

    n: int
    wql: float
    mase: float
    cov80: float
    cov90: float
    cov98: float
    below_q95: float
    below_q99: float


class Sums:
    """Running sums per series at one horizon."""

    FIELDS = ("n", "loss", "total", "cov80", "cov90", "cov98", "below_q95", "below_q99", "error", "windows")

    def __init__(self, series: int) -> None:
        self._sums: dict[str, Doubles] = {name: np.zeros(series) for name in self.FIELDS}

    def add(self, y: Floats, fan: Floats, slack: Floats, scale: Floats | None) -> None:
        """y: [n, m] truth; fan: [n, m, 13]; slack: [n] tolerance; scale: [n] of MASE, NaN where there is none."""
        known = np.isfinite(y)
        truth = np.where(known, y, 0).astype(np.float32)
        low, high = truth - slack[:, None], truth + slack[:, None]
        s = self._sums
        s["n"] += known.sum(axis=1)
        s["loss"] += _pinball(truth, fan[..., IN_WQL], known)
        s["total"] += np.sum(truth, axis=1, dtype=np.float64)
        for name, (a, b) in BOUNDS.items():
            s[name] += (known & (high >= fan[..., a]) & (low <= fan[..., b])).sum(axis=1)
        for name, level in (("below_q95", 11), ("below_q99", 12)):
            s[name] += (known & (low <= fan[..., level])).sum(axis=1)
        if scale is not None:
            self._add_error(np.where(known, np.abs(truth - fan[..., MEDIAN]), 0), known, scale)

    def _add_error(self, error: Floats, known: npt.NDArray[np.bool_], scale: Floats) -> None:
        count = known.sum(axis=1)
        counts = (count > 0) & np.isfinite(scale)
        each = error.sum(axis=1, dtype=np.float64) / np.maximum(count, 1) / np.where(np.isfinite(scale), scale, 1)
        self._sums["error"] += np.where(counts, each, 0)
        self._sums["windows"] += counts

    def figures(self, rows: npt.NDArray[np.bool_] | None = None) -> Figures | None:
        """Of all series or of those marked; None where nothing was judged."""
        total = {name: float(v.sum() if rows is None else v[rows].sum()) for name, v in self._sums.items()}
        if not total["n"]:
            return None
        share = {name: total[name] / total["n"] for name in (*BOUNDS, "below_q95", "below_q99")}
        return Figures(
            n=int(total["n"]),
            wql=total["loss"] / len(WEIGHED) / total["total"] if total["total"] else float("nan"),
            mase=total["error"] / total["windows"] if total["windows"] else float("nan"),
            **share,
        )

    def wql_of(self, rows: npt.NDArray[np.intp]) -> float:
        """Weighted quantile loss of some series, each as often as it is named."""
        total = float(self._sums["total"][rows].sum())
        return float(self._sums["loss"][rows].sum()) / len(WEIGHED) / total if total else float("nan")

    @property
    def series(self) -> int:
        return len(self._sums["n"])


def ratio_range(mine: Sums, rival: Sums, seed: int = 0, draws: int = 400) -> tuple[float, float]:
    """95 % interval of the ratio of two methods' wQL: series drawn again and again, since they differ more than moments do."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, mine.series, (draws, mine.series))
    ratios = [mine.wql_of(p) / rival.wql_of(p) for p in picks]
    low, high = np.nanquantile(ratios, (0.025, 0.975))
    return float(low), float(high)


def _pinball(y: Floats, fan: Floats, known: npt.NDArray[np.bool_]) -> Doubles:
    """[n]: 2·Σ pinball over bins and weighed levels."""
    gap = y[..., None] - fan
    loss = np.maximum(WEIGHED * gap, (WEIGHED - 1) * gap)
    each: Doubles = 2 * np.where(known[..., None], loss, 0).sum(axis=(1, 2), dtype=np.float64)
    return each


class Judge:
    """Compares the forecasts of one method and resource with what came, over any number of origins."""

    def __init__(self, truth: History, first_origin: int) -> None:
        self._truth = truth
        size = np.nan_to_num(truth.entitlement)
        self._slack = (TOLERANCE * size).astype(np.float32)
        self._scale = daily_change(truth, first_origin)
        self.sums: Mapping[str, Sums] = {h: Sums(len(truth.series)) for h in HORIZONS}

    def add(self, forecast: Forecast) -> None:
        y, top = self._window(self._truth.mean, forecast.origin), self._window(self._truth.max, forecast.origin)
        fan = by_bin(forecast)
        self.sums["30min"].add(y[:, :NEAR], fan[:, :NEAR], self._slack, self._scale)
        self.sums["24h"].add(y, fan, self._slack, self._scale)
        for name, width, peak in (("peak30m", NEAR, forecast.peak30m), ("peak24h", DAY, forecast.peak24h)):
            self.sums[name].add(_peak(top[:, :width]), tidy(peak)[:, None, :], self._slack, None)

    def _window(self, values: Floats, origin: int) -> Floats:
        """[n, 288] bins from the origin on; NaN beyond the trace."""
        start = (origin - self._truth.start) // self._truth.step_s
        window = values[:, start : start + DAY]
        return np.pad(window, ((0, 0), (0, DAY - window.shape[1])), constant_values=np.nan)


def _peak(window: Floats) -> Floats:
    """[n, 1]: the largest value where enough of the window is known."""
    enough = np.isfinite(window).mean(axis=1) > LEAST_KNOWN
    return np.where(enough, np.fmax.reduce(window, axis=1), np.float32(np.nan))[:, None]


def by_bin(forecast: Forecast) -> Floats:
    """[n, 288, 13]: the fan of each 5-minute bin of the next day: the first 30 minutes step by step, then each half-hour's."""
    later = np.repeat(forecast.half_hours[:, 1:], NEAR, axis=1)
    return tidy(np.concatenate([forecast.steps, later], axis=1))


def tidy(fan: Floats) -> Floats:
    """Not negative, not crossing."""
    return np.sort(np.clip(fan, 0, None), axis=-1).astype(np.float32)


def daily_change(truth: History, before: int) -> Floats:
    """[n]: mean difference to the same time a day earlier, before an instant; NaN where there is none, or next to none."""
    past = truth.mean[:, : max(0, (before - truth.start) // truth.step_s)]
    change = np.abs(past[:, DAY:] - past[:, :-DAY])
    known = np.isfinite(change)
    count = known.sum(axis=1)
    mean = np.where(known, change, 0).sum(axis=1, dtype=np.float64) / np.maximum(count, 1)
    usable = (count > 0) & (mean > TOLERANCE * np.nan_to_num(truth.entitlement))
    return np.where(usable, mean, np.nan).astype(np.float32)
