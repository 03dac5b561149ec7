"""What is left when a host has shared all it has: somebody must leave it, by then (domain.md §5). Pure.

A host needs a migration of one resource where

* somebody's expected use is not met by its share, although shadow servers, segments and lower tiers gave what they could; or
* by the host's own forecast, P(demand > capacity) > ε in a half-hour that is near enough to act on.

    deadline = start of the shortage − seconds of a migration      seconds = SETUP_S + COPIED · RAM / rate

but never before now. Who goes is another's decision; here are the candidates, in the order in which their tiers are moved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foreshape_controller.decide.risk import Risks
from foreshape_controller.model.columns import Column, Flags, Rows
from foreshape_controller.model.need import Candidate, Need

SETUP_S = 10.0
"""Scheduling, claims, and the first and last moments of a migration."""

COPIED = 1.3
"""A running guest's memory is copied this many times, for it changes meanwhile."""

MOST = 10
"""Candidates that are named."""

LEAST = {"cpu": 0.05, "memory": 16.0}
"""Less than this (cores, MiB) is no reason to move anybody."""


@dataclass(frozen=True, eq=False)
class Movable:
    """n servers as somebody who looks for one to move sees them. Columns are [n]."""

    ids: Sequence[str]
    tiers: Sequence[str]
    host: Rows
    """-1: unknown."""
    order: Column
    """Migrate order of the tier: lower goes first."""
    may: Flags
    """It runs, and nothing halts it."""
    relief: Column
    """What its host would have back: what it uses or is expected to use."""
    ram: Column
    """MiB that would have to be copied."""


def seconds(ram_mib: float, rate_mib_s: float) -> float:
    """How long a migration is expected to take."""
    return SETUP_S + COPIED * ram_mib / max(rate_mib_s, 1e-3)


@dataclass(frozen=True)
class Asked:
    """One question for needs."""

    resource: str
    hosts: Sequence[str]
    now: float
    rate_mib_s: float
    eps: float


def needs(asked: Asked, unmet: Column, risks: Risks, movable: Movable) -> tuple[Need, ...]:
    """``unmet`` [n]: use that the share does not cover. One need at most for every host."""
    known = movable.host >= 0
    short = np.bincount(movable.host[known], unmet[known], len(asked.hosts))
    amount = np.maximum(short, np.where(np.isfinite(risks.starts), risks.amount, 0.0))
    there = np.flatnonzero(known & movable.may & (movable.relief > 0))
    there = there[np.argsort(movable.host[there], kind="stable")]
    first = np.searchsorted(movable.host[there], np.arange(len(asked.hosts) + 1))
    return tuple(
        _need(asked, h, float(short[h]), risks, _candidates(asked, there[first[h] : first[h + 1]], movable))
        for h in np.flatnonzero(amount >= LEAST[asked.resource]).tolist()
    )


def _need(asked: Asked, h: int, short: float, risks: Risks, found: tuple[Candidate, ...]) -> Need:
    risky = bool(np.isfinite(risks.starts[h]))
    ahead = float(risks.amount[h]) if risky else 0.0
    here = short >= LEAST[asked.resource]
    starts = asked.now if here else float(risks.starts[h])
    longest = max((c.seconds for c in found), default=SETUP_S)
    return Need(
        host=asked.hosts[h],
        resource=asked.resource,
        amount=max(short, ahead),
        starts=starts,
        deadline=max(asked.now, starts - longest),
        probability=float(risks.worst[h]) if np.isfinite(risks.worst[h]) else 0.0,
        candidates=found,
        reason=_reason(asked, short if here else 0.0, ahead, float(risks.worst[h]), found),
    )


def _candidates(asked: Asked, rows: Rows, movable: Movable) -> tuple[Candidate, ...]:
    """Lower migrate orders first; among equals the most relief for a second of migration. ``rows``: of one host."""
    took = {i: seconds(float(movable.ram[i]), asked.rate_mib_s) for i in rows.tolist()}
    best = sorted(took, key=lambda i: (movable.order[i], -movable.relief[i] / took[i], movable.ids[i]))
    return tuple(
        Candidate(server=movable.ids[i], tier=movable.tiers[i], relief=float(movable.relief[i]), seconds=took[i]) for i in best[:MOST]
    )


_UNITS: Mapping[str, tuple[str, int]] = {"cpu": ("cores", 2), "memory": ("MiB", 0)}


def _reason(asked: Asked, short: float, ahead: float, worst: float, found: Sequence[Candidate]) -> str:
    unit, digits = _UNITS[asked.resource]
    said = []
    if short > 0:
        said.append(f"{short:.{digits}f} {unit} that are used find no room, although lower tiers are at their floors")
    if ahead > 0:
        said.append(f"demand is above what the host has with {worst:.1%} chance ({asked.eps:.1%} allowed), by {ahead:.{digits}f} {unit}")
    if not found:
        said.append("nobody on it can be moved")
    return "; ".join(said)
