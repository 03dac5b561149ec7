"""What a tier may say: every mistake of its text found at once, each in a sentence that names the tier and the key. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from foreshape_controller.model.tier import Price, ResourceRules, Tier

DAY = 86400.0
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "weight": (0.01, 1000),
        "dead_band": (0, 0.9),
        "criticality": (0.01, 100),
        "throttle_order": (0, 1000),
        "migrate_order": (0, 1000),
        "violation_target": (0.0001, 0.5),
        "reflex_growth": (1.05, 10),
        "reflex_headroom": (1, 10),
        "quantile": (0.5, 0.99),
        "floor_share": (0, 1),
        "floor_least": (0, 1e9),
        "hold_s": (0, 30 * DAY),
        "shrink_step_share": (0.001, 1),
        "young_s": (0, 365 * DAY),
        "margin_share": (0, 10),
        "ceiling_share": (0, 64),
        "step_s": (0, 30 * DAY),
        "shrink_band": (0, 0.9),
        "headroom": (0.25, 4),
        "cpu_core": (0, 1e9),
        "memory_gib": (0, 1e9),
        "burst_cpu_core": (0, 1e9),
        "burst_memory_gib": (0, 1e9),
    }
)
"""By key: least and most that makes sense; the same key means the same everywhere."""

_T = TypeVar("_T", Tier, ResourceRules, Price)


@dataclass
class Findings:
    """What is wrong with a text, collected while it is read."""

    problems: list[str] = field(default_factory=list)
    """Each forbids its use."""
    warnings: list[str] = field(default_factory=list)
    """Allowed, and hardly meant."""


def part(value: Any, where: str, known: Sequence[str], found: Findings) -> dict[str, Any]:
    """The mapping that stands here, without the keys that nobody knows; empty where it is none."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
        found.problems.append(f"{where}: keys and values are wanted here, not {value!r}")
        return {}
    for key in (k for k in value if k not in known):
        near = get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        found.problems.append(f"{where}: unknown key {key!r}; {hint}")
    return {k: v for k, v in value.items() if k in known}


def number(value: Any, key: str, where: str, found: Findings, limits: tuple[float, float] | None = None) -> float | None:
    """A number within the key's range; None, and a problem, for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        found.problems.append(f"{where}: {key} is {value!r}: a number is wanted")
        return None
    least, most = limits or RANGES[key]
    if not least <= value <= most:  # NaN fails every comparison
        found.problems.append(f"{where}: {key} is {value:g}: it must lie between {least:g} and {most:g}")
        return None
    return float(value)


def read_tier(name: str, body: Any, base: Tier, found: Findings) -> Tier:
    """The tier that a text describes, on top of another one's values; what is wrong keeps the base's."""
    tier = msgspec.structs.replace(_read(Tier, body, base, f"tier {name}", found), name=name)
    found.problems.extend(contradictions(tier))
    return tier


def _read(kind: type[_T], body: Any, base: _T, where: str, found: Findings) -> _T:
    fields = {f.name: f.type for f in msgspec.structs.fields(kind) if f.name != "name"}
    given = part(body, where, tuple(fields), found)
    values = {k: _value(fields[k], v, getattr(base, k), (k, where), found) for k, v in given.items()}
    return msgspec.structs.replace(base, **values)


def _value(kind: Any, value: Any, base: Any, place: tuple[str, str], found: Findings) -> Any:
    """One value of the kind its field has; the base's where it is wrong."""
    key, where = place
    if kind in (ResourceRules, Price):
        return _read(kind, value, base, f"{where}, {key}", found)
    if kind is bool:
        if not isinstance(value, bool):
            found.problems.append(f"{where}: {key} is {value!r}: write true or false")
        return value if isinstance(value, bool) else base
    if kind is int and isinstance(value, float):
        found.problems.append(f"{where}: {key} is {value:g}: a whole number is wanted")
        return base
    read = number(value, key, where, found)
    return base if read is None else kind(read)


# -- what fits each key, and does not fit together --------------------------------------------------------------------


def contradictions(tier: Tier) -> Iterator[str]:
    """Keys of one tier that cannot hold together."""
    if tier.may_reclaim and not tier.may_shrink:
        yield f"tier {tier.name}: may_reclaim is true and may_shrink false: what never shrinks cannot be reclaimed"
    for name, rules in (("cpu", tier.cpu), ("memory", tier.memory)):
        yield from (f"tier {tier.name}, {name}: {problem}" for problem in _of_rules(rules))


def _of_rules(rules: ResourceRules) -> Iterator[str]:
    if 0 < rules.ceiling_share < rules.floor_share:
        yield f"floor_share {rules.floor_share:g} is above ceiling_share {rules.ceiling_share:g}: the floor is the lower of the two"
    if rules.hold_s < rules.step_s:
        yield f"hold_s {rules.hold_s:g} is below step_s {rules.step_s:g}: what was wanted between two steps would be forgotten"


def oddities(tiers: Mapping[str, Tier]) -> Iterator[str]:
    """What is allowed, and hardly meant: a tier that is to give later than another one, and is promised less."""
    for high in tiers.values():
        for low in (t for t in tiers.values() if t.throttle_order < high.throttle_order):
            yield from _less(high, low)
    for tier in tiers.values():
        yield from _fixed(tier)
        yield from _priced(tier.name, tier.price)


def _less(high: Tier, low: Tier) -> Iterator[str]:
    pair = f"tier {high.name} gives after {low.name}"
    for name, a, b in (("cpu", high.cpu, low.cpu), ("memory", high.memory, low.memory)):
        if a.floor_share < b.floor_share:
            yield f"{pair}, but its {name} floor_share {a.floor_share:g} is below {b.floor_share:g}"
    if high.weight * high.criticality < low.weight * low.criticality:
        yield f"{pair}, but its weight × criticality {high.weight * high.criticality:g} is below {low.weight * low.criticality:g}"


def _fixed(tier: Tier) -> Iterator[str]:
    for name, rules in (("cpu", tier.cpu), ("memory", tier.memory)):
        where = f"tier {tier.name}, {name}"
        if rules.floor_share == rules.ceiling_share:
            yield f"{where}: floor and ceiling are both {rules.floor_share:g} of what was sold: its quantile chooses nothing"
        elif rules.floor_share >= 1:
            yield f"{where}: floor_share is 1: its quantile chooses only above what was sold"


def _priced(name: str, price: Price) -> Iterator[str]:
    """Zeros, as older samples of the file have them, say nothing."""
    if price != Price():
        yield (
            f"tier {name}: price is deprecated, and counts only until the rate file ([pricing] rates_file) names a currency: "
            "write the rates there (docs/pricing.md), then take price out"
        )
