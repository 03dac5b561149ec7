"""Who gives and who takes on hosts that are short: from segments forecast low to segments forecast high (domain.md §5). Pure.

A segment is forecast as a whole, and its members do not peak together: the sum of their targets is more than the segment will
need. What is above is spare, and goes first when a host is short:

    spare of a segment = max(0, Σ targets of its members − the segment's own peak, at SAFE, over the next AHEAD half-hours)

It is spread over its members in proportion to their headroom (target − expected use), so that no expected use is ever in it. A
segment that is forecast high has no spare: its members keep their headroom, and take what the others give. A server of
several segments has the least that any of them allows; one of none has none.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from foreshape_controller.decide.peak import at_quantile
from foreshape_controller.model.columns import Column, Rows
from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.group import Groups
from foreshape_controller.model.kinds import kind_of
from foreshape_controller.model.need import Transfer

SAFE = 0.95
"""Quantile of the segment's peak that its members keep together."""

AHEAD = 6
"""Half-hours: as long as CPU is held before it shrinks."""

LEAST = 1e-6
"""Less than this is no transfer."""


def spares(ids: Sequence[str], groups: Groups, forecast: Forecast | None, target: Column, used: Column) -> Column:
    """[n]: what each server's segments can spare of its target."""
    least = np.full(len(ids), np.inf)
    head = np.maximum(0.0, target - used)
    for rows, need in _segments(ids, groups, forecast):
        room = head[rows].sum()
        spare = min(room, max(0.0, float(target[rows].sum()) - need))
        part = head[rows] * (spare / room) if room > 0 else np.zeros(len(rows))
        least[rows] = np.minimum(least[rows], part)
    return np.where(np.isfinite(least), least, 0.0)


def _segments(ids: Sequence[str], groups: Groups, forecast: Forecast | None) -> Iterator[tuple[Rows, float]]:
    """Rows of the members, and what all members need together, of each segment that is forecast."""
    named = [] if forecast is None else [(k, name) for k, name in enumerate(forecast.series) if kind_of(name) == "segment"]
    if forecast is None or not named:
        return
    row = {name: i for i, name in enumerate(ids)}
    for k, name in named:
        rows = np.asarray([row[m] for m in groups.members.get(name, ()) if m in row], np.intp)
        need = _peak(forecast, k)
        if len(rows) and np.isfinite(need):
            yield rows, need


def _peak(forecast: Forecast, row: int) -> float:
    fans = np.concatenate([forecast.peak30m[row : row + 1], forecast.half_hours[row, 1:AHEAD]]).astype(np.float64)
    return float(at_quantile(fans, np.full(len(fans), SAFE)).max())


# -- who gave, who got ------------------------------------------------------------------------------------------------


def party(server: str, tier: str, groups: Groups) -> str:
    """Whom a server counts as: its first segment, else its tier."""
    return next((g for g in groups.of.get(server, ()) if kind_of(g) == "segment"), f"tier:{tier}")


def transfers(resource: str, hosts: Sequence[str], parties: Sequence[str], given: Column, awaited: Column) -> tuple[Transfer, ...]:
    """What is given on each host, spread over those who wait for it there. Rows are servers; amounts ≥ 0."""
    takers = _summed(hosts, parties, awaited)
    found = []
    for host, givers in _summed(hosts, parties, given).items():
        waiting = takers.get(host, {})
        total = sum(waiting.values())
        found += [
            Transfer(host=host, resource=resource, giver=giver, taker=taker, amount=amount * much / total)
            for giver, amount in givers.items()
            for taker, much in waiting.items()
        ]
    return tuple(found)


def _summed(hosts: Sequence[str], parties: Sequence[str], amounts: Column) -> Mapping[str, Mapping[str, float]]:
    """By host and party."""
    found: dict[str, dict[str, float]] = {}
    for i in np.flatnonzero(amounts > LEAST).tolist():
        mine = found.setdefault(hosts[i], {})
        mine[parties[i]] = mine.get(parties[i], 0.0) + float(amounts[i])
    return found
