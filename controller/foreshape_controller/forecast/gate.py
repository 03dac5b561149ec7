"""Where a net may speak: it has to have won there.

For each resource × stratum × head, on days that the net was not taught with, every weight of it in a blend with the baseline
is scored on the same windows. A weight wins when its wQL is at most MARGIN of the baseline's, on enough windows, series and days,
and in at least SURE of resamples of the series and of the days (a two-way bootstrap: neither the windows of one series nor those of
one day are independent). One lucky big server does not carry a model in, nor one odd day; the peak of a day wants a week of days
(on Azure a net that had won it on four lost by half on the next five). Of winners the net alone is taken, unless a blend is
better by more than BLEND_GAIN, since a blend costs the baseline's time as well. No evidence, no weight.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import numpy.typing as npt

from foreshape_controller.forecast.quantiles import ordered
from foreshape_controller.forecast.scores import Doubles, Names, marks
from foreshape_controller.model.forecast import HEADS, Forecast
from foreshape_controller.model.history import BINS_PER_DAY, STEP_S, Floats, History
from foreshape_controller.model.learned import JUDGED, WEIGHTS, Gate, Score, Verdict

MARGIN = 0.99
"""wQL, by the baseline's, at which a challenger has won."""

SURE = 0.8
"""Share of resamples in which it must be better at all."""

BLEND_GAIN = 0.01
"""wQL by which a blend must beat the net alone."""

RESAMPLES = 400

LEAST_WINDOWS = 60
LEAST_SERIES = 8
LEAST_DAYS = {"steps": 2, "half_hours": 3, "peak30m": 2, "peak24h": 7}

COVERED = 0.98
"""Live coverage of the 99 % level under which a verdict falls back."""

LEAST_LIVE = 200
"""Live windows before coverage is judged."""

NET, BASELINE = WEIGHTS.index(1.0), WEIGHTS.index(0.0)


@dataclass(frozen=True, eq=False)
class Bout:
    """One origin of one resource, both forecasters on the same windows: loss per head [n, weights], NaN where one was silent."""

    resource: str
    origin: int
    series: tuple[str, ...]
    strata: Names
    losses: dict[str, Doubles]
    day_s: int = BINS_PER_DAY * STEP_S


def bout(net: Forecast, baseline: Forecast, truth: History, strata: Names) -> Bout:
    """Score every weight. Both forecasts and the truth have the same series in the same order."""
    unscaled = np.full(len(strata), np.nan, np.float32)
    scored = [marks(blended(net, baseline, dict.fromkeys(HEADS, w)), truth, unscaled) for w in WEIGHTS]
    losses: dict[str, Doubles] = {}
    for k, head in enumerate(HEADS):
        loss = np.stack([m[k].pinball[:, JUDGED].sum(axis=1) for m in scored], axis=1)
        both = np.stack([m[k].count for m in scored], axis=1).min(axis=1) > 0
        losses[head] = np.where(both[:, None], loss, np.nan)
    return Bout(net.resource, net.origin, net.series, strata, losses, BINS_PER_DAY * net.step_s)


def blended(net: Forecast, baseline: Forecast, weights: dict[str, float] | dict[str, Floats]) -> Forecast:
    """Quantile by quantile, with a weight of the net per head (one, or one each series). A weight of 0 or 1 hears one alone."""
    steps, half_hours, peak30m, peak24h = (_mix(getattr(net, h), getattr(baseline, h), weights[h]) for h in HEADS)
    return replace(net, steps=steps, half_hours=half_hours, peak30m=peak30m, peak24h=peak24h)


def _mix(net: Floats, baseline: Floats, weight: float | Floats) -> Floats:
    share = np.broadcast_to(np.asarray(weight, np.float32), len(net)).reshape((-1,) + (1,) * (net.ndim - 1))
    mixed = share * net + (1 - share) * baseline
    alone = np.where(share >= 1, net, np.where(share <= 0, baseline, mixed))
    return ordered(alone).astype(np.float32)


def decide(bouts: Sequence[Bout]) -> Gate:
    """A verdict for each resource, stratum and head that was seen."""
    verdicts = [_verdict(r, s, h, bouts) for r, s in _met(bouts) for h in HEADS]
    return Gate(tuple(verdicts))


def _met(bouts: Iterable[Bout]) -> list[tuple[str, str]]:
    return sorted({(b.resource, str(s)) for b in bouts for s in np.unique(b.strata)})


def _verdict(resource: str, stratum: str, head: str, bouts: Sequence[Bout]) -> Verdict:
    evidence = gather([b for b in bouts if b.resource == resource], stratum, head)
    base = Verdict(
        resource=resource,
        stratum=stratum,
        head=head,
        weight=0.0,
        reason="",
        windows=evidence.windows,
        series=evidence.series,
        days=evidence.days,
    )
    lack = _lack(evidence, head)
    return msgspec.structs.replace(base, reason=lack) if lack else _weighed(base, evidence)


@dataclass(frozen=True, eq=False)
class Evidence:
    """Losses of one head and stratum: loss [series, days, weights]."""

    loss: Doubles
    windows: int

    @property
    def series(self) -> int:
        return int(self.loss.shape[0])

    @property
    def days(self) -> int:
        return int(self.loss.shape[1])


