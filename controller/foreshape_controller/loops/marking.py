"""Forecasts kept until their future is over, then held against it: what the model in office is worth, live.

``Marking`` is hung into Foresight as an observer. At each half-hour it archives the peak of the next half-hour, four times a day
the whole forecast, of a sample of servers; the baseline's fan for the same servers stands beside the champion's, so that the two
are compared on the same windows. What the size rule wanted of *every* server is archived too, for its headroom. ``mark_due``
reads what came and adds it up; a controller that was down marks what fell due meanwhile, each forecast once.

Space, at 30,000 servers with four resources and a sample of 2000 (random demand, deflated): see docs/operating.md, "Learning".
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec
import numpy as np

from foreshape_controller.decide.headroom import Flags, HeadroomRule, Window, adapt, wanted
from foreshape_controller.forecast.calibrate import Misses, misses
from foreshape_controller.forecast.scores import marks, stratum, tally, truth_of
from foreshape_controller.log import get_logger
from foreshape_controller.loops.scene import Scene
from foreshape_controller.model.forecast import HALF_HOURS, HEADS, LEVELS, Forecast, Predictor
from foreshape_controller.model.history import BINS_PER_DAY, RESOURCES, Floats, History
from foreshape_controller.model.kinds import kind_of
from foreshape_controller.model.learned import SUMMED, Score
from foreshape_controller.model.server import Server
from foreshape_controller.model.tier import Tier
from foreshape_controller.store.archive import Archive, Key, Sums, Waiting, added
from foreshape_controller.store.engine import Database
from foreshape_controller.store.headroom import Headroom
from foreshape_controller.store.models import BASELINE
from foreshape_wire.ids import ServerId

_log = get_logger("learn")

HALF_HOUR = 6
"""Bins."""

LATE = 2
"""Bins after a window's end until its samples are surely there."""

SIZING = "sizing"
"""Predictor of rows that hold what the size rule wanted."""

HEADROOM_ROW, WHOLE_ROW = 5000, 250
"""Series in one row of the archive."""

RUNS_AT_ONCE = 50
"""Batches of rows that one run marks at most: after a long pause the rest comes with the next runs."""

SHAPES: Mapping[str, tuple[int, ...]] = {"steps": (6,), "half_hours": (HALF_HOURS,), "peak30m": (), "peak24h": ()}

OddBins = Callable[[str, tuple[str, ...], int, int], Flags]
"""Resource, servers, begin and end of a window → [n] whether an anomaly or an event lay in it."""


def nothing_odd(resource: str, servers: tuple[str, ...], begin: int, end: int) -> Flags:  # noqa: ARG001 - stands in for those who know
    return np.zeros(len(servers), np.bool_)


class MarkStore(Protocol):
    """The part of the store that marking needs."""

    @property
    def db(self) -> Database: ...

    @property
    def archive(self) -> Archive: ...

    @property
    def headroom(self) -> Headroom: ...

    @property
    def history(self) -> "_Histories": ...


class Assigns(Protocol):
    """Whoever knows the tier of a server (``decide.tiers.Tiers``, ``loops.policy.Policy``)."""

    def of(self, server: Server) -> Tier: ...


class _Histories(Protocol):
    def read(self, resource: str, names: Sequence[str], until: float, count: int) -> History: ...


@dataclass(frozen=True)
class MarkSettings:
    """What marking can be told; names as in the configuration."""

    archive_series: int = 2000
    archive_whole_bins: int = 72
    headroom: HeadroomRule | None = None


