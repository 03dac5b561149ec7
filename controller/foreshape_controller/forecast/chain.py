"""Who speaks for each series: the net where it has won, else the baseline, else the shape of the fleet, else the entitlement.

The gate says how much of the net is heard for each stratum and head; where that is all of it, the baseline is not asked. The
calibration moves what was said. Every series keeps who spoke and why. Nothing that goes wrong with the net reaches the caller:
its series go to the baseline, and the reason says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foreshape_controller.errors import ModelError
from foreshape_controller.forecast.calibrate import Calibration, sizes
from foreshape_controller.forecast.fans import CENSORED_LIFT, ROOM, per_series
from foreshape_controller.forecast.folder import EXAMINED, read_calibration, read_gate, verify
from foreshape_controller.forecast.gate import blended, weights_of
from foreshape_controller.forecast.prior import ENOUGH
from foreshape_controller.forecast.quantiles import ordered
from foreshape_controller.forecast.scores import Flags, Names, bins_before, stratum
from foreshape_controller.model.forecast import HALF_HOURS, HEADS, LEVELS, Forecast, Predictor
from foreshape_controller.model.history import WATCHED, Floats, History
from foreshape_controller.model.learned import Corrections, Gate, Verdict

PEERS = 200
"""Series with enough history that the baseline is shown beside those that have too little: the fleet's shape comes from them."""

SIZING = "peak30m"
"""The head that sizes servers: who speaks for a series, in one word, is who speaks for it."""

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Champion:
    """A model in office. ``net`` is None where it cannot run here; ``silence`` then says why."""

    id: str
    net: Predictor | None
    gate: Gate
    calibration: Calibration
    silence: str = ""


def load_champion(folder: Path, *, examined: bool = False) -> Champion:
    """A model from its folder. ModelError if it is damaged; without torch it comes with a silent net.

    ``examined``: with the weights that had not seen the held-back days, for comparisons on those days.
    """
    manifest = verify(folder)
    gate, calibration = read_gate(folder), read_calibration(folder)
    try:
        from foreshape_controller.forecast.net import Net  # noqa: PLC0415 - torch is behind it
    except (ImportError, ModelError):
        return Champion(manifest.id, None, gate, calibration, "torch is not installed")
    aside = folder / EXAMINED
    return Champion(manifest.id, Net.load(aside if examined and aside.is_dir() else folder), gate, calibration)


class Chain:
    """Predictor that asks the right one for each series (see module)."""

    name = "chain"

    def __init__(self, baseline: Predictor, champion: Champion | None = None) -> None:
        self.baseline = baseline
        self.champion = champion

    def predict(self, history: History, origin: int) -> Forecast:
        """One forecast of all series. No NaN, nothing crosses, nothing is negative, a longer window's peak is not below a shorter's."""
        if self.champion is None or not history.series:
            return self.baseline.predict(history, origin)
        strata = stratum(history, origin)
        size = sizes(history, origin)
        net, silence = _asked(self.champion, history, origin, strata)
        speaks = _spoken(net)
        weights = {h: w * speaks for h, w in weights_of(self.champion.gate, history.resource, strata).items()}
        base = self._baseline(history, origin, _needed(weights))
        said = replace(_joined(net, base, weights), source=base.source)
        voice = _Voice(self.champion, history.resource, strata, speaks, silence, weights)
        said = _calibrated(self.champion.calibration, said, voice, size)
        source, reason = _told(voice, net, base)
        return sane(replace(said, source=source, reason=reason), history)

    def _baseline(self, history: History, origin: int, rows: Rows) -> Forecast:
        """The baseline's word on these rows, NaN for the others. It sees some peers as well where a row is too young to go alone."""
        if len(rows) == len(history.series):
            return self.baseline.predict(history, origin)
        if not len(rows):
            return _silent(history, origin)
        asked = np.concatenate([rows, _peers(history, origin, rows)])
        found = self.baseline.predict(history.pick(asked.tolist()), origin).pick(range(len(rows)))
        return _spread(found, _silent(history, origin), rows)


