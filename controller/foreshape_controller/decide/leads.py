"""Lead times: how long before a rise a growth has to be decided, learned per lever and host from what came of orders.

The lead of a lever on a host is the 95 % quantile of what guests there waited for a growth: from the order to its proof. Few
pulls say little, so that the host's quantile is drawn toward the fleet's, and the fleet's toward a stated default, each as if
``DRAWN`` pulls more had been seen of it:

    lead(host) = (n·q_host + DRAWN·lead(fleet)) / (n + DRAWN)        lead(fleet) = (m·q_fleet + DRAWN·default) / (m + DRAWN)
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.pull import Pull
from foreshape_controller.model.server import Server
from foreshape_wire.reading import LeverName

QUANTILE = 0.95
DRAWN = 20.0
"""Pulls that the wider experience weighs as much as."""

LONGEST_S = 1800.0
"""A forecast of the next half-hour cannot look further."""

DEFAULTS: Mapping[LeverName, float] = {
    LeverName.CPU_QUOTA: 30.0,
    LeverName.CPU_GUEST: 45.0,
    LeverName.CPU_HOTPLUG: 60.0,
    LeverName.MEM_BALLOON: 60.0,
    LeverName.MEM_VIRTIO: 90.0,
}
"""Before any order was carried out: two reports of ten seconds until the agent has it and it is proven, and the lever's own time."""


@dataclass(frozen=True)
class Leads:
    """Seconds by lever, for the fleet and for hosts that have pulls of their own."""

    fleet: Mapping[LeverName, float] = field(default_factory=lambda: DEFAULTS)
    hosts: Mapping[tuple[LeverName, str], float] = field(default_factory=dict)

    def of(self, lever: LeverName, host: str) -> float:
        return self.hosts.get((lever, host), self.fleet[lever])


@dataclass(frozen=True)
class LeverFigures:
    """How one lever did in one direction; quantiles in seconds, None where nothing was applied."""

    lever: LeverName
    grew: bool
    pulls: int
    failed: int
    median_s: float | None
    p95_s: float | None
    own_p95_s: float | None
    """Of what the lever itself needed, the way to the agent left out."""


def learn(pulls: Iterable[Pull], pace: float = 1.0) -> Leads:
    """Lead times from growths that were applied; the rest says nothing about when a guest has its size.

    ``pace``: how long a bin lasts, of five minutes. On a bed with compressed time the defaults are as short as everything there.
    """
    by_lever: dict[LeverName, list[float]] = defaultdict(list)
    by_host: dict[tuple[LeverName, str], list[float]] = defaultdict(list)
    for p in pulls:
        if p.applied and p.grew and p.lever in DEFAULTS and _sound(p.waited_s):
            by_lever[p.lever].append(p.waited_s)
            by_host[p.lever, p.host].append(p.waited_s)
    fleet = {lever: _drawn(by_lever.get(lever, ()), pace * default) for lever, default in DEFAULTS.items()}
    return Leads(fleet, {key: _drawn(waited, fleet[key[0]]) for key, waited in by_host.items()})


def leads_of(servers: Iterable[Server], leads: Leads) -> Mapping[str, Mapping[str, float]]:
    """By resource and server: the slowest of the levers it has; a server without one is not in it."""
    found: dict[str, dict[str, float]] = {r: {} for r in RESOURCES}
    for s in servers:
        for c in s.capabilities:
            if c.usable and c.lever in DEFAULTS:
                of = found[c.lever.resource]
                of[s.id] = max(of.get(s.id, 0.0), leads.of(c.lever, s.host))
    return found


def figures(pulls: Sequence[Pull]) -> tuple[LeverFigures, ...]:
    """One row per lever and direction that was pulled, in the order of the levers, growth first."""
    rows = []
    for lever in LeverName:
        for grew in (True, False):
            mine = [p for p in pulls if p.lever is lever and p.grew is grew]
            if mine:
                rows.append(_figures(lever, grew, mine))
    return tuple(rows)


def _figures(lever: LeverName, grew: bool, pulls: Sequence[Pull]) -> LeverFigures:
    waited = [p.waited_s for p in pulls if p.applied and _sound(p.waited_s)]
    took = [p.took_s for p in pulls if p.applied and _sound(p.took_s)]
    return LeverFigures(
        lever=lever,
        grew=grew,
        pulls=len(pulls),
        failed=sum(not p.applied for p in pulls),
        median_s=_quantile(waited, 0.5) if waited else None,
        p95_s=_quantile(waited, QUANTILE) if waited else None,
        own_p95_s=_quantile(took, QUANTILE) if took else None,
    )


def _drawn(waited: Sequence[float], toward: float) -> float:
    """A quantile of few, drawn toward that of many; never longer than a forecast can look."""
    n = len(waited)
    lead = toward if n == 0 else (n * _quantile(waited, QUANTILE) + DRAWN * toward) / (n + DRAWN)
    return min(LONGEST_S, lead)


def _quantile(values: Sequence[float], level: float) -> float:
    """Of few values the larger neighbour: a lead that is too long costs little."""
    return float(np.quantile(np.asarray(values, np.float64), level, method="higher"))


def _sound(seconds: float) -> bool:
    return bool(np.isfinite(seconds)) and seconds >= 0
