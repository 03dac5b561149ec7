"""What methods would have forecast over past demand, origin by origin, from data before each origin only.

Judged as it goes (``judge.py``), written as it goes: one Parquet file a method, one row group an origin and resource, so that
neither needs memory for more than one origin.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foreshape_controller.errors import TraceError
from foreshape_controller.forecast.quantiles import quantiles
from foreshape_controller.model.forecast import LEVELS, Forecast, Predictor
from foreshape_controller.model.history import BINS_PER_DAY, History
from foreshape_controller.replay.judge import HORIZONS, Figures, Judge, by_bin, tidy
from foreshape_controller.replay.measure import Flags

LOOK_BACK = 15 * BINS_PER_DAY
"""Bins that a method gets: two weeks and a day, so that last week's same day is whole."""

IN_FILE = {"cpu": "cpu", "memory": "mem"}
"""Resources of the forecast file, by its names; disk and network are judged, but not written."""

QUANTILES = tuple(f"q{round(level * 100):02d}" for level in LEVELS)

STRATA = ("idle", "mid", "busy")
IDLE, BUSY = 0.05, 0.30
"""Shares of the entitlement: a series whose 95 % quantile is below the first is idle, above the second busy."""

Progress = Callable[[str, int, int], None]
"""Name of the method, origins done, origins in all."""