@dataclass(frozen=True, eq=False)
class _Voice:
    """What is known of who speaks for each series: strata, speaks [n]; weights by head [n]."""

    champion: Champion
    resource: str
    strata: Names
    speaks: Flags
    silence: str
    weights: Mapping[str, Floats]


def _asked(champion: Champion, history: History, origin: int, strata: Names) -> tuple[Forecast, str]:
    """The net's forecast, NaN where it is silent, and why it is silent altogether."""
    nothing = _silent(history, origin)
    if champion.net is None:
        return nothing, champion.silence
    if history.resource not in WATCHED:
        return nothing, f"the net does not forecast {history.resource}"
    if not any(w.any() for w in weights_of(champion.gate, history.resource, strata).values()):
        return nothing, ""
    try:
        found = champion.net.predict(history, origin)
    except ModelError as error:
        return nothing, f"the net failed ({error})"
    return (found, "") if found.series == history.series else (nothing, "the net spoke of other series")


def _spoken(net: Forecast) -> Flags:
    """[n]: rows of which every head is a number."""
    whole = [np.isfinite(getattr(net, h)).reshape(len(net.series), -1).all(axis=1) for h in HEADS]
    spoken: Flags = np.logical_and.reduce(whole)
    return spoken


def _needed(weights: Mapping[str, Floats]) -> Rows:
    """Rows of which some head hears the baseline."""
    return np.flatnonzero(np.min(np.stack(list(weights.values())), axis=0) < 1)


