"""What a plan takes of foresight: the newest forecasts that are there, whoever made them, and who belongs where now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from foreshape_controller.decide.segments import Segments, grouped
from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.group import Groups, Member
from foreshape_controller.model.server import ClusterView

Forecasts: TypeAlias = Mapping[str, Forecast]
"""By resource."""


@dataclass(frozen=True, eq=False)
class Ahead:
    """Everything at one instant."""

    servers: Forecasts = field(default_factory=dict)
    whole: Forecasts = field(default_factory=dict)
    """Of hosts, projects, segments and zones."""
    groups: Groups = field(default_factory=Groups)
    """Of the servers of the view that was asked with."""


class Belonging:
    """The groups of one view's servers after the other's. Only who is new or has changed is looked at: rules are many, changes few."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        self._known: dict[str, tuple[tuple[object, ...], tuple[str, ...]]] = {}

    def of(self, view: ClusterView, classes: Mapping[str, str]) -> Groups:
        """``classes``: workload classes by server."""
        told = {
            s.id: (s.host, s.name, s.project, s.flavor, s.image, s.tier, classes.get(s.id, ""), s.zone, s.aggregates) for s in view.servers
        }
        changed = [s for s in view.servers if s.id not in self._known or self._known[s.id][0] != told[s.id]]
        found = grouped(map(Member.of, changed), self._segments, classes).of
        fresh = {s.id: (told[s.id], found[s.id]) for s in changed}
        self._known = {s.id: fresh.get(s.id) or self._known[s.id] for s in view.servers}
        return Groups({server: names for server, (_, names) in self._known.items()})
