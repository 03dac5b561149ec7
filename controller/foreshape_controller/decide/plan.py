"""One decision for every server that may be decided on: the facts put together, the rules asked, the host's capacity kept."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from foreshape_controller.decide.gather import Gathered
from foreshape_controller.decide.known import Known
from foreshape_controller.decide.shortage import Shared, shared
from foreshape_controller.decide.size import decide_sizes
from foreshape_controller.decide.sound import ODD
from foreshape_controller.model.columns import PlanTable, Sizes
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.plan import Plan
from foreshape_controller.model.server import ClusterView, Server
from foreshape_wire.ids import PlanId
from foreshape_wire.order import Mode

IdSource = Callable[[str], str]
"""Gives a new id for a kind ("plan"). Pure code makes no random ids: it is handed them."""

NAMED = 20
"""So many odd servers are named in the notes; more are counted."""


def make_plan(view: ClusterView, known: Known, now: float, ids: IdSource) -> Plan:
    """Decide on every server that is not only observed. One odd server never stops the others."""
    servers = [s for s in view.servers if s.mode is not Mode.OBSERVE]
    gathered = Gathered.of(servers, view.hosts, known, now)
    cpu, memory = (_sized(view, gathered, resource) for resource in RESOURCES)
    plan = PlanId(ids("plan"))
    stem = plan.removeprefix("plan-")
    table = PlanTable(
        plan=plan,
        at=now,
        servers=tuple(gathered.ids),
        hosts=tuple(s.host for s in servers),
        tiers=tuple(gathered.tiers[k].name for k in gathered.tier.tolist()),
        modes=tuple(s.mode.value for s in servers),
        causes=tuple(f"cause-{stem}-{i}" for i in range(len(servers))),
        cpu=cpu.sizes,
        memory=memory.sizes,
    )
    notes = (*_notes(view, known, now, len(servers)), *cpu.notes, *memory.notes, *_odd(servers, (cpu.sizes, memory.sizes)))
    needs, transfers = (*cpu.needs, *memory.needs), (*cpu.transfers, *memory.transfers)
    return Plan(plan=plan, at=now, notes=notes, table=table, needs=needs, transfers=transfers)


def _sized(view: ClusterView, gathered: Gathered, resource: str) -> Shared:
    """One resource of all servers, fitted into their hosts."""
    facts, rules = gathered.facts(resource)
    return shared(view, gathered, facts, rules, decide_sizes(facts, rules))


# -- notes ------------------------------------------------------------------------------------------------------------


def _odd(servers: Sequence[Server], sizes: Sequence[Sizes]) -> Iterator[str]:
    """Sentences about servers whose numbers make no sense."""
    found = [(i, s) for s in sizes for i in np.flatnonzero(s.inputs["odd"]).tolist()]
    for i, s in found[:NAMED]:
        yield f"{servers[i].name or servers[i].id}: {s.resource} cannot be decided: {ODD[int(s.inputs['odd'][i])]}"
    if len(found) > NAMED:
        yield f"{len(found) - NAMED} more cannot be decided for the like"


def _notes(view: ClusterView, known: Known, now: float, deciding: int) -> tuple[str, ...]:
    """Sentences about the cycle as a whole."""
    notes = []
    frozen = [h.name for h in view.hosts if now - h.last_seen > known.limits.stale_after_s]
    if frozen:
        notes.append(f"{len(frozen)} hosts silent, nothing changes there: {', '.join(sorted(frozen)[:5])}")
    known_hosts = {h.name for h in view.hosts}
    lost = sorted({s.host for s in view.servers} - known_hosts)
    if lost:
        notes.append(f"{len(lost)} hosts of servers are unknown, nothing changes there: {', '.join(lost[:5])}")
    if deciding < len(view.servers):
        notes.append(f"{len(view.servers) - deciding} servers in mode observe: measured and forecast, not decided")
    notes.extend(f"no forecast of {r}" for r in RESOURCES if r not in known.forecasts and deciding)
    return tuple(notes)