class Marking:
    """Observer of forecasts, and marker of those whose future is over."""

    def __init__(
        self, store: MarkStore, baseline: Predictor, champion: Callable[[], str], tiers: Assigns, settings: MarkSettings | None = None
    ) -> None:
        self._store = store
        self._baseline = baseline
        self._champion = champion
        self._tiers = tiers
        self._settings = settings or MarkSettings()
        self._taken: dict[str, int] = {}
        """By resource: origin of the newest forecast that was archived."""
        self.odd: OddBins = nothing_odd
        self.listener: Callable[[Misses], None] | None = None
        """Is told how whole forecasts of the champion missed."""

    # --- when a forecast is made ---

    def __call__(self, forecast: Forecast, scene: Scene) -> None:
        """Archive what is due to be archived at this origin; otherwise nothing."""
        if not forecast.series or kind_of(forecast.series[0]) is not None or not self._wanted(forecast):
            return
        rows = self._sample(forecast, len(scene.view.servers))
        found = [*self._pair(forecast, scene, rows), *self._sizing(forecast, scene)]
        self._store.archive.put(*found)
        self._taken[forecast.resource] = forecast.origin

    def _wanted(self, forecast: Forecast) -> bool:
        """The first forecast of each half-hour; its other batches have the same origin."""
        last = self._taken.get(forecast.resource)
        if last is None:
            last = self._store.archive.newest(forecast.resource)
        if last is None or last == forecast.origin:
            return True
        return _slot(forecast.origin, forecast.step_s) > _slot(last, forecast.step_s)

    def _sample(self, forecast: Forecast, servers: int) -> list[int]:
        """Rows of the sample: all servers, or as many as are asked for, others each day."""
        share = self._settings.archive_series / max(servers, 1)
        day = b"" if share >= 1 else str(forecast.origin // (BINS_PER_DAY * forecast.step_s)).encode()
        return [i for i, name in enumerate(forecast.series) if zlib.crc32(name.encode(), zlib.crc32(day)) < share * 2**32]

    def _pair(self, forecast: Forecast, scene: Scene, rows: Sequence[int]) -> list[Waiting]:
        """The champion's fans of the sample, and the baseline's beside them."""
        if not rows:
            return []
        history = scene.history.pick(rows)
        whole = (_slot(forecast.origin, forecast.step_s) * HALF_HOUR) % self._settings.archive_whole_bins == 0
        heads = HEADS if whole else ("peak30m",)
        strata = tuple(str(s) for s in stratum(history, forecast.origin))
        champion = self._champion()
        fans = {champion: forecast.pick(rows)}
        if champion != BASELINE:
            fans[BASELINE] = self._baseline.predict(history, forecast.origin)
        return [w for name, f in fans.items() for w in _rows(f, name, strata, heads)]

    def _sizing(self, forecast: Forecast, scene: Scene) -> list[Waiting]:
        """What the size rule wants of every server now."""
        if self._settings.headroom is None or forecast.resource not in RESOURCES:
            return []
        quantiles = self._quantiles(forecast, scene)
        known = self._store.headroom.all(forecast.resource)
        factors = np.array([known.get(s, 1.0) for s in forecast.series], np.float32)
        parts = {"wanted": wanted(forecast.peak30m, quantiles, factors), "quantile": quantiles}
        due = _end(forecast.origin, HALF_HOUR, forecast.step_s)
        blank = ("",) * len(forecast.series)
        whole = Waiting(forecast.resource, forecast.origin, due, forecast.step_s, SIZING, forecast.series, blank, parts)
        return _cut(whole, HEADROOM_ROW)

    def _quantiles(self, forecast: Forecast, scene: Scene) -> Floats:
        servers = {s.id: s for s in scene.view.servers}
        return np.array([self._quantile(forecast.resource, servers.get(ServerId(s))) for s in forecast.series], np.float32)

    def _quantile(self, resource: str, server: Server | None) -> float:
        if server is None:
            return float("nan")
        tier = self._tiers.of(server)
        return (tier.cpu if resource == "cpu" else tier.memory).quantile

    # --- when its future is over ---

    def mark_due(self, now: float) -> int:
        """Score what is due; returns how many rows were settled. Bounded: what is left comes with the next run."""
        settled = 0
        for _ in range(RUNS_AT_ONCE):
            due = self._store.archive.due(now)
            if not due:
                break
            for alike in _alike(due):
                settled += self._settle(alike)
        return settled

    def _settle(self, alike: Sequence[Waiting]) -> int:
        """Rows of one resource, origin and horizon: read what came once, score each, settle all together."""
        first = alike[0]
        names = tuple(dict.fromkeys(s for w in alike for s in w.series))
        horizon = max(1, (first.due - first.origin) // first.step_s)
        truth = self._store.history.read(first.resource, names, first.due, horizon + HALF_HOUR)
        sums: dict[Key, Sums] = {}
        factors: dict[str, float] = {}
        place = {name: i for i, name in enumerate(names)}
        for w in alike:
            theirs = truth.pick([place[s] for s in w.series])
            if w.predictor == SIZING:
                factors |= self._learnt(w, theirs)
            else:
                _add(sums, w.origin, self._scored(w, theirs))
        with self._store.db.write() as conn:
            if not self._store.archive.settle_in(conn, [w.id for w in alike], sums):
                return 0
            self._store.headroom.save_in(conn, first.resource, factors, float(first.due))
        return len(alike)

    def _scored(self, w: Waiting, truth: History) -> tuple[Score, ...]:
        forecast, strata = thawed(w), np.asarray(w.strata, np.str_)
        if self.listener is not None and w.predictor == self._champion() and set(w.parts) == set(HEADS):
            self.listener(misses(forecast, truth, strata))
        unknown = np.full(len(w.series), np.nan, np.float32)
        return tally(marks(forecast, truth, unknown), strata, w.resource, w.predictor)

    def _learnt(self, w: Waiting, truth: History) -> dict[str, float]:
        """The factors after this half-hour of the servers in a row."""
        rule = (self._settings.headroom or HeadroomRule()).of(w.resource)
        known = self._store.headroom.all(w.resource)
        before = np.array([known.get(s, 1.0) for s in w.series], np.float32)
        begin = _first_bin(w.origin, w.step_s)
        end = begin + HALF_HOUR * w.step_s
        window = Window(
            wanted=w.parts["wanted"],
            peak=truth_of(truth, w.origin).peak30m,
            censored=_censored(truth, begin, end),
            odd=self.odd(w.resource, w.series, begin, end),
        )
        after = adapt(before, window, np.nan_to_num(w.parts["quantile"], nan=1.0), rule)
        moved = np.flatnonzero(after != before)
        return {w.series[i]: float(after[i]) for i in moved}


def _slot(origin: int, step_s: int) -> int:
    return origin // (HALF_HOUR * step_s)


def _first_bin(origin: int, step_s: int) -> int:
    """Start of the first bin that a forecast speaks of: the first that begins at its origin or later."""
    return -(-origin // step_s) * step_s


def _end(origin: int, bins: int, step_s: int) -> int:
    return _first_bin(origin, step_s) + (bins + LATE) * step_s


def _censored(truth: History, begin: int, end: int) -> Flags:
    first, last = (max(0, (t - truth.start) // truth.step_s) for t in (begin, end))
    return np.asarray((np.nan_to_num(truth.censored[:, first:last]) > 0).any(axis=1))


def _rows(forecast: Forecast, predictor: str, strata: tuple[str, ...], heads: Sequence[str]) -> list[Waiting]:
    bins = BINS_PER_DAY if "peak24h" in heads else HALF_HOUR
    due = _end(forecast.origin, bins, forecast.step_s)
    parts = {head: getattr(forecast, head) for head in heads}
    whole = Waiting(forecast.resource, forecast.origin, due, forecast.step_s, predictor, forecast.series, strata, parts)
    return _cut(whole, WHOLE_ROW if len(heads) > 1 else HEADROOM_ROW)


def _cut(whole: Waiting, size: int) -> list[Waiting]:
    return [
        replace(
            whole,
            series=whole.series[i : i + size],
            strata=whole.strata[i : i + size],
            parts={k: p[i : i + size] for k, p in whole.parts.items()},
        )
        for i in range(0, len(whole.series), size)
    ]


def _alike(due: Sequence[Waiting]) -> list[list[Waiting]]:
    """Rows that the same stretch of history answers."""
    found: dict[tuple[str, int, int], list[Waiting]] = {}
    for w in due:
        found.setdefault((w.resource, w.origin, w.due), []).append(w)
    return list(found.values())


def thawed(w: Waiting) -> Forecast:
    """A forecast again; heads that were not archived are NaN, of which nothing is counted."""
    n = len(w.series)

    def head(name: str) -> Floats:
        return w.parts.get(name, np.full((n, *SHAPES[name], len(LEVELS)), np.nan, np.float32))

    return Forecast(
        resource=w.resource,
        series=w.series,
        origin=w.origin,
        steps=head("steps"),
        half_hours=head("half_hours"),
        peak30m=head("peak30m"),
        peak24h=head("peak24h"),
        source=(w.predictor,) * n,
        reason=("",) * n,
        age_s=np.zeros(n),
        step_s=w.step_s,
    )


def _add(sums: dict[Key, Sums], origin: int, scores: Sequence[Score]) -> None:
    for s in scores:
        key = Key(origin, s.resource, s.stratum, s.head, s.predictor)
        new = {name: getattr(s, name) for name in SUMMED}
        sums[key] = added(sums[key], new) if key in sums else new


@dataclass(frozen=True)
class Pair:
    """How one predictor did, and the baseline on the same windows; None: there is no baseline beside it (it is itself)."""

    mine: Score
    base: Score | None = None


def paired(found: Sequence[tuple[Key, Sums]]) -> list[Pair]:
    """Added up over origins by predictor, resource, stratum and head; of the baseline only where it stands beside that predictor."""
    at = {k: score_of(k, s) for k, s in found}
    beside = {replace(k, predictor=BASELINE) for k in at if k.predictor != BASELINE}
    pairs: dict[Key, Pair] = {}
    for key, mine in at.items():
        if key in beside:
            continue
        base = at.get(replace(key, predictor=BASELINE)) if key.predictor != BASELINE else None
        whole = replace(key, origin=0)
        before = pairs.get(whole)
        pairs[whole] = Pair(mine, base) if before is None else Pair(before.mine + mine, _both(before.base, base))
    return [pairs[key] for key in sorted(pairs)]


def _both(a: Score | None, b: Score | None) -> Score | None:
    return a + b if a is not None and b is not None else a or b


def score_of(key: Key, sums: Sums) -> Score:
    """Stored sums as a Score again."""
    said = {"resource": key.resource, "stratum": key.stratum, "head": key.head, "predictor": key.predictor}
    return msgspec.convert({**said, **_whole(sums)}, Score)


def _whole(sums: Sums) -> dict[str, object]:
    """Counts were stored as floats."""
    whole = {"count", "windows", "scaled_windows", "below", "above"}
    return {name: np.rint(value).astype(int).tolist() if name in whole else value for name, value in sums.items()}
