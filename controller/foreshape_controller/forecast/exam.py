"""Net and baseline on the same windows of days that the net was not taught with: what the gate and the calibration are made of.

Several origins a day at random phase. At each, some series are shown as if they had just been born (their past cut to between
ten minutes and two days), since a trace or a settled cloud has few young ones. Where no group has a history of its own, random
sums of twenty servers stand in for hosts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foreshape_controller.forecast.calibrate import Calibration, Misses, misses
from foreshape_controller.forecast.chain import Chain, Champion
from foreshape_controller.forecast.gate import Bout, blended, bout, decide, weights_of
from foreshape_controller.forecast.naive import Naive
from foreshape_controller.forecast.scores import WEEK, YOUNG_BINS, is_group, marks, stratum, tally, total
from foreshape_controller.forecast.totals import Lives, Totals
from foreshape_controller.model.forecast import HEADS, Forecast, Predictor
from foreshape_controller.model.history import BINS_PER_DAY, RESOURCES, Floats, History
from foreshape_controller.model.learned import Cell, Corrections, Gate, Score, Verdict

YOUNG_SHARE = 0.2
"""Of the servers of an origin."""

YOUNGEST = 2
"""Bins."""

GROUP_OF = 20
"""Servers in a stand-in for a host."""

GROUPS_MADE = 40

LEAST_KNOWN = 0.5
"""Share of the bins before an origin day that must be known before a resource is examined there at all (whole-cloud holes)."""


@dataclass(frozen=True)
class Plan:
    """When and how much to examine: origins between since and until (epoch s), series of each resource."""

    since: int
    until: int
    origins_per_day: float = 1.0
    series: int = 400
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Sitting:
    """One origin of one resource. ``seen``: the history as both were shown it, and what came."""

    seen: History
    net: Forecast
    baseline: Forecast
    strata: npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Findings:
    """What an examination came to."""

    gate: Gate
    calibration: Calibration
    scores: tuple[Score, ...]
    sittings: int


def examine(net: Predictor, baseline: Predictor, histories: Mapping[str, History], plan: Plan) -> Findings:
    """Gate, calibration and scores, resource by resource, so that no more than one is in memory."""
    verdicts: list[Verdict] = []
    cells: list[Cell] = []
    scored: list[Score] = []
    newest, count = 0.0, 0
    for _, history in sorted(histories.items()):
        sittings = list(sit(net, baseline, history, plan))
        gate = decide(bouts(sittings))
        calibration = fitted(sittings, gate)
        verdicts += gate.verdicts
        cells += calibration.corrections.cells
        scored += scores(sittings, gate)
        newest, count = max(newest, calibration.corrections.fitted_at), count + len(sittings)
    return Findings(Gate(tuple(verdicts)), Calibration(Corrections(tuple(cells), newest)), tuple(scored), count)


def sit(net: Predictor, baseline: Predictor, history: History, plan: Plan) -> Iterator[Sitting]:
    """The sittings of one resource."""
    rng = np.random.default_rng(plan.seed)
    chosen = sample(span(history, plan.since - WEEK * history.step_s, plan.until), plan.series, rng)
    for origin in origins(chosen, plan, rng):
        shown = aged(window(chosen, origin), origin, rng)
        yield Sitting(shown, net.predict(shown, origin), baseline.predict(shown, origin), stratum(shown, origin))


def origins(history: History, plan: Plan, rng: np.random.Generator) -> list[int]:
    """Evenly spread with a random phase each, on the grid; each with a day of truth behind it and some data just before."""
    step, day = history.step_s, BINS_PER_DAY * history.step_s
    count = int((plan.until - day - plan.since) / day * plan.origins_per_day)
    width = (plan.until - day - plan.since) / max(count, 1)
    found = [int(plan.since + (i + rng.random()) * width) for i in range(count)]
    return [o for t in found if _known(history, o := history.start + (t - history.start) // step * step)]


def _known(history: History, origin: int) -> bool:
    """Something was measured in the hours before, for most series."""
    end = (origin - history.start) // history.step_s
    recent = history.mean[:, max(0, end - 12) : end]
    return bool(recent.size and np.isfinite(recent).any(axis=1).mean() >= LEAST_KNOWN)


def window(history: History, origin: int) -> History:
    """A week before the origin and the day after it."""
    return span(history, origin - WEEK * history.step_s, origin + BINS_PER_DAY * history.step_s)


def span(history: History, since: int, until: int) -> History:
    """The bins between two times."""
    first, last = (min(history.bins, max(0, (t - history.start) // history.step_s)) for t in (since, until))

    def cut(values: Floats) -> Floats:
        return values[:, first:last]

    return replace(
        history,
        start=history.start + first * history.step_s,
        mean=cut(history.mean),
        max=cut(history.max),
        coverage=cut(history.coverage),
        censored=cut(history.censored),
        doubtful=None if history.doubtful is None else cut(history.doubtful),
        used=None if history.used is None else cut(history.used),
    )


def aged(history: History, origin: int, rng: np.random.Generator) -> History:
    """Some servers as if just born: their bins before a random age are gaps."""
    known = (origin - history.start) // history.step_s
    servers = np.flatnonzero([not is_group(s) for s in history.series])
    young = rng.choice(servers, int(YOUNG_SHARE * len(servers)), replace=False)
    age = np.exp(rng.uniform(np.log(YOUNGEST), np.log(YOUNG_BINS), len(young))).astype(np.intp)
    mean, peak = history.mean.copy(), history.max.copy()
    gone = np.arange(history.bins)[None, :] < (known - age)[:, None]
    for values in (mean, peak):
        values[young] = np.where(gone, np.nan, values[young])
    first_seen = history.first_seen.copy()
    first_seen[young] = origin - age * history.step_s
    return replace(history, mean=mean, max=peak, first_seen=first_seen)


def sample(history: History, limit: int, rng: np.random.Generator) -> History:
    """At most so many servers, and groups: the history's own, or made up of its servers."""
    group = np.array([is_group(s) for s in history.series], np.bool_)
    servers, groups = np.flatnonzero(~group), np.flatnonzero(group)
    made = None if len(groups) or history.resource not in RESOURCES else made_up(history, servers, rng)
    picked = [np.sort(rng.permutation(rows)[:limit]) for rows in (servers, groups)]
    chosen = history.pick(np.concatenate(picked).tolist())
    return chosen if made is None else _both(chosen, made)


