"""Anomaly detection: rate of false alarms, recall and delay per kind, beside 3-sigma and MAD detectors at the same rate.

python bench/anomaly.py [--trace T.parquet ...] [--nab NAB.parquet] [--windows 12]

Each window is a week that ends at some day's end; only what is noticed on its last day counts, as it would be in production.
"Clean" is the trace as it is: what is really odd in it counts as a false alarm, so the true rate is at most the one shown.
Then a fifth of the series that live get one anomaly on that day. Spikes and shifts are of the size of SIZES times the distance
between a series' median and 99 % quantile of the week before. The other detectors see the same weeks; their thresholds are
set so that they alarm as often as ours on the clean ones, all four kinds together, and they too keep quiet about what is too small
to matter.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foreshape_controller.forecast import anomaly, surprise
from foreshape_controller.model.anomaly import Kind
from foreshape_controller.model.history import BINS_PER_DAY, History
from foreshape_controller.replay.trace_file import load_trace
from foreshape_controller.sim.demand import BIN_TICKS, _State, draw_character, draw_day, strata

sys.path[:0] = [str(Path(__file__).parents[1] / "tests/support")]  # what NAB says of its series is there
warnings.simplefilter("ignore", RuntimeWarning)  # rows without any value

WEEK = 7 * BINS_PER_DAY
SIZES = (1.0, 2.0, 4.0)
HALF = 0.5
WITHIN = {Kind.SPIKE: 12, Kind.SHIFT: 36, Kind.FLAT: 36, Kind.DEAD: 36}
"""Bins within which an alarm counts as of the injected anomaly."""


@dataclass
class Window:
    history: History

    @property
    def today(self) -> int:
        return self.history.bins - BINS_PER_DAY


@dataclass
class Injected:
    window: Window
    rows: np.ndarray
    at: np.ndarray


def generated(series: int, days: int, seed: int = 1) -> History:
    """The simulator's servers: 69 % idle, 15 % mid, 16 % busy; 5 % of bins missing."""
    rng = np.random.default_rng(seed)
    rows = []
    for stratum in strata(series, rng):
        character, state, own = draw_character(stratum, 4.0, 8192.0, rng), _State(), []
        for day in range(days):
            cpu, _, state = draw_day(character, state, rng, weekend=day % 7 >= 5)
            own.append(cpu.reshape(-1, BIN_TICKS).mean(axis=1))
        rows.append(np.concatenate(own))
    mean = np.stack(rows).astype(np.float32)
    mean[rng.random(mean.shape) < 0.05] = np.nan
    return plain("cpu", mean, np.full(series, 4.0))


def plain(resource: str, mean: np.ndarray, entitlement: np.ndarray) -> History:
    names = tuple(f"s{i}" for i in range(len(mean)))
    ones = np.ones_like(mean)
    return History(resource, names, 0, mean, mean, ones, 0 * ones, entitlement.astype(np.float32), np.zeros(len(mean)))


def cut(h: History, end: int) -> Window:
    parts = {k: getattr(h, k)[:, end - WEEK : end] for k in ("mean", "max", "coverage", "censored")}
    return Window(replace(h, start=h.start + (end - WEEK) * h.step_s, doubtful=None, **parts))


def windows(h: History, count: int) -> list[Window]:
    ends = np.arange(WEEK + BINS_PER_DAY, h.bins + 1, BINS_PER_DAY)
    ends = ends[[np.isfinite(h.mean[:, e - BINS_PER_DAY : e]).mean() > HALF for e in ends]]  # whole-fleet outages are no days
    return [cut(h, int(e)) for e in ends[np.unique(np.linspace(0, len(ends) - 1, min(count, len(ends))).astype(int))]]


def days_seen(w: Window) -> float:
    return float(np.isfinite(w.history.mean[:, w.today :]).mean(axis=1).sum())


# --- the others --------------------------------------------------------------------------------------------------------


def sigma(y: np.ndarray, least: np.ndarray) -> np.ndarray:
    return np.abs(y - np.nanmean(y, axis=1, keepdims=True)) / np.maximum(np.nanstd(y, axis=1, keepdims=True), least)


def mad(y: np.ndarray, least: np.ndarray) -> np.ndarray:
    off = np.abs(y - np.nanmedian(y, axis=1, keepdims=True))
    return off / np.maximum(1.4826 * np.nanmedian(off, axis=1, keepdims=True), least)


