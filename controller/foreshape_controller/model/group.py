"""Groups of servers that are forecast directly: hosts, projects, segments, zones. A group's series is called ``KIND:NAME``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from foreshape_controller.model.kinds import GROUPS
from foreshape_controller.model.server import Server


@dataclass(frozen=True)
class Member:
    """A server as its groups see it; also one that has left, which counts in its groups' past."""

    id: str
    host: str
    """The last one it was on."""
    name: str
    project: str
    flavor: str
    image: str
    tier: str
    first_seen: float
    until: float | None = None
    """When it left, epoch seconds; None while it is there."""
    zone: str = ""
    """Nova's; empty: not known."""
    aggregates: tuple[str, ...] = ()

    @classmethod
    def of(cls, s: Server) -> "Member":
        return cls(s.id, s.host, s.name, s.project, s.flavor, s.image, s.tier, s.first_seen, None, s.zone, s.aggregates)


@dataclass(frozen=True)
class Groups:
    """Who belongs where, at one instant."""

    of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By server id: the names of its groups' series (``host:h1``, ``project:p``, ``segment:web``, ``zone:nova``)."""

    @cached_property
    def members(self) -> Mapping[str, tuple[str, ...]]:
        """By group's series: ids of its servers."""
        found: dict[str, list[str]] = {}
        for server, names in self.of.items():
            for name in names:
                found.setdefault(name, []).append(server)
        return {name: tuple(servers) for name, servers in found.items()}

    def only(self, servers: Iterable[str]) -> "Groups":
        """The same for these servers alone."""
        return Groups({s: self.of[s] for s in servers if s in self.of})


def group_series(kind: str, name: str) -> str:
    """The name of a group's series."""
    assert kind in GROUPS
    return f"{kind}:{name}"