def made_up(history: History, servers: npt.NDArray[np.intp], rng: np.random.Generator) -> History | None:
    """Sums of random servers, as if they shared a host; None with too few for two different ones."""
    if len(servers) < 2 * GROUP_OF:
        return None
    groups: dict[str, list[str]] = {}
    for g in range(min(GROUPS_MADE, len(servers) // 2)):
        for row in rng.choice(servers, GROUP_OF, replace=False).tolist():
            groups.setdefault(history.series[row], []).append(f"host:made-{g}")
    names = sorted({g for gs in groups.values() for g in gs})
    members = history.pick([i for i in servers.tolist() if history.series[i] in groups])
    n = len(members.series)
    heard = np.zeros((n, members.bins), np.bool_)
    lives = Lives(np.nan_to_num(members.first_seen, nan=float(members.start)), np.full(n, np.inf), heard)
    sums = Totals(history.resource, names, (history.start, history.bins, history.step_s))
    sums.add(members, lives, groups)
    return sums.history()


def _both(one: History, other: History) -> History:
    """The series of both; they share the grid."""

    def two(a: Floats, b: Floats) -> Floats:
        return np.concatenate([a, b]).astype(np.float32)

    return History(
        resource=one.resource,
        series=one.series + other.series,
        start=one.start,
        mean=two(one.mean, other.mean),
        max=two(one.max, other.max),
        coverage=two(one.coverage, other.coverage),
        censored=two(one.censored, other.censored),
        entitlement=two(one.entitlement, other.entitlement),
        first_seen=np.concatenate([one.first_seen, other.first_seen]),
        step_s=one.step_s,
    )


def bouts(sittings: Sequence[Sitting]) -> list[Bout]:
    return [bout(s.net, s.baseline, s.seen, s.strata) for s in sittings]


def missed(sittings: Sequence[Sitting], gate: Gate) -> list[Misses]:
    """Of what the gate chose (``model``) and of the baseline alone, which stands in where the net is silent."""
    chosen = [misses(said(s, gate), s.seen, s.strata) for s in sittings]
    return chosen + [misses(s.baseline, s.seen, s.strata, "baseline") for s in sittings]


def said(sitting: Sitting, gate: Gate) -> Forecast:
    """What the chain would say before calibration; NaN where the net should have spoken and could not."""
    return blended(sitting.net, sitting.baseline, weights_of(gate, sitting.net.resource, sitting.strata))


def fitted(sittings: Sequence[Sitting], gate: Gate) -> Calibration:
    return Calibration.fit(missed(sittings, gate))


def scores(sittings: Sequence[Sitting], gate: Gate) -> tuple[Score, ...]:
    """Net, baseline, naive and the gate's choice (``model``), by stratum and head, all on the same windows.

    The model's calibration is fitted on one half of the days and scored on the other, both ways round: no fan is scored on
    days that it was made honest with.
    """
    return total([s for sitting, calibration in crossed(sittings, gate) for s in _scored(sitting, gate, calibration)])


def crossed(sittings: Sequence[Sitting], gate: Gate) -> Iterator[tuple[Sitting, Calibration]]:
    """Each sitting with a calibration from the other half of the days."""
    middle = float(np.median([s.net.origin for s in sittings])) if sittings else 0.0
    halves = [s for s in sittings if s.net.origin <= middle], [s for s in sittings if s.net.origin > middle]
    for mine, others in (halves, halves[::-1]):
        calibration = fitted(others, gate)
        yield from ((s, calibration) for s in mine)


def _scored(sitting: Sitting, gate: Gate, calibration: Calibration) -> Iterator[Score]:
    told = Chain(_Said(sitting.baseline), Champion("", _Said(sitting.net), gate, calibration)).predict(sitting.seen, sitting.net.origin)
    naive = Naive().predict(sitting.seen, sitting.net.origin)
    for name, forecast in (("net", sitting.net), ("baseline", sitting.baseline), ("naive", naive), ("model", told)):
        yield from tally(marks(_where_net_speaks(forecast, sitting.net), sitting.seen), sitting.strata, forecast.resource, name)


def _where_net_speaks(forecast: Forecast, net: Forecast) -> Forecast:
    """Rows on which the net is silent left out, so that all are scored on the same windows."""
    silent = ~np.isfinite(net.peak30m).all(axis=1)
    heads = {h: np.where(silent.reshape((-1,) + (1,) * (getattr(forecast, h).ndim - 1)), np.nan, getattr(forecast, h)) for h in HEADS}
    return replace(forecast, steps=heads["steps"], half_hours=heads["half_hours"], peak30m=heads["peak30m"], peak24h=heads["peak24h"])


class _Said:
    """A forecast that was made already, as a predictor."""

    name = "said"

    def __init__(self, forecast: Forecast) -> None:
        self._forecast = forecast

    def predict(self, history: History, origin: int) -> Forecast:
        assert origin == self._forecast.origin
        place = {name: i for i, name in enumerate(self._forecast.series)}
        return self._forecast.pick([place[s] for s in history.series])
