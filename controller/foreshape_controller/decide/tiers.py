"""Tiers (SLA classes) and which server belongs to which: the text of tiers.yaml, checked as a whole.

A tier of the file that is built in changes only the keys it names; a new tier starts from ``standard``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import msgspec

from foreshape_controller.decide.text import read_yaml
from foreshape_controller.decide.tier_checks import RANGES, Findings, number, oddities, part, read_tier
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
        margin_share=0.2,
        shrink_band=0.3,
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
        shrink_band=0.3,
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
        reflex_growth=2.0,
        reflex_headroom=1.5,
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
        reflex_growth=1.25,
        reflex_headroom=1.15,
    ),
}


KEYS = ("server", "project", "segment", "flavor")
"""What a rule can name."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Servers that match every key given belong to the tier."""

    tier: str
    server: str | None = None
    project: str | None = None
    segment: str | None = None
    flavor: str | None = None
    criticality: float | None = None
    """Instead of the tier's, for these servers."""

    @property
    def named(self) -> dict[str, str]:
        """What it names."""
        return {key: value for key in KEYS if (value := getattr(self, key)) is not None}


class Tiers(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All tiers, and the rules that assign servers to them: the first that matches wins."""

    tiers: Mapping[str, Tier]
    rules: tuple[Rule, ...] = ()
    default: str = "standard"
    granules: Granules = Granules()

    def of(self, server: Server, groups: Sequence[str] = ()) -> Tier:
        """The tier of a server: the one that somebody set for it, else the first rule's, else the default.

        ``groups``: names of its groups' series (``Groups.of``): a rule for segment ``web`` matches ``segment:web``.
        """
        own = self.tiers.get(server.tier)
        if own is not None:
            return own
        found = self._rule(server, groups)
        return self._by_rule[found] if found is not None else self.tiers[self.default]

    def _rule(self, server: Server, groups: Sequence[str]) -> int | None:
        """Number of the first rule that matches."""
        if not self.rules:
            return None
        segments = tuple(g.removeprefix("segment:") for g in groups if g.startswith("segment:"))
        has = {"server": (server.id,), "project": (server.project,), "segment": segments, "flavor": (server.flavor,)}
        return min(self._matching(has), default=None)

    def _matching(self, has: Mapping[str, tuple[str, ...]]) -> Iterator[int]:
        for keys, rules in self._by_keys.items():
            yield from (rules[values] for values in product(*(has[k] for k in keys)) if values in rules)

    @cached_property
    def _by_keys(self) -> Mapping[tuple[str, ...], Mapping[tuple[str, ...], int]]:
        """By the keys that a rule names and their values: the first such rule. 30,000 servers ask each plan, of hundreds of rules."""
        found: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}
        for i, rule in enumerate(self.rules):
            named = rule.named
            found.setdefault(tuple(named), {}).setdefault(tuple(named.values()), i)
        return found

    @cached_property
    def _by_rule(self) -> tuple[Tier, ...]:
        """Each rule's tier, at the rule's own criticality."""
        return tuple(
            self.tiers[r.tier] if r.criticality is None else msgspec.structs.replace(self.tiers[r.tier], criticality=r.criticality)
            for r in self.rules
        )


BUILT_IN = Tiers(tiers=DEFAULTS)


@dataclass(frozen=True)
class Checked:
    """What came of reading a tiers.yaml."""

    tiers: Tiers | None
    """None where there is a problem."""
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def check_tiers(text: str) -> Checked:
    """Read tiers.yaml and find everything that is wrong with it; empty text gives the built-in tiers."""
    found = Findings()
    try:
        content = part(read_yaml(text, "tiers.yaml"), "tiers.yaml", ("default", "granules", "tiers", "assign"), found)
    except ConfigError as e:
        return Checked(None, (str(e),), ())
    tiers = dict(DEFAULTS) | dict(_tiers(content.get("tiers"), found))
    default = content.get("default", "standard")
    if not isinstance(default, str) or default not in tiers:
        found.problems.append(f"default: there is no tier {default!r}; known are {', '.join(tiers)}")
    rules = tuple(_rules(content.get("assign"), tiers, found))
    granules = _granules(content.get("granules"), found)
    if found.problems:
        return Checked(None, tuple(found.problems), tuple(found.warnings))
    warnings = (*found.warnings, *oddities(tiers))
    return Checked(Tiers(tiers=tiers, rules=rules, default=default, granules=granules), (), warnings)


def load_tiers(text: str) -> Tiers:
    """Read tiers.yaml; empty text gives the built-in tiers. Raises ConfigError with every problem, a line each."""
    checked = check_tiers(text)
    if checked.tiers is None:
        raise ConfigError("\n".join(checked.problems))
    return checked.tiers


def dump_tiers(tiers: Tiers) -> dict[str, Any]:
    """The same words back, as plain values: what a tiers.yaml with every key would say."""
    body = {name: {k: v for k, v in msgspec.to_builtins(tier).items() if k != "name"} for name, tier in tiers.tiers.items()}
    granules = {"cpu": tiers.granules.cpu.cores, "memory": tiers.granules.memory.mib}
    rules = [{k: v for k, v in msgspec.to_builtins(r).items() if v is not None} for r in tiers.rules]
    return {"default": tiers.default, "granules": granules, "tiers": body, "assign": rules}


# -- reading ----------------------------------------------------------------------------------------------------------


def _tiers(value: Any, found: Findings) -> Iterator[tuple[str, Tier]]:
    names = tuple(value) if isinstance(value, dict) else ()
    for name, body in part(value, "tiers", names, found).items():
        yield name, read_tier(name, body, DEFAULTS.get(name, DEFAULTS["standard"]), found)


def _rules(value: Any, tiers: Mapping[str, Tier], found: Findings) -> Iterator[Rule]:
    if not isinstance(value, list | None):
        found.problems.append(f"assign: a list of rules is wanted here, not {value!r}")
        return
    met: dict[tuple[tuple[str, str], ...], int] = {}
    for i, body in enumerate(value or [], 1):
        where = f"assign, rule {i}"
        rule = _rule(body, where, tiers, found)
        earlier = met.setdefault(tuple(rule.named.items()), i) if rule else i
        if earlier != i:
            found.warnings.append(f"{where}: rule {earlier} names the same and comes first: this one never matches")
        if rule:
            yield rule


def _rule(body: Any, where: str, tiers: Iterable[str], found: Findings) -> Rule | None:
    given = part(body, where, ("tier", *KEYS, "criticality"), found)
    before = len(found.problems)
    for key in (k for k in given if k != "criticality" and not (isinstance(given[k], str) and given[k])):
        found.problems.append(f"{where}: {key} is {given[key]!r}: text is wanted (numbers need quotes)")
    tier = given.get("tier")
    if not isinstance(tier, str) or tier not in tiers:
        found.problems.append(f"{where}: there is no tier {tier!r}; known are {', '.join(tiers)}")
    if not any(key in given for key in KEYS):
        found.problems.append(f"{where}: it names no server, project, segment or flavor; for all others there is `default`")
    if "criticality" in given:
        given["criticality"] = number(given["criticality"], "criticality", where, found, RANGES["criticality"])
    return Rule(**given) if len(found.problems) == before else None


def _granules(value: Any, found: Findings) -> Granules:
    body, usual = part(value, "granules", ("cpu", "memory"), found), Granules()
    cpu = number(body.get("cpu", usual.cpu.cores), "cpu", "granules", found, (0.001, 64))
    memory = number(body.get("memory", usual.memory.mib), "memory", "granules", found, (1, 65536))
    return Granules(cpu=usual.cpu if cpu is None else Cores(cpu), memory=usual.memory if memory is None else Memory(memory))
