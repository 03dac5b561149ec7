"""What would have been allocated: simple policies that Foreshape is compared with, and Foreshape's own rules, over past demand.

Every policy decides each half-hour from what came before, and resizes by the same rules: up at once, down only if more than
the dead band smaller, memory after a hold.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from foreshape_controller.decide.facts import Facts, Levers, Peaks, Rules, Seen
from foreshape_controller.decide.peak import peaks
from foreshape_controller.decide.size import decide_sizes
from foreshape_controller.forecast.quantiles import window_max
from foreshape_controller.model.forecast import Predictor
from foreshape_controller.model.history import Floats, History
from foreshape_controller.model.tier import Tier

EVERY = 6
"""Bins between two decisions."""


@dataclass(frozen=True)
class Terms:
    """How every policy of one resource resizes. Cores or MiB."""

    granule: float
    floor: float
    hold: int
    """Decisions: shrinks only to the largest size wanted in the last so many."""
    dead_band: float = 0.10


TERMS = {"cpu": Terms(granule=0.05, floor=0.1, hold=1), "memory": Terms(granule=64.0, floor=256.0, hold=12)}


def static(entitlement: Floats, bins: int) -> Floats:
    """The flavor, always."""
    return np.repeat(entitlement[:, None], bins, axis=1)


def moving_max(demand: Floats, entitlement: Floats, start: int, window: int, multiplier: float, terms: Terms) -> Floats:
    """Multiplier × the largest demand of the last ``window`` bins: [n, bins − start]."""
    return resized(multiplier * past_peaks(demand, start, window), entitlement, terms)[:, : demand.shape[1] - start]


def past_peaks(demand: Floats, start: int, window: int) -> Floats:
    """[n, decisions]: the largest demand of the window before each decision; NaN where it saw nothing."""
    padded = np.pad(demand, ((0, 0), (window, 0)), constant_values=np.nan)
    peaks = window_max(padded.astype(np.float32), window)  # column b covers bins b − window … b − 1
    return peaks[:, start : demand.shape[1] : EVERY]


def resized(wanted: Floats, entitlement: Floats, terms: Terms) -> Floats:
    """Decisions [n, d] to the allocation of each bin [n, d·EVERY]; nothing known means the entitlement."""
    most = np.maximum(entitlement, terms.floor)[:, None]
    target = np.where(np.isfinite(wanted), np.ceil(wanted / terms.granule - 1e-9) * terms.granule, most)
    target = _held(np.clip(target, terms.floor, most), terms.hold)
    now = entitlement.astype(np.float32)
    rows = []
    for column in target.T:
        now = np.where((column > now) | (column < (1 - terms.dead_band) * now), column, now)
        rows.append(now)
    return np.repeat(np.stack(rows, axis=1), EVERY, axis=1).astype(np.float32)


def _held(target: Floats, hold: int) -> Floats:
    """The largest of the last ``hold`` targets at each decision."""
    padded = np.pad(target, ((0, 0), (hold - 1, 0)), mode="edge")
    return window_max(padded.astype(np.float32), hold)


# -- Foreshape's own rules --------------------------------------------------------------------------------------------


def foreshape(history: History, start: int, tier: Tier, predictor: Predictor) -> Floats:
    """What forecasts and decide.size would have allocated from bin ``start`` on: [n, bins − start]. Begins at the entitlement."""
    rules = tier.cpu if history.resource == "cpu" else tier.memory
    now = history.entitlement.astype(np.float32)
    held: deque[Floats] = deque(maxlen=max(1, int(rules.hold_s / history.step_s / EVERY)))
    columns = []
    for b in range(start, history.bins, EVERY):
        now, wanted = _decided(_until(history, b), now, held, tier, predictor)
        held.append(wanted)
        columns.append(now)
    return np.repeat(np.stack(columns, axis=1), EVERY, axis=1)[:, : history.bins - start]


def _until(history: History, bins: int) -> History:
    cut = {name: getattr(history, name)[:, :bins] for name in ("mean", "max", "coverage", "censored")}
    return History(
        resource=history.resource,
        series=history.series,
        start=history.start,
        entitlement=history.entitlement,
        first_seen=history.first_seen,
        step_s=history.step_s,
        **cut,
    )


def _decided(past: History, now: Floats, held: "deque[Floats]", tier: Tier, predictor: Predictor) -> tuple[Floats, Floats]:
    """Targets and wanted sizes of all series at the end of their past: [n], [n]."""
    rules = Rules.of([tier], [0] * len(now), past.resource)
    forecast, until = predictor.predict(past, past.until), np.full(len(now), float(past.until))
    looked = peaks(forecast, np.arange(len(now)), rules.quantile, rules.headroom, until, past.until)
    found = decide_sizes(_facts(past, now, looked, held, rules), rules)
    return found.target.astype(np.float32), found.wanted.astype(np.float32)


def _facts(past: History, now: Floats, looked: Peaks, held: "deque[Floats]", rules: Rules) -> Facts:
    """One lever without gaps, up to what was sold."""
    sold, terms = past.entitlement.astype(np.float64), TERMS[past.resource]
    one = np.ones((1, len(sold)))
    return Facts.plain(
        past.resource,
        terms.granule,
        now.astype(np.float64),
        entitlement=sold,
        ceiling=sold,
        levers=Levers(one > 0, np.minimum(terms.floor, sold)[None], sold[None], terms.granule * one),
        peak=looked,
        seen=_seen(past, now, rules),
        held=np.max(held, axis=0).astype(np.float64) if held else np.full(len(sold), np.nan),
    )


def _seen(past: History, now: Floats, rules: Rules) -> Seen:
    """What would have been measured: a bin above the allocation is censored."""
    hold = int(rules.hold_s[0] / past.step_s) + 1
    window = np.fmax.reduce(past.max[:, -EVERY:], axis=1, initial=np.nan).astype(np.float64)
    return Seen(
        window_peak=window,
        hold_peak=np.fmax.reduce(past.mean[:, -hold:], axis=1, initial=np.nan).astype(np.float64),
        hold_max=np.fmax.reduce(past.max[:, -hold:], axis=1, initial=np.nan).astype(np.float64),
        latest=past.mean[:, -1].astype(np.float64),
        censored=np.nan_to_num(window) > now,
        confidence=np.ones(len(now)),
        age_s=past.until - past.first_seen,
        overhead=np.zeros(len(now)),
    )