def score(w: Window, of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """[n, T], in scales that are at least a quarter of what matters; 0 where the distance to the median is too small to matter."""
    y, matters = w.history.mean, np.maximum(anomaly._Past.of(w.history).matters[:, None], 1e-9)
    far = np.abs(y - np.nanmedian(y, axis=1, keepdims=True)) >= matters
    return np.where(far, np.nan_to_num(of(y, matters / 4)), 0)


def onsets(odd: np.ndarray) -> np.ndarray:
    """Bins that begin a group of alarms."""
    recent = np.nan_to_num(surprise.lag(surprise.trailing_max(odd.astype(np.float32), anomaly.APART), 1))
    return odd & (recent == 0)


def tuned(scores: Sequence[np.ndarray], alarms: int) -> float:
    """The threshold at which there are as many alarms on the last days."""
    low, high = 0.5, 1e6
    for _ in range(40):
        middle = float(np.sqrt(low * high))
        got = sum(int(onsets(s > middle)[:, -BINS_PER_DAY:].sum()) for s in scores)
        low, high = (middle, high) if got > alarms else (low, middle)
    return high


# --- injected ----------------------------------------------------------------------------------------------------------


def inject(w: Window, kind: Kind, size: float, rng: np.random.Generator) -> Injected:
    h, y = w.history, w.history.mean.copy()
    matters = anomaly._Past.of(h).matters
    q50, q99 = (np.nan_to_num(np.nanquantile(y[:, : w.today], q, axis=1)) for q in (0.5, 0.99))
    moves = (np.abs(np.diff(y[:, : w.today], axis=1)) > 1e-6 * np.maximum(q99, 1e-9)[:, None]).mean(axis=1) > 0.6
    lives = moves & (q99 - q50 > 2 * matters) & (q50 > matters) & np.isfinite(y[:, w.today :]).any(axis=1)
    able = np.flatnonzero(lives if kind in (Kind.FLAT, Kind.DEAD) else np.isfinite(y).mean(axis=1) > 0.5)
    rows = np.sort(rng.choice(able, max(1, len(able) // 5), replace=False))
    at = w.today + rng.integers(0, BINS_PER_DAY - 48, len(rows))
    step = size * np.maximum(q99 - q50, 2 * matters)
    for r, a in zip(rows, at, strict=True):
        if kind is Kind.SPIKE:
            y[r, a : a + 3] = np.where(np.isnan(y[r, a : a + 3]), q50[r], y[r, a : a + 3]) + step[r]
        elif kind is Kind.SHIFT:
            y[r, a:] += step[r]
        elif kind is Kind.FLAT:
            y[r, a:] = y[r, :a][np.isfinite(y[r, :a])][-1]
        else:
            y[r, a:] = np.nan if r % 2 else 0.0
    return Injected(Window(replace(h, mean=y, max=y)), rows, at)


def ours(i: Injected, kind: Kind) -> tuple[np.ndarray, float]:
    """Delay in bins of each injected anomaly (NaN: missed); share of those seen whose kind was named right."""
    h = i.window.history
    by_row: dict[str, list] = {}
    for f in anomaly.detect(h).found:
        by_row.setdefault(f.series, []).append(f)
    delay, right = np.full(len(i.rows), np.nan), []
    for k, (r, a) in enumerate(zip(i.rows, i.at, strict=True)):
        hits = [f for f in by_row.get(h.series[r], ()) if a < (f.noticed - h.start) / h.step_s <= a + WITHIN[kind]]
        if hits:
            delay[k] = (hits[0].noticed - h.start) / h.step_s - a
            right.append(any(f.kind is kind for f in hits))
    return delay, float(np.mean(right)) if right else float("nan")


def others(i: Injected, kind: Kind, of: Callable, limit: float) -> np.ndarray:
    odd = score(i.window, of) > limit
    delay = np.full(len(i.rows), np.nan)
    for k, (r, a) in enumerate(zip(i.rows, i.at, strict=True)):
        hit = np.flatnonzero(odd[r, a : a + WITHIN[kind]])
        if len(hit) and not odd[r, max(0, a - 1)]:
            delay[k] = hit[0] + 1
    return delay


# --- what is printed ---------------------------------------------------------------------------------------------------


def judge(name: str, h: History, count: int) -> None:
    ws = windows(h, count)
    began = time.process_time()
    found = [anomaly.detect(w.history) for w in ws]
    spent = (time.process_time() - began) / sum(len(w.history.series) for w in ws) * 1000
    fresh = [f for w, fs in zip(ws, found, strict=True) for f in fs.found if f.noticed > w.history.start + w.today * w.history.step_s]
    months = sum(days_seen(w) for w in ws) / 30
    kinds = {k.value: round(sum(f.kind is k for f in fresh) / months, 2) for k in Kind}
    print(f"\n{name}: {len(h.series)} series, {len(ws)} days; detection {spent:.2f} CPU-s for 1,000 series of {WEEK} bins")
    print(f"  alarms per series-month on it as it is: {len(fresh) / months:.2f} (stated: {anomaly.ALARMS_PER_MONTH:g}) {kinds}")
    limits = {of: tuned([score(w, of) for w in ws], len(fresh)) for of in (sigma, mad)}
    print("  thresholds for as many alarms:", ", ".join(f"{of.__name__} {limit:.1f}" for of, limit in limits.items()))
    print(f"  {'injected':<16}{'n':>5}{'recall':>8}{'delay':>7}{'kind':>6} | {'3-sigma':>8}{'ratio':>6} | {'MAD':>6}{'ratio':>6}")
    for kind, size in cases():
        row(kind, size, ws, limits)


def cases() -> Iterator[tuple[Kind, float]]:
    yield from ((k, s) for k in (Kind.SPIKE, Kind.SHIFT) for s in SIZES)
    yield from ((k, 1.0) for k in (Kind.FLAT, Kind.DEAD))


def row(kind: Kind, size: float, ws: Sequence[Window], limits: dict) -> None:
    rng = np.random.default_rng(7)
    done = [inject(w, kind, size, rng) for w in ws]
    mine = [ours(i, kind) for i in done]
    delay = np.concatenate([d for d, _ in mine])
    recall = np.isfinite(delay).mean()
    cells = []
    for of, limit in limits.items():
        theirs = np.isfinite(np.concatenate([others(i, kind, of, limit) for i in done])).mean()
        cells.append(f"{theirs:>7.0%}{recall / theirs if theirs else np.inf:>7.2f}")
    label = f"{kind.value} × {size:g}" if kind in (Kind.SPIKE, Kind.SHIFT) else kind.value
    late = f"{np.nanmedian(delay) * 5:.0f} min" if recall else "-"
    print(f"  {label:<16}{len(delay):>5}{recall:>8.0%}{late:>8}{np.nanmean([r for _, r in mine]):>6.0%} | {' | '.join(cells)}", flush=True)


def nab(file: Path) -> None:
    """NAB's AWS series, alone each (no fleet), judged with the windows NAB publishes for them."""
    from anomaly_support import nab as read  # noqa: PLC0415 - test support, by its own path
    from anomaly_support import windows as published  # noqa: PLC0415

    hit = total = outside = 0
    months = 0.0
    for name, h in read(file):
        spans, fresh = published()[name], anomaly.detect(h).found
        seen = [any(a <= f.noticed <= b for f in fresh) for a, b in spans]
        outside += sum(not any(a <= f.noticed <= b for a, b in spans) for f in fresh)
        hit, total, months = hit + sum(seen), total + len(spans), months + h.bins / BINS_PER_DAY / 30
        print(f"  {name:<40} windows hit {sum(seen)} of {len(spans)}: {[f'{f.kind.value} {f.strength:.1f}' for f in fresh]}")
    print(f"NAB AWS: {hit} of {total} published windows hit; {outside / months:.2f} alarms per series-month outside of them")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, action="append", default=[])
    parser.add_argument("--nab", type=Path)
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--series", type=int, default=120, help="generated ones")
    asked = parser.parse_args()
    judge("generated (the simulator's strata)", generated(asked.series, 21), asked.windows)
    for file in asked.trace:
        for resource, h in load_trace(file).items():
            judge(f"{file.stem} {resource}", h, asked.windows)
    if asked.nab:
        nab(asked.nab)


if __name__ == "__main__":
    main()
