"""From the model to the answers operators read. Pure."""

from collections.abc import Callable, Mapping, Sequence

from foreshape_controller.errors import Ambiguous, NotFound
from foreshape_controller.model.answers import Fan, HostAnswer, ServerAnswer, SummaryAnswer
from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.history import Floats
from foreshape_controller.model.server import ClusterView, Host, Server
from foreshape_controller.store.inventory import HostDetail

UNITS = {"cpu": "cores", "memory": "MiB", "disk": "KiB/s", "net": "KiB/s", "servers": "servers"}


def find(view: ClusterView, wanted: str) -> Server:
    """A server by its id, else by its name where only one has it."""
    for s in view.servers:
        if s.id == wanted:
            return s
    named = [s for s in view.servers if s.name == wanted]
    if not named:
        raise NotFound(f"there is no server {wanted!r}: 'foreshape server list' shows those that are known")
    if len(named) > 1:
        ids = [s.id for s in named]
        raise Ambiguous(f"{len(ids)} servers are called {wanted!r}; ask by id: {', '.join(ids)}", ids)
    return named[0]


def find_host(view: ClusterView, wanted: str) -> Host:
    for h in view.hosts:
        if h.name == wanted:
            return h
    raise NotFound(f"there is no host {wanted!r}: 'foreshape host list' shows those that have reported")


def server(s: Server, now: float, tier: str) -> ServerAnswer:
    """``tier``: the one in force, whoever assigned it."""
    cpu, memory = (s.last.cpu, s.last.memory) if s.last else (None, None)
    return ServerAnswer(
        id=s.id,
        name=s.name,
        host=s.host,
        project=s.project,
        flavor=s.flavor,
        tier=tier,
        mode=s.mode.value,
        state=s.state.value,
        cpu_demand_cores=cpu.demand.cores if cpu else None,
        cpu_allocated_cores=s.allocation.cpu.cores,
        cpu_entitled_cores=s.entitlement.cpu.cores,
        cpu_ceiling_cores=s.ceiling.cpu.cores,
        memory_demand_mib=memory.demand.mib if memory else None,
        memory_allocated_mib=s.allocation.memory.mib,
        memory_entitled_mib=s.entitlement.memory.mib,
        memory_ceiling_mib=s.ceiling.memory.mib,
        guest_vcpus=cpu.guest_vcpus if cpu else None,
        last_sample_s_ago=max(0.0, now - s.last_seen),
        levers=(*s.capabilities, *s.throttles),
        project_name=s.project_name,
        zone=s.zone,
        held=s.held[1] if s.held else "",
    )


def host(view: ClusterView, h: Host, extra: HostDetail, stale_after_s: float) -> HostAnswer:
    """``extra`` is what the view has no place for."""
    servers = view.on(h.name)
    age = max(0.0, view.at - h.last_seen)
    return HostAnswer(
        name=h.name,
        cpus=h.cpus,
        memory_mib=h.memory_total.mib,
        memory_available_mib=h.memory_available.mib,
        cpu_used_cores=extra.sample.cpu_used.cores if extra.sample else 0.0,
        servers=len(servers),
        cpu_allocated_cores=_sum(servers, lambda s: s.allocation.cpu.cores),
        cpu_entitled_cores=_sum(servers, lambda s: s.entitlement.cpu.cores),
        memory_allocated_mib=_sum(servers, lambda s: s.allocation.memory.mib),
        memory_entitled_mib=_sum(servers, lambda s: s.entitlement.memory.mib),
        last_report_s_ago=age,
        fresh=age <= stale_after_s,
        mode=h.mode.value,
        safe_mode=h.safe_mode,
        agent_version=extra.agent_version,
        backlog_gap=extra.gap,
    )


def fan(f: Forecast, series: str, words: Callable[[str], str] = str) -> Fan:
    """One row of a forecast. ``words``: takes out of its reason what is not for the reader."""
    i = f.row(series)
    return Fan(
        resource=f.resource,
        unit=UNITS[f.resource],
        source=f.source[i],
        reason=words(f.reason[i]),
        age_s=float(f.age_s[i]),
        step_s=f.step_s,
        levels=LEVELS,
        peak30m=_row(f.peak30m[i]),
        peak24h=_row(f.peak24h[i]),
        steps=tuple(_row(r) for r in f.steps[i]),
        half_hours=tuple(_row(r) for r in f.half_hours[i]),
    )


def summary(view: ClusterView, counts: Mapping[str, int], stale_after_s: float, *, simulated: bool) -> SummaryAnswer:
    servers = view.servers
    return SummaryAnswer(
        hosts=len(view.hosts),
        hosts_fresh=sum(view.at - h.last_seen <= stale_after_s for h in view.hosts),
        servers=len(servers),
        servers_unmeasured=sum(not (s.last and s.last.cpu and s.last.memory) for s in servers),
        cpu_demand_cores=_sum(servers, lambda s: s.last.cpu.demand.cores if s.last and s.last.cpu else 0.0),
        cpu_allocated_cores=_sum(servers, lambda s: s.allocation.cpu.cores),
        cpu_entitled_cores=_sum(servers, lambda s: s.entitlement.cpu.cores),
        memory_demand_mib=_sum(servers, lambda s: s.last.memory.demand.mib if s.last and s.last.memory else 0.0),
        memory_allocated_mib=_sum(servers, lambda s: s.allocation.memory.mib),
        memory_entitled_mib=_sum(servers, lambda s: s.entitlement.memory.mib),
        decisions=counts["decisions"],
        orders=counts["orders"],
        orders_applied=counts["orders_applied"],
        orders_refused=counts["orders_refused"],
        orders_failed=counts["orders_failed"],
        reflexes=counts["reflexes"],
        decisions_changed_by_forecast=counts["changed_by_forecast"],
        ahead_unused_core_h=counts["ahead_unused_mcore_s"] / 3.6e6,
        ahead_unused_mib_h=counts["ahead_unused_mib_s"] / 3600,
        simulated=simulated,
    )


def _sum(servers: Sequence[Server], amount: Callable[[Server], float]) -> float:
    return float(sum(map(amount, servers)))


def _row(values: Floats) -> tuple[float, ...]:
    return tuple(float(v) for v in values)
