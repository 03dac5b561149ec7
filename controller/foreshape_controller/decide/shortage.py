"""One resource of a plan fitted into its hosts: capacity, risk and spare put together, the sizes cut, and what is left over said."""

from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np

from foreshape_controller.decide import swap
from foreshape_controller.decide.facts import Facts, Rules
from foreshape_controller.decide.fit import Fitted, Terms, fit
from foreshape_controller.decide.gather import Gathered
from foreshape_controller.decide.needs import Asked, Movable, needs
from foreshape_controller.decide.risk import Risks, risks
from foreshape_controller.model.columns import Column, Flags, Rows, Sizes
from foreshape_controller.model.forecast import PRIORS
from foreshape_controller.model.group import group_series
from foreshape_controller.model.need import Need, Transfer
from foreshape_controller.model.server import ClusterView, Server
from foreshape_controller.model.told import CONFIDENT
from foreshape_wire.order import Mode


@dataclass(frozen=True)
class Shared:
    """One resource after its hosts were shared."""

    sizes: Sizes
    needs: tuple[Need, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Case:
    """One resource of one plan."""

    view: ClusterView
    gathered: Gathered
    facts: Facts
    rules: Rules
    sizes: Sizes

    @property
    def resource(self) -> str:
        return self.sizes.resource

    @property
    def eps(self) -> float:
        return self.gathered.known.limits.host_risk

    @cached_property
    def used(self) -> Column:
        """[n]: what each uses or is expected to use: the newest demand, or the predicted peak's median where that is more."""
        peak, seen = self.facts.peak, self.facts.seen
        expected = np.where(peak.looked_ahead, peak.median + seen.overhead, np.nan)
        return np.where(self.sizes.inputs["odd"] > 0, np.nan, np.fmax(seen.latest, expected))


def shared(view: ClusterView, gathered: Gathered, facts: Facts, rules: Rules, sizes: Sizes) -> Shared:
    """Fit the sizes into the hosts; who gave, who got, and who has to leave."""
    case = _Case(view, gathered, facts, rules, sizes)
    risk = _risks(case)
    terms = _terms(case, risk)
    fitted = fit(sizes, terms)
    return Shared(
        sizes=_worded(case, fitted, risk),
        needs=_needs(case, terms, fitted, risk),
        transfers=_transfers(gathered, sizes.resource, fitted),
        notes=(*_notes(view, sizes.resource, fitted.floors_exceed), *_unbelieved(case)),
    )


# -- what hosts have --------------------------------------------------------------------------------------------------


def capacity(view: ClusterView, gathered: Gathered, resource: str) -> Column:
    """[h]: what each host may hand out to the servers that are decided on.

    Of memory no more than its servers have and the host itself says is available: what others on it use is in no sum of ours.
    """
    room = _total(view, gathered, resource, gathered.known.limits.cpu_ratio)
    number: dict[str, int] = {h.name: i for i, h in enumerate(view.hosts)}
    there = [s for s in view.servers if s.host in number]
    host = np.asarray([number[s.host] for s in there], np.intp)
    amount = np.nan_to_num(np.asarray([_amount(s, resource) for s in there], np.float64))
    observed = np.asarray([s.mode is Mode.OBSERVE for s in there], np.float64)
    if resource == "memory":
        free = np.nan_to_num(np.asarray([h.memory_available.mib for h in view.hosts], np.float64))
        room = np.minimum(room, np.bincount(host, amount, len(room)) + free)
    return np.asarray(room - np.bincount(host, amount * observed, len(room)), np.float64)


def _amount(server: Server, resource: str) -> float:
    return server.allocation.cpu.cores if resource == "cpu" else server.allocation.memory.mib


def _risks(case: _Case) -> Risks:
    """Demand against what each host really has: allocations may add up to more than its CPUs, demand may not."""
    gathered, resource = case.gathered, case.resource
    room = _total(case.view, gathered, resource, min(1.0, gathered.known.limits.cpu_ratio))
    return risks(gathered.known.group_forecasts.get(resource), _host_rows(case.view, gathered, resource), room, case.eps)


def _total(view: ClusterView, gathered: Gathered, resource: str, cpu_ratio: float) -> Column:
    if resource == "cpu":
        room = [h.cpus * cpu_ratio for h in view.hosts]
    else:
        room = [h.memory_total.mib - gathered.known.limits.memory_reserved_mib for h in view.hosts]
    return np.maximum(0.0, np.nan_to_num(np.asarray(room, np.float64)))


def _incredible(case: _Case) -> Flags:
    """[h]: says that it has nothing, or less memory than is in use on it: such a number takes nothing from anybody."""
    gathered = case.gathered
    total = _total(case.view, gathered, case.resource, 1.0)
    if case.resource == "cpu":
        return total <= 0
    known = gathered.host >= 0
    in_use = np.bincount(gathered.host[known], np.nan_to_num(case.facts.seen.latest[known]), len(total))
    return (total <= 0) | (in_use > total + gathered.known.limits.memory_reserved_mib)


def _on(gathered: Gathered, hosts: Flags) -> Flags:
    """[n]: whether a server is on one of these hosts."""
    known = gathered.host >= 0
    return known & hosts[np.where(known, gathered.host, 0)] if hosts.size else known


def _host_rows(view: ClusterView, gathered: Gathered, resource: str) -> Rows:
    """[h]: each host's own forecast; -1: none, or one by what it has, for it cannot speak for itself yet: that is no shortage."""
    forecast = gathered.known.group_forecasts.get(resource)
    said = () if forecast is None else zip(forecast.series, forecast.source, strict=True)
    row = {name: i for i, (name, source) in enumerate(said) if source not in PRIORS}
    return np.asarray([row.get(group_series("host", h.name), -1) for h in view.hosts], np.intp)


# -- who asks for what ------------------------------------------------------------------------------------------------


def _terms(case: _Case, risk: Risks) -> Terms:
    gathered, facts, sizes, used = case.gathered, case.facts, case.sizes, case.used
    resource, known, tiers = sizes.resource, gathered.known, gathered.tiers
    weights = np.asarray([t.weight * t.criticality for t in tiers] or [0.0])
    orders = np.asarray([t.throttle_order for t in tiers] or [0], np.int32)
    trusted = np.isfinite(facts.seen.latest) & (facts.seen.confidence >= CONFIDENT)
    return Terms(
        capacity=capacity(case.view, gathered, resource),
        host=gathered.host,
        weight=weights[gathered.tier],
        order=orders[gathered.tier],
        levers=facts.levers,
        granule=facts.granule,
        used=used,
        least=np.zeros(len(used)) if resource == "cpu" else np.where(trusted, sizes.inputs["in_use"], np.nan),
        step_share=case.rules.shrink_step_share,
        fixed=(facts.stop >= 0) | ~facts.levers.some | (sizes.inputs["odd"] > 0) | _bystanders(gathered) | _on(gathered, _incredible(case)),
        shadow=np.asarray([i in known.shadows for i in gathered.ids], bool),
        spare=swap.spares(gathered.ids, known.groups, known.group_forecasts.get(resource), sizes.target, np.nan_to_num(used)),
        excess=risk.excess,
        under_way=facts.under_way,
    )


def _bystanders(gathered: Gathered) -> Flags:
    """[n]: not acted on, on a host where others are: they give nothing that these could get."""
    acts = np.asarray([s.mode is Mode.ACT for s in gathered.servers], bool)
    among = np.zeros(int(gathered.host.max(initial=-1)) + 1, bool)
    among[gathered.host[acts & (gathered.host >= 0)]] = True
    return ~acts & _on(gathered, among)


# -- what is said of it -----------------------------------------------------------------------------------------------


def _worded(case: _Case, fitted: Fitted, risk: Risks) -> Sizes:
    """With what the sentences need: whom the capacity is taken for, how likely the host runs short, until when the share binds."""
    gathered, sizes = case.gathered, fitted.sizes
    host = np.maximum(gathered.host, 0)
    chance = np.where(gathered.host >= 0, risk.soon[host], np.nan) if risk.soon.size else np.full(len(host), np.nan)
    inputs = {**sizes.inputs, "host_risk_soon": chance, "host_risk_most": np.full(len(host), case.eps)}
    if not fitted.given.any():
        return replace(sizes, inputs=inputs)
    taker = _takers(gathered, fitted)
    waits, number = np.unique(taker[np.isfinite(taker)], return_inverse=True)
    coded = np.full(len(host), np.nan)
    coded[np.isfinite(taker)] = number
    words = MappingProxyType({**sizes.words, "taker": tuple(_called(gathered, int(i)) for i in waits)})
    return replace(sizes, inputs={**inputs, "taker": coded}, words=words)


def _takers(gathered: Gathered, fitted: Fitted) -> Column:
    """[n]: of whoever is taken something, the row of the server on the same host that waits for most; NaN: nobody waits."""
    rows = np.flatnonzero((fitted.awaited > 0) & (gathered.host >= 0))
    names = np.asarray([gathered.ids[i] for i in rows.tolist()], dtype=str)
    found = np.full(int(gathered.host.max(initial=0)) + 1, np.nan)
    most = rows[np.lexsort((names, fitted.awaited[rows]))]
    found[gathered.host[most]] = most  # the last one written is the largest
    return np.where((fitted.given > 0) & (gathered.host >= 0), found[np.maximum(gathered.host, 0)], np.nan)


def _called(gathered: Gathered, row: int) -> str:
    server = gathered.servers[row]
    return f"{server.name or server.id} (tier {gathered.tiers[gathered.tier[row]].name})"


def _needs(case: _Case, terms: Terms, fitted: Fitted, risk: Risks) -> tuple[Need, ...]:
    gathered, sizes = case.gathered, case.sizes
    limits, orders = gathered.known.limits, np.asarray([t.migrate_order for t in gathered.tiers] or [0], np.float64)
    movable = Movable(
        ids=gathered.ids,
        tiers=[gathered.tiers[k].name for k in gathered.tier.tolist()],
        host=gathered.host,
        order=orders[gathered.tier],
        may=np.asarray([i not in gathered.stops for i in range(len(gathered.ids))], bool),
        relief=np.where(np.isfinite(terms.used), np.minimum(terms.used, np.maximum(sizes.target, sizes.allocation)), sizes.allocation),
        ram=np.asarray([s.allocation.memory.mib for s in gathered.servers], np.float64),
    )
    asked = Asked(sizes.resource, [h.name for h in case.view.hosts], gathered.now, limits.migration_mib_s, limits.host_risk)
    return needs(asked, fitted.unmet, risk, movable)


def _transfers(gathered: Gathered, resource: str, fitted: Fitted) -> tuple[Transfer, ...]:
    rows = np.flatnonzero((fitted.given > 0) | (fitted.awaited > 0))
    parties = [swap.party(gathered.ids[i], gathered.tiers[gathered.tier[i]].name, gathered.known.groups) for i in rows.tolist()]
    hosts = [gathered.servers[i].host for i in rows.tolist()]
    return swap.transfers(resource, hosts, parties, fitted.given[rows], fitted.awaited[rows])


def _notes(view: ClusterView, resource: str, exceed: Flags) -> tuple[str, ...]:
    names = sorted(view.hosts[h].name for h in np.flatnonzero(exceed).tolist())
    if not names:
        return ()
    return (f"{resource}: the floors together are more than there is on {len(names)} of the hosts: {', '.join(names[:5])}",)


def _unbelieved(case: _Case) -> tuple[str, ...]:
    names = sorted(case.view.hosts[h].name for h in np.flatnonzero(_incredible(case)).tolist())
    if not names:
        return ()
    return (
        f"{case.resource}: {len(names)} hosts say that they have less than is in use there, so nothing is taken: {', '.join(names[:5])}",
    )
