"""Tiers (SLA classes) and which server belongs to which: the text of tiers.yaml, checked as a whole.

A tier of the file that is built in changes only the keys it names; a new tier starts from ``standard``.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from foreshape_controller.decide.text import mapping, only, read_yaml
from foreshape_controller.errors import ConfigError
from foreshape_controller.model.server import Server
from foreshape_controller.model.tier import Granules, ResourceRules, Tier
from foreshape_wire.quantity import Cores, Memory

HOUR = 3600.0


def _cpu(quantile: float, floor_share: float, shrink_step_share: float) -> ResourceRules:
    return ResourceRules(
        quantile=quantile,
        floor_share=floor_share,
        floor_least=0.1,
        hold_s=3 * HOUR,
        shrink_step_share=shrink_step_share,
        young_s=6 * HOUR,
    )


def _memory(quantile: float, floor_share: float, margin_share: float) -> ResourceRules:
    return ResourceRules(
        quantile=quantile,
        floor_share=floor_share,
        floor_least=256.0,
        hold_s=6 * HOUR,
        shrink_step_share=0.05,
        young_s=24 * HOUR,
        margin_share=margin_share,
    )


DEFAULTS: Mapping[str, Tier] = {
    "guaranteed": Tier(
        name="guaranteed",
        weight=4.0,
        may_shrink=True,
        cpu=_cpu(0.99, 0.5, 0.25),
        memory=_memory(0.99, 0.75, 0.30),
        throttle_order=3,
        migrate_order=3,
        violation_target=0.005,
    ),
    "standard": Tier(
        name="standard", weight=2.0, may_shrink=True, cpu=_cpu(0.95, 0.1, 0.5), memory=_memory(0.95, 0.15, 0.20), violation_target=0.01
    ),
    "economy": Tier(
        name="economy",
        weight=1.0,
        may_shrink=True,
        cpu=_cpu(0.90, 0.05, 0.5),
        memory=_memory(0.90, 0.10, 0.15),
        throttle_order=1,
        migrate_order=1,
        violation_target=0.02,
        may_reclaim=True,
    ),
}


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Servers that match every key given belong to the tier."""

    tier: str
    server: str | None = None
    project: str | None = None
    flavor: str | None = None

    def matches(self, server: Server) -> bool:
        return all(
            wanted is None or wanted == has
            for wanted, has in ((self.server, server.id), (self.project, server.project), (self.flavor, server.flavor))
        )


class Tiers(msgspec.Struct, frozen=True, kw_only=True):
    """All tiers, and the rules that assign servers to them: the first that matches wins."""

    tiers: Mapping[str, Tier]
    rules: tuple[Rule, ...] = ()
    default: str = "standard"
    granules: Granules = Granules()

    def of(self, server: Server) -> Tier:
        """The tier of a server: a rule, else the tier it carries, else the default."""
        named = next((r.tier for r in self.rules if r.matches(server)), server.tier)
        return self.tiers.get(named) or self.tiers[self.default]


BUILT_IN = Tiers(tiers=DEFAULTS)


def load_tiers(text: str) -> Tiers:
    """Read tiers.yaml; empty text gives the built-in tiers. Raises ConfigError naming the tier and the key."""
    content = read_yaml(text, "tiers.yaml")
    only(content, ("default", "granules", "tiers", "assign"), "tiers.yaml")
    named = mapping(content.get("tiers"), "tiers")
    tiers = dict(DEFAULTS) | {name: _tier(name, mapping(body, f"tier {name}")) for name, body in named.items()}
    default = content.get("default", "standard")
    if not isinstance(default, str) or default not in tiers:
        raise ConfigError(f"default: there is no tier {default!r}; known are {', '.join(tiers)}")
    return Tiers(tiers=tiers, rules=_rules(content.get("assign"), tiers), default=default, granules=_granules(content.get("granules")))


def dump_tiers(tiers: Tiers) -> dict[str, Any]:
    """The same words back, as plain values: what a tiers.yaml with every key would say."""
    body = {name: {k: v for k, v in msgspec.to_builtins(tier).items() if k != "name"} for name, tier in tiers.tiers.items()}
    granules = {"cpu": tiers.granules.cpu.cores, "memory": tiers.granules.memory.mib}
    return {"default": tiers.default, "granules": granules, "tiers": body, "assign": [msgspec.to_builtins(r) for r in tiers.rules]}


# -- reading ----------------------------------------------------------------------------------------------------------


def _tier(name: str, body: dict[str, Any]) -> Tier:
    base: dict[str, Any] = msgspec.to_builtins(DEFAULTS.get(name, DEFAULTS["standard"]))
    only(body, tuple(k for k in base if k != "name"), f"tier {name}")
    parts = {part: base[part] | _part(body.get(part), base[part], f"tier {name}, {part}") for part in ("cpu", "memory", "price")}
    try:
        tier = msgspec.convert(base | body | parts | {"name": name}, Tier)
    except msgspec.ValidationError as e:
        raise ConfigError(f"tier {name}: {e}") from e
    _check(tier)
    return tier


def _part(value: Any, known: dict[str, Any], where: str) -> dict[str, Any]:
    body = mapping(value, where)
    only(body, tuple(known), where)
    return body


def _check(tier: Tier) -> None:
    """Numbers that decode, and make no sense."""
    _within(f"tier {tier.name}: weight", tier.weight, 0.01, 1000)
    _within(f"tier {tier.name}: dead_band", tier.dead_band, 0, 0.9)
    for part, rules in (("cpu", tier.cpu), ("memory", tier.memory)):
        where = f"tier {tier.name}, {part}: "
        _within(where + "quantile", rules.quantile, 0.5, 0.99)
        _within(where + "floor_share", rules.floor_share, 0, 1)
        _within(where + "floor_least", rules.floor_least, 0, 1e9)
        _within(where + "hold_s", rules.hold_s, 0, 30 * 24 * HOUR)
        _within(where + "shrink_step_share", rules.shrink_step_share, 0.001, 1)
        _within(where + "young_s", rules.young_s, 0, 365 * 24 * HOUR)
        _within(where + "margin_share", rules.margin_share, 0, 10)
        _within(where + "headroom", rules.headroom, 0.25, 4)


def _within(what: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # NaN fails every comparison
        raise ConfigError(f"{what} is {value:g}: it must lie between {least:g} and {most:g}")


def _rules(value: Any, tiers: Mapping[str, Tier]) -> tuple[Rule, ...]:
    try:
        rules = msgspec.convert(value or [], tuple[Rule, ...])
    except msgspec.ValidationError as e:
        raise ConfigError(f"assign: {e}") from e
    for number, rule in enumerate(rules, 1):
        if rule.tier not in tiers:
            raise ConfigError(f"assign, rule {number}: there is no tier {rule.tier!r}; known are {', '.join(tiers)}")
        if rule.server is rule.project is rule.flavor is None:
            raise ConfigError(f"assign, rule {number}: it names no server, project or flavor; for all others there is `default`")
    return rules


def _granules(value: Any) -> Granules:
    body = mapping(value, "granules")
    only(body, ("cpu", "memory"), "granules")
    numbers = {k: v for k, v in body.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    if len(numbers) != len(body):
        raise ConfigError(f"granules: numbers are wanted (cores, MiB), not {body!r}")
    standard = Granules()
    cpu, memory = numbers.get("cpu", standard.cpu.cores), numbers.get("memory", standard.memory.mib)
    _within("granules: cpu", cpu, 0.001, 64)
    _within("granules: memory", memory, 1, 65536)
    return Granules(cpu=Cores(cpu), memory=Memory(memory))