def gather(bouts: Sequence[Bout], stratum: str, head: str) -> Evidence:
    """Paired by series and day: their windows stand or fall together."""
    loss = np.concatenate([np.empty((0, len(WEIGHTS))), *(b.losses[head][b.strata == stratum] for b in bouts)])
    names = np.concatenate([np.empty(0, np.str_), *(np.asarray(b.series, np.str_)[b.strata == stratum] for b in bouts)])
    day = np.concatenate([np.empty(0), *(np.full((b.strata == stratum).sum(), b.origin // b.day_s) for b in bouts)])
    known = np.isfinite(loss).all(axis=1)
    series, row = np.unique(names[known], return_inverse=True)
    days, column = np.unique(day[known], return_inverse=True)
    total = np.zeros((len(series), len(days), len(WEIGHTS)))
    np.add.at(total, (row, column), loss[known])
    return Evidence(total, int(known.sum()))


def _lack(evidence: Evidence, head: str) -> str:
    """What is missing before anything can be said; empty when nothing."""
    found = {"windows": evidence.windows, "series": evidence.series, "days": evidence.days}
    needed = {"windows": LEAST_WINDOWS, "series": LEAST_SERIES, "days": LEAST_DAYS[head]}
    short = [f"{found[k]} {k} of {needed[k]}" for k in needed if found[k] < needed[k]]
    if not short and evidence.loss[..., BASELINE].sum() <= 0:
        return "the baseline made no error there"
    return f"too little to judge by: {', '.join(short)}" if short else ""


def _weighed(base: Verdict, evidence: Evidence) -> Verdict:
    ratio = evidence.loss.sum(axis=(0, 1)) / evidence.loss[..., BASELINE].sum()
    sure = surety(evidence.loss)
    won = [k for k in range(len(WEIGHTS)) if k != BASELINE and ratio[k] <= MARGIN and sure[k] >= SURE]
    chosen = _chosen(won, ratio)
    best = chosen if chosen is not None else int(np.argmin(np.where(np.arange(len(WEIGHTS)) == BASELINE, np.inf, ratio)))
    return msgspec.structs.replace(
        base,
        weight=WEIGHTS[chosen] if chosen is not None else 0.0,
        reason=_reason(chosen, best, ratio, sure),
        ratio=round(float(ratio[best]), 4),
        net_ratio=round(float(ratio[NET]), 4),
        sure=round(float(sure[best]), 3),
    )


def _chosen(won: Sequence[int], ratio: Doubles) -> int | None:
    """The net alone where it won, unless a blend is clearly better; None where nobody won."""
    if not won:
        return None
    best = min(won, key=lambda k: float(ratio[k]))
    return NET if NET in won and ratio[NET] <= ratio[best] * (1 + BLEND_GAIN) else best


def _reason(chosen: int | None, best: int, ratio: Doubles, sure: Doubles) -> str:
    if chosen is not None:
        return f"won by {100 * (1 - ratio[chosen]):.0f} % (in {100 * sure[chosen]:.0f} % of resamples)"
    if ratio[best] >= 1:
        return f"lost ({ratio[NET]:.2f})"
    if ratio[best] > MARGIN:
        return f"not clearly better ({ratio[best]:.3f}, {MARGIN:g} is needed)"
    return f"perhaps luck: {ratio[best]:.2f}, but better in only {100 * sure[best]:.0f} % of resamples ({100 * SURE:.0f} % are needed)"


def surety(loss: Doubles, resamples: int = RESAMPLES) -> Doubles:
    """[weights]: share of resamples of the series and of the days in which a weight's total loss is under the baseline's.

    ``loss``: [series, days, weights]. The same resamples each time: the verdict on the same evidence is the same.
    """
    rng = np.random.default_rng(7)
    series, days = (rng.multinomial(n, np.full(n, 1 / n), resamples) for n in loss.shape[:2])
    ahead = np.einsum("rs,sdw->rdw", series.astype(float), loss - loss[..., [BASELINE]], optimize=True)
    better: Doubles = (np.einsum("rd,rdw->rw", days.astype(float), ahead) < 0).mean(axis=0)
    return better


def fall_back(gate: Gate, live: Sequence[Score], bound: float = COVERED) -> Gate:
    """Take the word from verdicts whose live fans cover too little: P(y ≤ q99) under the bound, beyond the error of counting.

    ``live`` are scores of what the chain said lately (about a week); those of a resource, stratum and head are added up.
    """
    return Gate(tuple(_still(v, _added(live, v), bound) for v in gate.verdicts))


def _added(live: Sequence[Score], verdict: Verdict) -> Score:
    mine = [s for s in live if (s.resource, s.stratum, s.head) == (verdict.resource, verdict.stratum, verdict.head)]
    return sum(mine, Score(resource=verdict.resource, stratum=verdict.stratum, head=verdict.head))


def _still(verdict: Verdict, live: Score, bound: float) -> Verdict:
    if verdict.weight == 0 or live.windows < LEAST_LIVE:
        return verdict
    covered = live.under(0.99)
    doubt = np.sqrt(max(covered * (1 - covered), 0.0) / live.windows)
    if covered + doubt >= bound:
        return verdict
    reason = f"lost its coverage: lately {100 * covered:.1f} % under the 99 % level, {100 * bound:g} % are needed"
    return msgspec.structs.replace(verdict, weight=0.0, reason=reason)


def weights_of(gate: Gate, resource: str, strata: Names) -> dict[str, Floats]:
    """Per head [n]: the net's weight for each series."""
    kinds, place = np.unique(strata, return_inverse=True)
    return {h: _looked_up([gate.verdict(resource, str(k), h).weight for k in kinds], place) for h in HEADS}


def _looked_up(weights: Sequence[float], place: npt.NDArray[np.intp]) -> Floats:
    return np.asarray(weights, np.float32)[place] if weights else np.zeros(len(place), np.float32)
