"""What would have been allocated: simple policies that Foreshape is compared with, and Foreshape's own rules, over past demand.

Every policy decides each half-hour from what came before, and resizes by the same rules: up at once, down only if more than
the dead band smaller, memory after a hold.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from foreshape_controller.decide.peak import peak_range
from foreshape_controller.decide.size import Facts, Seen, size
from foreshape_controller.forecast.quantiles import window_max
from foreshape_controller.model.forecast import Predictor
from foreshape_controller.model.history import Floats, History
from foreshape_controller.model.plan import PeakRange
from foreshape_controller.model.tier import ResourceRules, Tier
from foreshape_wire.reading import Capability, LeverName

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
    forecast = predictor.predict(past, past.until)
    rules = tier.cpu if past.resource == "cpu" else tier.memory
    seen = _seen(past, now, rules)
    most = np.max(held, axis=0).tolist() if held else [None] * len(now)
    peaks = [peak_range(forecast, i, rules.quantile) for i in range(len(now))]
    sizings = [size(_facts(past, i, float(now[i]), peaks[i], seen[i], most[i]), tier) for i in range(len(now))]
    return np.asarray([s.target for s in sizings], np.float32), np.asarray([s.wanted for s in sizings], np.float32)


def _facts(past: History, i: int, allocation: float, peak: PeakRange, seen: Seen, held: float | None) -> Facts:
    sold, terms = float(past.entitlement[i]), TERMS[past.resource]
    lever = LeverName.CPU_QUOTA if past.resource == "cpu" else LeverName.MEM_BALLOON
    return Facts(
        resource=past.resource,
        allocation=allocation,
        entitlement=sold,
        ceiling=sold,
        granule=terms.granule,
        levers=(Capability(lever=lever, lowest=min(terms.floor, sold), highest=sold, granule=terms.granule),),
        peak=peak,
        seen=seen,
        held=held,
    )


def _seen(past: History, now: Floats, rules: ResourceRules) -> list[Seen]:
    """What would have been measured: a bin above the allocation is censored."""
    hold = int(rules.hold_s / past.step_s) + 1
    window = np.fmax.reduce(past.max[:, -EVERY:], axis=1, initial=np.nan)
    low = np.fmax.reduce(past.mean[:, -hold:], axis=1, initial=np.nan)
    wanted = np.fmax.reduce(past.max[:, -hold:], axis=1, initial=np.nan)
    capped = np.nan_to_num(window) > now
    ages = past.until - past.first_seen
    return [
        Seen(
            window_peak=_known(w),
            hold_peak=_known(h),
            hold_max=_known(m),
            latest=_known(float(past.mean[i, -1])),
            censored=bool(capped[i]),
            age_s=float(ages[i]),
        )
        for i, (w, h, m) in enumerate(zip(window.tolist(), low.tolist(), wanted.tolist(), strict=True))
    ]


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