def _silent(_name: str, _done: int, _all: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Result:
    """One method on one resource."""

    method: str
    resource: str
    judge: Judge
    cpu_s: float
    """Spent in predict."""
    windows: int
    """Series times origins."""

    @property
    def speed(self) -> float:
        """Windows per CPU-second."""
        return self.windows / max(self.cpu_s, 1e-9)

    def figures(self, horizon: str, rows: Flags | None = None) -> Figures | None:
        return self.judge.sums[horizon].figures(rows)


def origins(start: int, end: int, every_s: int, phase_s: int = 0, *, step_s: int = 300) -> list[int]:
    """Instants from ``start`` on, before ``end``, on the grid: the multiples of ``every_s`` plus the phase. TraceError for none."""
    if every_s < step_s or every_s % step_s or phase_s % step_s:
        raise TraceError(f"--every and --phase are multiples of {step_s} s, --every at least that; not {every_s} and {phase_s} s")
    first = start + (phase_s - start) % every_s
    found = list(range(first, end, every_s))
    if not found:
        raise TraceError(f"no origin lies between {start} and {end} every {every_s} s: move --from or --to, or lower --every")
    return found


def thinned(found: Sequence[int], most: int) -> list[int]:
    """At most so many, spread evenly."""
    if len(found) <= most:
        return list(found)
    return [found[i * len(found) // most] for i in range(most)]


def before(history: History, origin: int, bins: int = LOOK_BACK) -> History:
    """The last bins before an origin, and nothing after it: views, no copies."""
    end = min(history.bins, max(0, (origin - history.start) // history.step_s))
    start = max(0, end - bins)
    cut = {name: getattr(history, name)[:, start:end] for name in ("mean", "max", "coverage", "censored")}
    born = np.where(history.first_seen < origin, history.first_seen, np.nan)
    return replace(history, start=history.start + start * history.step_s, first_seen=born, doubtful=None, **cut)


def some(history: History, series: Sequence[str]) -> History:
    """These series only."""
    rows = [history.series.index(s) for s in series]
    cut = {n: getattr(history, n)[rows] for n in ("mean", "max", "coverage", "censored", "entitlement", "first_seen")}
    return replace(history, series=tuple(series), doubtful=None, **cut)


def strata(history: History, origin: int) -> Mapping[str, Flags]:
    """Which series are idle, mid and busy, by their demand before an instant."""
    past = before(history, origin, history.bins)
    high = quantiles(past.mean, [0.95])[:, 0] / np.maximum(history.entitlement, np.float32(1e-9))
    return {"idle": high < IDLE, "mid": (high >= IDLE) & (high < BUSY), "busy": high >= BUSY}


def evaluate(
    histories: Mapping[str, History],
    predictor: Predictor,
    when: Sequence[int],
    *,
    out: "ForecastFile | None" = None,
    progress: Progress = _silent,
) -> list[Result]:
    """Judge one method at each origin on each resource; the file gets what it said."""
    judges = {r: Judge(h, when[0]) for r, h in histories.items()}
    spent = dict.fromkeys(histories, 0.0)
    for done, origin in enumerate(when):
        for resource, history in histories.items():
            past = before(history, origin)
            started = time.process_time()
            forecast = predictor.predict(past, origin)
            spent[resource] += time.process_time() - started
            judges[resource].add(forecast)
            if out is not None and resource in IN_FILE:
                out.add(forecast)
        progress(predictor.name, done + 1, len(when))
    return [Result(predictor.name, r, judges[r], spent[r], len(histories[r].series) * len(when)) for r in histories]


class ForecastFile:
    """Forecasts as a Parquet file: vm, resource, kind, origin, t, q01 … q99. A context manager; nothing is left of a failed one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._writer: Any = None

    def __enter__(self) -> "ForecastFile":
        import pyarrow.parquet as pq  # noqa: PLC0415 - start-up time

        try:
            self._writer = pq.ParquetWriter(self._part, _schema(), compression="zstd")
        except OSError as e:
            raise TraceError(f"cannot write {self._path}: {e.strerror or e}") from e
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self._writer.close()
            if kind is None:
                self._part.replace(self._path)
        except OSError as e:
            raise TraceError(f"cannot write {self._path}: {e.strerror or e}") from e
        finally:
            self._part.unlink(missing_ok=True)

    def add(self, forecast: Forecast) -> None:
        try:
            self._writer.write_table(_table(forecast), row_group_size=1 << 20)
        except OSError as e:
            raise TraceError(f"cannot write {self._path}: {e.strerror or e}") from e


def _schema() -> Any:
    import pyarrow as pa  # noqa: PLC0415 - start-up time

    word = pa.dictionary(pa.int32(), pa.string())
    fields = [("vm", word), ("resource", word), ("kind", word), ("origin", pa.int64()), ("t", pa.int64())]
    return pa.schema([*fields, *((q, pa.float32()) for q in QUANTILES)])


def _table(forecast: Forecast) -> Any:
    """All rows of one forecast: for each series 288 steps and two peaks."""
    import pyarrow as pa  # noqa: PLC0415 - start-up time

    n, step = len(forecast.series), forecast.step_s
    fan = np.concatenate([by_bin(forecast), tidy(forecast.peak30m)[:, None], tidy(forecast.peak24h)[:, None]], axis=1)
    lead = np.append(np.arange(BINS_PER_DAY), [0, 0]) * step
    kind = np.repeat(np.arange(3, dtype=np.int32), [BINS_PER_DAY, 1, 1])
    rows = n * len(lead)
    flat = fan.reshape(rows, len(QUANTILES))
    return pa.table(
        [
            _words(np.repeat(np.arange(n, dtype=np.int32), len(lead)), forecast.series),
            _words(np.zeros(rows, np.int32), [IN_FILE[forecast.resource]]),
            _words(np.tile(kind, n), ["step", "peak30m", "peak24h"]),
            pa.array(np.full(rows, forecast.origin, np.int64)),
            pa.array(np.tile(forecast.origin + lead, n).astype(np.int64)),
            *(pa.array(np.ascontiguousarray(flat[:, i])) for i in range(len(QUANTILES))),
        ],
        schema=_schema(),
    )


def _words(codes: Any, words: Iterable[str]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - start-up time

    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(words), pa.string()))


# -- the table ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One line of the summary. ratio: wQL over the best simple method's in the same run, NaN when there is none."""

    resource: str
    horizon: str
    method: str
    figures: Figures
    speed: float
    ratio: float
    rival: str


def summary(results: Sequence[Result], simple: Sequence[str]) -> list[Line]:
    """Every method at every horizon, beside the best of the simple ones."""
    lines = []
    for resource in dict.fromkeys(r.resource for r in results):
        for horizon in HORIZONS:
            here = [(r, f) for r in results if r.resource == resource and (f := r.figures(horizon))]
            rivals = [(f.wql, r.method) for r, f in here if r.method in simple]
            best, rival = min(rivals, default=(float("nan"), ""))
            lines += [Line(resource, horizon, r.method, f, r.speed, f.wql / best if best else float("nan"), rival) for r, f in here]
    return lines
