"""What was measured lately, for all servers at once: the "seen" half of "seen and predicted"."""

from collections.abc import Mapping, Sequence
from math import ceil, isfinite

import numpy as np

from foreshape_controller.decide.size import Seen
from foreshape_controller.model.history import Floats, History
from foreshape_controller.model.server import Server
from foreshape_wire.sample import VmSample

WINDOW = 6
"""Bins of "the last half-hour"."""

CENSORED_SHARE = 0.1
"""A bin with this share of its samples at the cap says too little about demand."""


def observe(history: History, holds_s: Mapping[str, float], servers: Sequence[Server], now: float) -> Mapping[str, Seen]:
    """What is known of each server that has a series; ``holds_s``: hold time by server."""
    row = {name: i for i, name in enumerate(history.series)}
    window = _largest(history.max, WINDOW).tolist()
    capped = (np.nan_to_num(_largest(history.censored, WINDOW)) >= CENSORED_SHARE).tolist()
    bins = {hold: ceil(hold / history.step_s) + 1 for hold in set(holds_s.values())}
    held = {hold: _largest(history.mean, n).tolist() for hold, n in bins.items()}
    wanted = {hold: _largest(history.max, n).tolist() for hold, n in bins.items()}
    ages = np.nan_to_num(now - history.first_seen).tolist()
    return {
        s.id: _seen(history.resource, s, (window[i], held[holds_s[s.id]][i], wanted[holds_s[s.id]][i]), capped[i], ages[i])
        for s in servers
        if (i := row.get(s.id)) is not None
    }


def _seen(resource: str, server: Server, peaks: tuple[float, float, float], capped: bool, age_s: float) -> Seen:
    window_peak, hold_peak, hold_max = (_known(p) for p in peaks)
    latest, censored, confidence = _latest(resource, server.last)
    return Seen(
        window_peak=window_peak,
        hold_peak=hold_peak,
        hold_max=hold_max,
        latest=latest,
        censored=capped or censored,
        confidence=confidence,
        age_s=max(0.0, age_s),
        overhead=_overhead(resource, server.last),
    )


def _overhead(resource: str, last: VmSample | None) -> float:
    """What is in use beside the demand: forecasts speak of demand, allocations hold both."""
    if resource != "memory" or last is None or last.memory is None:
        return 0.0
    return (last.memory.in_use - last.memory.demand).mib


def _latest(resource: str, last: VmSample | None) -> tuple[float | None, bool, float]:
    """Demand, whether it ran into its cap, and how far it can be trusted, from the newest sample."""
    if resource == "cpu" and last and last.cpu:
        return last.cpu.demand.cores, last.cpu.censored, last.cpu.confidence
    if resource == "memory" and last and last.memory:
        return last.memory.in_use.mib, last.memory.censored, last.memory.confidence
    return None, False, 0.0


def _largest(values: Floats, bins: int) -> Floats:
    """Largest of the last bins of each row, gaps left out: [n]; NaN where all are gaps."""
    largest: Floats = np.fmax.reduce(values[:, -max(1, bins) :], axis=1, initial=np.nan)
    return largest


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
