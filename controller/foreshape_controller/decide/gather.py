"""The world as columns: every server of a view and what is known of it, gathered once for a plan. No rule is asked here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from foreshape_controller.decide.facts import LEAST_MARGIN_MIB, LEVERS, Facts, Levers, Peaks, Rules
from foreshape_controller.decide.known import Known
from foreshape_controller.decide.observe import observe
from foreshape_controller.decide.peak import no_peaks, peaks
from foreshape_controller.model.columns import CODES, Codes, Column, Flags, Rows
from foreshape_controller.model.server import Host, Server
from foreshape_controller.model.tier import Tier
from foreshape_wire.reading import DomainState

NOT_RUNNING = {
    DomainState.MIGRATING: ("migrating", "it is being migrated"),
    DomainState.BUSY: ("busy", "another job holds it"),
    DomainState.PAUSED: ("not_running", "it is paused"),
    DomainState.SHUTOFF: ("not_running", "it is switched off"),
    DomainState.CRASHED: ("not_running", "it has crashed"),
}

Stops: TypeAlias = Mapping[int, tuple[str, str]]
"""By row: code and sentence of what forbids any change."""

Words: TypeAlias = tuple[Column, tuple[str, ...]]
"""[n] index of each row's text, NaN where it has none, and the texts."""


