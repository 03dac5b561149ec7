"""Segments and zones: which servers and hosts belong to which. The text of segments.yaml, checked as a whole. Pure.

A segment is a list of rules; a server belongs to it when one of them matches, and a rule matches when all that it names does.
Patterns are shell patterns (``*``, ``?``, ``[ab]``), case counts. A server may belong to several segments, or to none; a host is
in the zone of the first pattern that matches it, else in Nova's availability zone where a cloud is configured, else in the default.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

import msgspec

from foreshape_controller.decide.text import mapping, only, read_yaml
from foreshape_controller.errors import ConfigError
from foreshape_controller.model.group import Groups, Member, group_series

FILE = "segments.yaml"
LONGEST_NAME = 100


class SegmentRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"workload": "class"}):
    """Servers that match every pattern given."""

    project: str | None = None
    """Project's id."""
    flavor: str | None = None
    image: str | None = None
    name: str | None = None
    host: str | None = None
    tier: str | None = None
    workload: str | None = None
    """Workload class, declared or inferred: ``class`` in the file."""
    az: str | None = None
    """Nova's availability zone; nobody has one where no cloud is configured."""
    aggregate: str | None = None
    """Any of its host's aggregates in Nova."""

    def matches(self, member: Member, workload: str) -> bool:
        has = (member.project, member.flavor, member.image, member.name, member.host, member.tier, workload, member.zone)
        wanted = (self.project, self.flavor, self.image, self.name, self.host, self.tier, self.workload, self.az)
        if not all(w is None or fnmatchcase(h, w) for w, h in zip(wanted, has, strict=True)):
            return False
        return self.aggregate is None or any(fnmatchcase(a, self.aggregate) for a in member.aggregates)

    @property
    def empty(self) -> bool:
        return all(getattr(self, name) is None for name in self.__struct_fields__)


class ZoneRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hosts that match a pattern are in a zone."""

    zone: str
    host: str


class Segments(msgspec.Struct, frozen=True, kw_only=True):
    """All segments and zones."""

    segments: Mapping[str, tuple[SegmentRule, ...]] = MappingProxyType({})
    zones: tuple[ZoneRule, ...] = ()
    """The first that matches a host wins."""
    default_zone: str = "nova"

    def of(self, member: Member, workload: str = "") -> tuple[str, ...]:
        """Names of the segments that a server belongs to."""
        return tuple(name for name, rules in self.segments.items() if any(r.matches(member, workload) for r in rules))

    def zone(self, host: str, novas: str = "") -> str:
        """``novas``: the availability zone that Nova has it in, where that is known."""
        return next((r.zone for r in self.zones if fnmatchcase(host, r.host)), novas or self.default_zone)


BUILT_IN = Segments()


def grouped(members: Iterable[Member], rules: Segments, classes: Mapping[str, str]) -> Groups:
    """The groups of every server: its host, project, zone and segments. ``classes``: workload classes by server, where known."""
    zones: dict[tuple[str, str], str] = {}
    found = {}
    for m in members:
        place = (m.host, m.zone)
        zone = zones.get(place) or zones.setdefault(place, rules.zone(*place))
        named = [("host", m.host), ("project", m.project), ("zone", zone)]
        named += [("segment", s) for s in rules.of(m, classes.get(m.id, ""))]
        found[m.id] = tuple(group_series(kind, name) for kind, name in named if name)
    return Groups(found)


def load_segments(text: str) -> Segments:
    """Read segments.yaml; empty text gives no segment, and one zone. Raises ConfigError naming the place and the key."""
    content = read_yaml(text, FILE)
    only(content, ("segments", "zones"), FILE)
    zones = mapping(content.get("zones"), "zones")
    only(zones, ("default", "assign"), "zones")
    named = mapping(content.get("segments"), "segments")
    default = zones.get("default", BUILT_IN.default_zone)
    return Segments(
        segments={_name(name, "segments"): _rules(body, f"segment {name}") for name, body in named.items()},
        zones=_zones(zones.get("assign")),
        default_zone=_name(default, "zones, default"),
    )


# -- reading ----------------------------------------------------------------------------------------------------------


def _name(value: Any, where: str) -> str:
    if isinstance(value, str) and value.strip() and len(value) <= LONGEST_NAME and value.isprintable() and "/" not in value:
        return value
    raise ConfigError(f"{where}: {value!r} is no name: 1 to {LONGEST_NAME} printable characters without a slash are wanted")


def _rules(value: Any, where: str) -> tuple[SegmentRule, ...]:
    try:
        rules = msgspec.convert(value or [], tuple[SegmentRule, ...])
    except msgspec.ValidationError as e:
        raise ConfigError(f"{where}: {e}; a list of rules is wanted, each naming {', '.join(_known())}") from e
    if not rules:
        raise ConfigError(f"{where}: it has no rule, so that nobody would belong to it")
    for number, rule in enumerate(rules, 1):
        if rule.empty:
            raise ConfigError(f"{where}, rule {number}: it names nothing; write name: '*' where every server is meant")
    return rules


def _known() -> tuple[str, ...]:
    return SegmentRule.__struct_encode_fields__


def _zones(value: Any) -> tuple[ZoneRule, ...]:
    try:
        rules = msgspec.convert(value or [], tuple[ZoneRule, ...])
    except msgspec.ValidationError as e:
        raise ConfigError(f"zones, assign: {e}; a list of rules is wanted, each naming zone and host") from e
    for number, rule in enumerate(rules, 1):
        _name(rule.zone, f"zones, assign, rule {number}")
    return rules
