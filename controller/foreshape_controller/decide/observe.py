"""What was measured lately, for all servers at once: the "seen" half of "seen and predicted"."""

from collections.abc import Callable, Sequence
from math import ceil

import numpy as np

from foreshape_controller.decide.facts import Seen
from foreshape_controller.decide.peak import WINDOW
from foreshape_controller.model.columns import Column, Flags, Rows
from foreshape_controller.model.history import Floats, History
from foreshape_controller.model.server import Server
from foreshape_wire.sample import VmSample

CENSORED_SHARE = 0.1
"""A bin with this share of its samples at the cap says too little about demand."""

SEEN_SHARE = 0.5
"""Of the hold time so much was measured at least, since the server is known: after an outage a few quiet minutes are no quiet hours."""


def observe(resource: str, history: History | None, holds_s: Column, servers: Sequence[Server], now: float) -> Seen:
    """What is known of each server; ``holds_s`` [n]: its hold time. A server without a series was not measured."""
    latest, censored, confidence, overhead = _samples(resource, servers)
    if history is None or not history.series:
        return _unseen(latest, censored, confidence, overhead)
    row = {name: i for i, name in enumerate(history.series)}
    rows = np.asarray([row.get(s.id, -1) for s in servers], np.intp)
    there = rows >= 0
    capped = np.nan_to_num(_largest(history.censored, WINDOW)) >= CENSORED_SHARE
    ages = np.nan_to_num(now - history.first_seen)
    return Seen(
        window_peak=_taken(_largest(history.max, WINDOW), rows),
        hold_peak=np.where(_mostly_seen(history, holds_s, rows, ages), _of_holds(history.mean, history.step_s, holds_s, rows), np.nan),
        hold_max=_of_holds(history.max, history.step_s, holds_s, rows),
        latest=latest,
        censored=censored | (there & capped[rows]),
        confidence=confidence,
        age_s=np.where(there, np.maximum(0.0, ages[rows]), 0.0),
        overhead=overhead,
    )


def _unseen(latest: Column, censored: Flags, confidence: Column, overhead: Column) -> Seen:
    unknown = np.full(len(latest), np.nan)
    return Seen(unknown, unknown, unknown, latest, censored, confidence, np.zeros(len(latest)), overhead)


def _of_holds(values: Floats, step_s: int, holds_s: Column, rows: Rows) -> Column:
    """[n]: the largest of each server's own hold time."""
    found = np.full(len(rows), np.nan)
    for hold in np.unique(holds_s).tolist():
        mine = holds_s == hold
        found[mine] = _taken(_largest(values, ceil(hold / step_s) + 1), rows)[mine]
    return found


def _mostly_seen(history: History, holds_s: Column, rows: Rows, ages: Column) -> Flags:
    """[n]: whether enough of each server's hold time was measured; what was before it was first seen is not missing."""
    known = np.cumsum(np.isfinite(history.mean[:, ::-1]), axis=1)  # [:, k]: of the last k + 1 bins
    bins = np.minimum(np.ceil(holds_s / history.step_s) + 1, history.bins)
    due = np.minimum(bins, ages[rows] / history.step_s)
    found: Flags = known[rows, bins.astype(np.intp) - 1] >= SEEN_SHARE * due
    return found


def _taken(values: Column, rows: Rows) -> Column:
    """[n]: each server's value, NaN where it has no series or the value is none."""
    return np.where((rows >= 0) & np.isfinite(values[rows]), values[rows], np.nan)


def _largest(values: Floats, bins: int) -> Column:
    """Largest of the last bins of each row, gaps left out: [n]; NaN where all are gaps."""
    largest: Column = np.fmax.reduce(values[:, -max(1, bins) :], axis=1, initial=np.nan).astype(np.float64)
    return largest


# -- newest samples ---------------------------------------------------------------------------------------------------

_Told = tuple[float, bool, float, float]
_NOTHING: _Told = (np.nan, False, 0.0, 0.0)


def _samples(resource: str, servers: Sequence[Server]) -> tuple[Column, Flags, Column, Column]:
    """Demand, whether it ran into its cap, how far it can be trusted, and what is in use beside it. Each [n]."""
    tell: Callable[[VmSample], _Told] = _cpu if resource == "cpu" else _memory
    told = np.asarray([tell(s.last) if s.last else _NOTHING for s in servers], np.float64).reshape(len(servers), 4)
    return told[:, 0].copy(), told[:, 1] > 0, told[:, 2].copy(), told[:, 3].copy()


def _cpu(last: VmSample) -> _Told:
    return (last.cpu.demand.cores, last.cpu.censored, last.cpu.confidence, 0.0) if last.cpu else _NOTHING


def _memory(last: VmSample) -> _Told:
    """Forecasts speak of demand, allocations hold also what the guest's kernel keeps."""
    m = last.memory
    if m is None:
        return _NOTHING
    in_use = m.in_use.mib
    return in_use, m.censored, m.confidence, in_use - m.demand.mib