@dataclass(frozen=True, eq=False)
class Gathered:
    """Who is decided on, and under which terms. Rows are servers."""

    servers: Sequence[Server]
    ids: Sequence[str]
    tiers: Sequence[Tier]
    """The different ones."""
    tier: Rows
    """[n]: each server's."""
    host: Rows
    """[n]: index into the hosts; -1: unknown."""
    stops: Stops
    known: Known
    now: float

    @classmethod
    def of(cls, servers: Sequence[Server], hosts: Sequence[Host], known: Known, now: float) -> "Gathered":
        tiers, tier = _tiers(servers, known)
        number: dict[str, int] = {h.name: i for i, h in enumerate(hosts)}
        host = np.asarray([number.get(s.host, -1) for s in servers], np.intp)
        return cls(servers, [s.id for s in servers], tiers, tier, host, _stops(servers, hosts, host, known, now), known, now)

    def facts(self, resource: str) -> tuple[Facts, Rules]:
        """Everything that the size rule is asked about one resource."""
        rules, n = self._rules(resource), len(self.ids)
        stop, codes, stop_word, sentences = _stop_columns(self.stops, n)
        levers, no_lever, silences = _levers(self.servers, resource)
        granules, cpu = self.known.tiers.granules, resource == "cpu"
        cap, cap_until, cap_reason, reasons = self._caps(resource)
        odd = self.known.anomalous.get(resource, frozenset())
        missed = self.known.missed.get(resource, {})
        facts = Facts(
            resource=resource,
            granule=granules.cpu.cores if cpu else granules.memory.mib,
            allocation=_column([s.allocation.cpu.cores if cpu else s.allocation.memory.mib for s in self.servers]),
            entitlement=_column([s.entitlement.cpu.cores if cpu else s.entitlement.memory.mib for s in self.servers]),
            ceiling=_column([s.ceiling.cpu.cores if cpu else s.ceiling.memory.mib for s in self.servers]),
            levers=levers,
            peak=self._peaks(resource, rules),
            seen=observe(resource, self.known.histories.get(resource), rules.hold_s, self.servers, self.now),
            held=self._of(self.known.held.get(resource)),
            missed=self._of({s: m.wanted for s, m in missed.items()}),
            came=self._of({s: m.came for s, m in missed.items()}),
            raised_floor=_column([0.0 if cpu or s.raised_floor is None else s.raised_floor.mib for s in self.servers]),
            margin=_column([0.0 if cpu else _margin(s) for s in self.servers]),
            agreed=self._agreed(resource),
            cap=cap,
            cap_until=cap_until,
            since_shrink_s=self.now - self._of(self.known.last_shrunk.get(resource)),
            under_way=self._of(self.known.under_way.get(resource)),
            anomalous=np.asarray([i in odd for i in self.ids], bool),
            stop=stop,
            forecast_old_s=self.known.limits.forecast_old_s,
            said={"stop": stop_word, "no_lever": no_lever, "cap_reason": cap_reason},
            words={"code": codes, "stop": sentences, "no_lever": silences, "cap_reason": reasons},
        )
        return facts, rules

    def _rules(self, resource: str) -> Rules:
        """The tiers'; from shadow VMs everything is taken in one step, for nobody works in them."""
        rules = Rules.of(self.tiers, self.tier, resource)
        if not self.known.shadows:
            return rules
        return replace(rules, shrink_step_share=np.where(self._shadow, 1.0, rules.shrink_step_share))

    @property
    def _shadow(self) -> Flags:
        """[n]: whether nobody has claimed it yet."""
        return np.asarray([i in self.known.shadows for i in self.ids], bool)

    def _of(self, values: Mapping[str, float] | None, otherwise: float = np.nan) -> Column:
        """[n]: what is said of each server."""
        if not values:
            return np.full(len(self.ids), otherwise)
        return _column([values.get(i, otherwise) for i in self.ids])

    def _agreed(self, resource: str) -> Column:
        """[n]: lowered floors, of those whose tier of now allows it, and of shadow VMs: to these nobody promised anything.

        A floor at what was sold, of who was claimed lately, lowers nothing: no tier has to allow it.
        """
        agreed = self._of(self.known.agreed.get(resource))
        sold = _column([s.entitlement.cpu.cores if resource == "cpu" else s.entitlement.memory.mib for s in self.servers])
        may = np.asarray([t.may_reclaim for t in self.tiers], bool)[self.tier] | (agreed >= sold)
        if self.known.shadows:
            may = may | self._shadow
        return np.where(may, agreed, np.nan)

    def _caps(self, resource: str) -> tuple[Column, Column, Column, tuple[str, ...]]:
        """Amount and end of each server's hard cap, and its reason as words."""
        caps = self.known.caps.get(resource) or {}
        found = [caps.get(i) for i in self.ids]
        amount, until = (self._of({i: getattr(c, name) for i, c in caps.items()}) for name in ("amount", "until"))
        reason, reasons = _words(c.reason if c else None for c in found)
        return np.where(amount >= 0, amount, np.nan), until, reason, reasons

    def _peaks(self, resource: str, rules: Rules) -> Peaks:
        forecast, limits = self.known.forecasts.get(resource), self.known.limits
        if forecast is None:
            return no_peaks(len(self.ids))
        row = {name: i for i, name in enumerate(forecast.series)}
        rows = np.asarray([row.get(i, -1) for i in self.ids], np.intp)
        factor = rules.headroom * self._of(self.known.headroom.get(resource), 1.0)
        lead = self._of(self.known.leads.get(resource), 0.0)
        return peaks(forecast, rows, rules.quantile, factor, self.now + lead + limits.ahead_s, self.now)


# -- terms ------------------------------------------------------------------------------------------------------------


def _tiers(servers: Sequence[Server], known: Known) -> tuple[Sequence[Tier], Rows]:
    """The different tiers, and each server's as an index."""
    groups = known.groups.of
    each = [known.tiers.of(s, groups.get(s.id, ())) for s in servers]
    number: dict[int, int] = {}
    tiers: list[Tier] = []
    for tier in each:
        if id(tier) not in number:
            number[id(tier)] = len(tiers)
            tiers.append(tier)
    return tiers, np.asarray([number[id(t)] for t in each], np.intp)


def _stops(servers: Sequence[Server], hosts: Sequence[Host], host: Rows, known: Known, now: float) -> Stops:
    """What forbids any change to a server now; those of whom nothing is said are free."""
    still = [_host_stop(h, known, now) for h in hosts]
    oldest = now - known.limits.stale_after_s
    stops: dict[int, tuple[str, str]] = {}
    for i, (s, at) in enumerate(zip(servers, host.tolist(), strict=True)):
        fresh = at >= 0 and still[at] is None and s.last_seen >= oldest
        if fresh and s.state is DomainState.RUNNING and not (s.held or s.id in known.halts):
            continue
        stops[i] = _stop(s, hosts[at] if at >= 0 else None, still[at] if at >= 0 else None, known, now)
    return stops