def _peers(history: History, origin: int, rows: Rows) -> Rows:
    """Others with enough history, evenly picked; none when every row has enough of its own."""
    known = np.isfinite(history.mean[:, : bins_before(history, origin)]).sum(axis=1)
    if (known[rows] >= ENOUGH).all():
        return np.empty(0, np.intp)
    others = np.setdiff1d(np.flatnonzero(known >= ENOUGH), rows)
    return others[:: max(1, len(others) // PEERS)][:PEERS]


def _silent(history: History, origin: int) -> Forecast:
    """A forecast that says nothing."""
    count = len(history.series)

    def gaps(*shape: int) -> Floats:
        return np.full((count, *shape, len(LEVELS)), np.nan, np.float32)

    age = np.maximum(0.0, origin - np.nan_to_num(history.first_seen, nan=float(origin)))
    names = ("",) * count
    return Forecast(history.resource, history.series, origin, gaps(6), gaps(HALF_HOURS), gaps(), gaps(), names, names, age, history.step_s)


def _spread(found: Forecast, blank: Forecast, rows: Rows) -> Forecast:
    """Rows of a forecast put back in their places."""
    for head in HEADS:
        getattr(blank, head)[rows] = getattr(found, head)
    source, reason = list(blank.source), list(blank.reason)
    for place, row in enumerate(rows.tolist()):
        source[row], reason[row] = found.source[place], found.reason[place]
    return replace(blank, source=tuple(source), reason=tuple(reason))


def _joined(net: Forecast, base: Forecast, weights: Mapping[str, Floats]) -> Forecast:
    """Head by head, series by series."""
    if not any(w.any() for w in weights.values()):
        return base
    return replace(blended(net, base, dict(weights)), age_s=base.age_s, step_s=base.step_s)


def _calibrated(calibration: Calibration, said: Forecast, voice: _Voice, size: Floats) -> Forecast:
    """Moved as the voice that spoke is: the gate's choice by the model's shifts, the baseline in its place by its own.

    Where only the entitlement speaks there is nothing to correct.
    """
    model = calibration.apply(said, voice.strata, size)
    base = calibration.apply(said, voice.strata, size, "baseline")
    chosen = weights_of(voice.champion.gate, voice.resource, voice.strata)
    known = np.array([s != "entitlement" for s in said.source], np.bool_)
    moved = {h: _either(voice.weights[h] == chosen[h], getattr(model, h), getattr(base, h)) for h in HEADS}
    heads = {h: _either(known, moved[h], getattr(said, h)) for h in HEADS}
    return replace(said, steps=heads["steps"], half_hours=heads["half_hours"], peak30m=heads["peak30m"], peak24h=heads["peak24h"])


def _either(which: Flags, one: Floats, other: Floats) -> Floats:
    return np.where(which.reshape((-1,) + (1,) * (one.ndim - 1)), one, other).astype(np.float32)


def sane(forecast: Forecast, history: History) -> Forecast:
    """Levels in order, nothing negative or absurd, and windows that agree: the longer one's peak is not below."""
    top = per_series(bound(history, forecast.origin), forecast.peak30m)
    steps, half_hours, short, long = (
        ordered(np.clip(np.nan_to_num(getattr(forecast, h)), 0, top.reshape((-1,) + (1,) * (getattr(forecast, h).ndim - 1)))) for h in HEADS
    )
    short = np.maximum(short, steps.max(axis=1))
    long = np.maximum(long, short)
    return replace(forecast, steps=steps, half_hours=half_hours, peak30m=short, peak24h=long)


def bound(history: History, origin: int) -> Floats:
    """[n]: the largest sane quantile, half more than what was sold or seen (censored bins count for more)."""
    known = bins_before(history, origin)
    peak = np.where(np.isfinite(history.max[:, :known]), history.max[:, :known], 0)
    seen = np.maximum(peak.max(axis=1, initial=0), 0)
    capped = np.nan_to_num(history.censored[:, :known]).max(axis=1, initial=0)
    found: Floats = (ROOM * np.maximum(np.nan_to_num(history.entitlement), seen * (1 + CENSORED_LIFT * capped))).astype(np.float32)
    return found


def _told(voice: _Voice, net: Forecast, base: Forecast) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Source and reason of each series; the same sentence is made once."""
    words: dict[tuple[object, ...], tuple[str, str]] = {}
    told = []
    weights = np.stack([voice.weights[h] for h in HEADS], axis=1)
    for i, kind in enumerate(voice.strata.tolist()):
        key = (kind, bool(voice.speaks[i]), weights[i].tobytes(), net.source[i], base.source[i], base.reason[i])
        if key not in words:
            words[key] = _words(voice, kind, bool(voice.speaks[i]), weights[i], (net.source[i], base.source[i], base.reason[i]))
        told.append(words[key])
    return tuple(t[0] for t in told), tuple(t[1] for t in told)


def _words(voice: _Voice, kind: str, speaks: bool, weights: Floats, said: tuple[str, str, str]) -> tuple[str, str]:
    """Who speaks for the half-hour's peak and why; other heads are named where they differ."""
    net_source, source, reason = said
    verdict = voice.champion.gate.verdict(voice.resource, kind, SIZING)
    weight = float(weights[HEADS.index(SIZING)])
    others = _exceptions(weights, weight)
    if weight == 0:
        return source or "baseline", "; ".join(w for w in (reason, _why_not(voice, kind, speaks, verdict), others) if w)
    won = f"{_share(weight)} model {voice.champion.id} {verdict.reason} on {verdict.days} held-back days in stratum {kind}"
    return (net_source or "net") if weight == 1 else f"{net_source or 'net'}+baseline", f"{won}{'; ' if others else ''}{others}"


def _why_not(voice: _Voice, kind: str, speaks: bool, verdict: Verdict) -> str:
    if voice.silence:
        return f"not the net: {voice.silence}"
    if verdict.weight > 0 and not speaks:
        return "not the net: it knows too little of this series"
    return f"not the net: {verdict.reason}, stratum {kind}"


def _share(weight: float) -> str:
    return "net:" if weight == 1 else f"{100 * weight:.0f} % net, the rest baseline:"


def _exceptions(weights: Floats, sizing: float) -> str:
    """Heads that hear the net more or less than the one that sizes."""
    other = [(h, float(w)) for h, w in zip(HEADS, weights, strict=True) if float(w) != sizing]
    return "otherwise: " + ", ".join(f"{h} {100 * w:.0f} % net" for h, w in other) if other else ""


def uncalibrated(champion: Champion) -> Champion:
    """The champion as it speaks before its calibration: what a new calibration is fitted on."""
    return replace(champion, calibration=Calibration(Corrections()))
