"""What is measured of the fleet and of decisions about it, as metrics: hosts, servers, amounts, plans, orders, safety."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from foreshape_controller.api.services import Services
from foreshape_controller.decide.proof import DAY_S, tier_figures
from foreshape_controller.model.metric import Metric, counter, counters, gauge, gauges, one_of
from foreshape_controller.model.server import ClusterView, Server
from foreshape_controller.store.inventory import HostDetail
from foreshape_controller.store.marks import added
from foreshape_wire.order import Mode

MIB = 2**20
VIEW_S = 90.0
"""A view that a plan made so lately is good enough: another takes a second at 30,000 servers."""
KINDS = ("failures", "foreign", "outage", "balancer")
SERVED = ("demand", "allocated", "entitled", "ceiling")


def fleet(services: Services) -> Iterator[Metric]:
    """Hosts and servers in all, what they have, and how fresh that is."""
    view, stale = _view(services), services.settings.plan.stale_after_s
    ages = [max(0.0, view.at - s.last_seen) for s in view.servers]
    fresh = sum(age <= stale for age in ages)
    yield gauge("foreshape_hosts", "Hosts whose agents reported within the last week.", len(view.hosts))
    lately = sum(view.at - h.last_seen <= stale for h in view.hosts)
    yield gauge("foreshape_hosts_fresh", "Of these, hosts whose newest report is not stale ([plan] stale_after_s).", lately)
    yield gauge(
        "foreshape_hosts_safe_mode", "Hosts whose agent is in safe mode: it only measures.", sum(bool(h.safe_mode) for h in view.hosts)
    )
    yield gauge("foreshape_servers", "Servers that are known.", len(ages))
    yield gauge("foreshape_servers_fresh", "Servers whose newest sample is not stale.", fresh)
    yield gauge("foreshape_servers_cardless", "Servers whose host never told what they are.", services.store.headcount.cards_missing())
    if ages:
        yield gauge("foreshape_servers_coverage_ratio", "Servers with fresh data over all that are known.", fresh / len(ages))
        yield gauge("foreshape_data_age_seconds", "Age of the stalest server's newest sample.", max(ages))
    yield gauge("foreshape_view_age_seconds", "Age of the look at the fleet that these figures are of.", services.clock() - view.at)
    yield from _amounts(view)
    modes = Counter(s.mode.value for s in view.servers)
    yield gauges("foreshape_servers_by_mode", "Servers by the mode in force for them.", "mode", {m.value: modes[m.value] for m in Mode})


def hosts(services: Services) -> Iterator[Metric]:
    """The same by host, unless [api] metrics_hosts says no."""
    if not services.settings.api.metrics_hosts:
        return
    view, details = _view(services), services.store.inventory.details()
    told = {h.name: details.get(h.name, HostDetail()) for h in view.hosts}
    on: dict[str, list[Server]] = {}
    for s in view.servers:
        on.setdefault(s.host, []).append(s)
    yield _by_host("last_report_timestamp_seconds", "When a host's newest samples were taken.", {h.name: h.last_seen for h in view.hosts})
    yield _by_host(
        "clock_ahead_seconds", "How far an agent's clock is ahead of the controller's.", {n: d.clock_ahead_s for n, d in told.items()}
    )
    yield _by_host("cpus", "CPUs of a host.", {h.name: h.cpus for h in view.hosts})
    used = {n: d.sample.cpu_used.cores for n, d in told.items() if d.sample}
    yield _by_host("cpu_used_cores", "Cores in use on a host, whoever uses them.", used)
    yield _by_host("memory_bytes", "Memory of a host.", {h.name: h.memory_total.mib * MIB for h in view.hosts})
    yield _by_host(
        "memory_available_bytes", "Memory of a host that is available.", {h.name: h.memory_available.mib * MIB for h in view.hosts}
    )
    yield _by_host("servers", "Servers on a host.", {h.name: len(on.get(h.name, ())) for h in view.hosts})
    yield _by_host("safe_mode", "1 where the agent only measures.", {h.name: float(bool(h.safe_mode)) for h in view.hosts})
    for what in SERVED:
        sums = {h.name: [_of(s)[what] for s in on.get(h.name, ())] for h in view.hosts}
        yield _by_host(f"cpu_{what}_cores", f"Cores of a host's servers: {what}.", {n: sum(x[0] for x in of) for n, of in sums.items()})
        yield _by_host(
            f"memory_{what}_bytes", f"Memory of a host's servers: {what}.", {n: MIB * sum(x[1] for x in of) for n, of in sums.items()}
        )


def servers(services: Services) -> Iterator[Metric]:
    """The largest servers one by one, as many as [api] metrics_servers says: none by default."""
    most = services.settings.api.metrics_servers
    if not most:
        return
    chosen = sorted(_view(services).servers, key=lambda s: (-s.entitlement.memory.mib, s.id))[:most]
    for what in SERVED:
        rows = {s.id: _of(s)[what] for s in chosen}
        yield gauges(f"foreshape_server_cpu_{what}_cores", f"Cores of a server: {what}.", "server", {n: x[0] for n, x in rows.items()})
        yield gauges(
            f"foreshape_server_memory_{what}_bytes", f"Memory of a server: {what}.", "server", {n: x[1] * MIB for n, x in rows.items()}
        )


def decisions(services: Services) -> Iterator[Metric]:
    """Plans, decisions, orders and what agents did by themselves; totals since the database was made, unless said."""
    counts = services.store.journal.counts()
    yield counter("foreshape_decisions_total", "Decisions about one server in one plan.", counts["decisions"])
    changed = counts["changed_by_forecast"]
    yield counter(
        "foreshape_decisions_changed_by_forecast_total", "Of these, resources that were sized otherwise without a forecast.", changed
    )
    yield counter("foreshape_orders_total", "Orders that were written.", counts["orders"])
    closed = {v: counts[f"orders_{v}"] for v in ("applied", "refused", "failed", "expired", "superseded")}
    yield counters("foreshape_orders_closed_total", "Orders that came to an end, by what came of them.", "verdict", closed)
    yield gauge("foreshape_orders_open", "Orders of which nobody told yet what came of them.", counts["orders_open"])
    yield counter("foreshape_reflexes_total", "Answers to pressure that agents gave by themselves.", counts["reflexes"])
    yield counter(
        "foreshape_statics_total", "Servers that agents put back to their entitlement while they heard nothing.", counts["statics"]
    )
    yield counter("foreshape_cap_actions_total", "What agents did for hard caps.", counts["cap_actions"])
    yield counter("foreshape_stray_outcomes_total", "Outcomes of orders that nobody gave.", counts["strays"])
    made = services.counting
    yield counter("foreshape_plans_total", "Plans since the start of this process.", made.plans)
    yield counter(
        "foreshape_budget_hits_total",
        "Plans, since the start of this process, that left changes to a later one: a budget was spent.",
        made.budget_hits,
    )
    yield counters("foreshape_choices_total", "Decisions since the start of this process.", ("resource", "choice"), made.choices)
    yield counters(
        "foreshape_reasons_total", "Decisions since the start of this process, by reason code.", ("resource", "code"), made.codes
    )


def safety(services: Services) -> Iterator[Metric]:
    """Mode, stops, halts."""
    yield one_of("foreshape_mode", "The cloud's mode.", "mode", [m.value for m in Mode], services.store.modes.effective("").value)
    yield gauge("foreshape_stopped_scopes", "Scopes that somebody stopped and did not resume.", services.store.headcount.stopped())
    active = [h for h in services.store.halts.all() if h.active]
    kinds = Counter(h.kind for h in active)
    yield gauges("foreshape_halts", "Scopes in which less is ordered now, by kind.", "kind", {k: kinds[k] for k in (*KINDS, *kinds)})
    since = {k: min((h.since for h in active if h.kind == k), default=0.0) for k in kinds}
    yield gauges("foreshape_halt_since_timestamp_seconds", "When the oldest of these halts began.", "kind", since)


def tiers(services: Services) -> Iterator[Metric]:
    """How tiers kept their promises over the last 24 hours."""
    now, store = services.clock(), services.store
    marks = added(store.marks.between(now - DAY_S, now))
    rows = tier_figures(marks, services.at_prices(services.policy.state().tiers), store.tier_factors.all(), store.history.step_s)
    by = ("tier", "resource")

    def of(name: str) -> Mapping[tuple[str, str], float]:
        return {(r.tier, r.resource): float(v) for r in rows if (v := getattr(r, name)) is not None}

    yield gauges(
        "foreshape_tier_violation_ratio", "Bins of the last 24 h whose demand was above the allocation.", by, of("violation_share")
    )
    yield gauges("foreshape_tier_violation_target_ratio", "What the tier promises: violation_target.", by, of("violation_target"))
    yield gauges("foreshape_tier_capped_ratio", "Bins of the last 24 h at their cap: the demand is not known.", by, of("capped_share"))
    yield gauges("foreshape_tier_short_ratio", "Bins of the last 24 h in which what was wanted was too little.", by, of("short_share"))
    yield gauges("foreshape_tier_missing_ratio", "Bins of the last 24 h without a measurement.", by, of("missing_share"))
    yield gauges("foreshape_tier_slack_ratio", "Unused share of what servers had in the last 24 h.", by, of("slack"))
    yield gauges(
        "foreshape_tier_allocation_ratio", "What servers had over what they were sold, last 24 h.", by, of("allocation_of_entitlement")
    )
    yield gauges("foreshape_tier_changed_ratio", "Decisions of the last 24 h that the forecast changed.", by, of("changed_share"))
    yield gauges("foreshape_tier_headroom_factor", "What feedback made of the tier's headroom.", by, of("headroom"))


def _view(services: Services) -> ClusterView:
    return services.store.inventory.lately(services.clock(), VIEW_S)


def _amounts(view: ClusterView) -> Iterator[Metric]:
    for what in SERVED:
        of = [_of(s)[what] for s in view.servers]
        yield gauge(f"foreshape_cpu_{what}_cores", f"Cores of all servers: {what}.", sum(x[0] for x in of))
        yield gauge(f"foreshape_memory_{what}_bytes", f"Memory of all servers: {what}.", MIB * sum(x[1] for x in of))
    yield gauge("foreshape_cpu_capacity_cores", "CPUs of all hosts.", sum(h.cpus for h in view.hosts))
    yield gauge("foreshape_memory_capacity_bytes", "Memory of all hosts.", MIB * sum(h.memory_total.mib for h in view.hosts))


def _of(s: Server) -> Mapping[str, tuple[float, float]]:
    """Cores and MiB."""
    cpu, memory = (s.last.cpu, s.last.memory) if s.last else (None, None)
    return {
        "demand": (cpu.demand.cores if cpu else 0.0, memory.demand.mib if memory else 0.0),
        "allocated": (s.allocation.cpu.cores, s.allocation.memory.mib),
        "entitled": (s.entitlement.cpu.cores, s.entitlement.memory.mib),
        "ceiling": (s.ceiling.cpu.cores, s.ceiling.memory.mib),
    }


def _by_host(name: str, text: str, rows: Mapping[Any, float]) -> Metric:
    return gauges(f"foreshape_host_{name}", text, "host", rows)