def _host_stop(host: Host, known: Known, now: float) -> tuple[str, str] | None:
    if not now - host.last_seen <= known.limits.stale_after_s:
        return "stale", f"its host {host.name} was last heard of {now - host.last_seen:.0f} s ago"
    return ("safe_mode", f"the agent of {host.name} acts on no order: {host.safe_mode}") if host.safe_mode else None


def _stop(server: Server, host: Host | None, still: tuple[str, str] | None, known: Known, now: float) -> tuple[str, str]:
    """The first that applies: data, host, the agent, the server's state, the cloud's word, a halt."""
    if host is None:
        return "stale", f"nothing is known of its host {server.host}"
    if still and still[0] == "stale":
        return still
    if not now - server.last_seen <= known.limits.stale_after_s:
        return "stale", f"it was last heard of {now - server.last_seen:.0f} s ago"
    unknown = ("not_running", f"its state is {server.state}")
    return still or NOT_RUNNING.get(server.state) or server.held or known.halts.get(server.id, unknown)


def _stop_columns(stops: Stops, n: int) -> tuple[Codes, tuple[str, ...], Column, tuple[str, ...]]:
    """Each row's code and sentence as indices, with the tables they point into: codes that nobody knew follow those we do."""
    codes = tuple(dict.fromkeys((*CODES, *(code for code, _ in stops.values()))))
    number = {code: k for k, code in enumerate(codes)}
    stop, rows = np.full(n, -1, np.int32), list(stops)
    stop[rows] = [number[code] for code, _ in stops.values()]
    word, sentences = _words(sentence for _, sentence in stops.values())
    at = np.full(n, np.nan)
    at[rows] = word
    return stop, codes, at, sentences


# -- levers -----------------------------------------------------------------------------------------------------------

_PLACE: Mapping[str, Mapping[Any, int]] = {r: {name: k for k, name in enumerate(names)} for r, names in LEVERS.items()}


def _levers(servers: Sequence[Server], resource: str) -> tuple[Levers, Column, tuple[str, ...]]:
    """The usable levers, and why there is none where there is none."""
    n, place = len(servers), _PLACE[resource]
    found = [
        (place[c.lever], i, c.lowest, c.highest, c.granule)
        for i, s in enumerate(servers)
        for c in s.capabilities
        if not c.reason and c.lever in place
    ]
    usable, ranges = np.zeros((len(place), n), bool), np.zeros((3, len(place), n))
    if found:
        told = np.asarray(found, np.float64).T
        k, i = told[:2].astype(np.intp)
        usable[k, i] = True
        ranges[:, k, i] = told[2:]
    levers = Levers(usable, *ranges)
    some = levers.some
    silent, silences = _words(None if some[i] else _why_no_lever(s, resource) for i, s in enumerate(servers))
    return levers, silent, silences


def _why_no_lever(server: Server, resource: str) -> str:
    return "; ".join(f"{c.lever.value}: {c.reason}" for c in server.capabilities if c.lever.resource == resource and c.reason)


# -- columns ----------------------------------------------------------------------------------------------------------


def _margin(server: Server) -> float:
    """MiB above the working set that the server's agent insists on."""
    return LEAST_MARGIN_MIB if server.memory_margin is None else server.memory_margin.mib


def _column(values: Sequence[float]) -> Column:
    return np.asarray(values, np.float64)


def _words(texts: Iterable[str | None]) -> Words:
    """Texts as indices into a table of the different ones."""
    number: dict[str, int] = {}
    at = [np.nan if t is None else number.setdefault(t, len(number)) for t in texts]
    return _column(at), tuple(number)
