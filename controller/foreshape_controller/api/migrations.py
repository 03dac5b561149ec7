"""Migrations, proposals, drains. Every route needs the admin token. What is approved is carried out by the coordinator's next round."""

from typing import Any

from litestar import Request, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec.structs import replace

from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.scopes import one_line
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.loops.draining import told
from foreshape_controller.loops.migrations import Migrations
from foreshape_controller.loops.surroundings import Surroundings
from foreshape_controller.model.moving import Goal, Moving, Proposal
from foreshape_controller.model.moving_answers import (
    Answer,
    ApproveRequest,
    CancelRequest,
    DrainAnswer,
    DrainRequest,
    HappeningAnswer,
    KeptAnswer,
    PlanAnswer,
    PlanRequest,
    ProposeRequest,
    ShowAnswer,
)

KEPT_S = 7 * 86400.0
"""``all=true`` tells of what ended so long ago."""
REASON_MOST = 500


@get("/migrations", sync_to_thread=True)
def migrations(services: NamedDependency[Services], all: FromQuery[bool] = False) -> list[Answer]:  # noqa: A002  the query's own word
    """Proposals and migrations, those that wait and are under way first; with ``all=true`` then those of a week."""
    _moving(services)
    since = services.clock() - KEPT_S if all else float("inf")
    kept = services.store.migrating
    found = [*map(proposed, kept.proposals.list(since)), *map(answer, kept.moves.list(since))]
    return sorted(found, key=lambda a: (a.ended is not None or a.state == "withdrawn", -a.created, a.id))


@get("/migrations/{wanted:str}", sync_to_thread=True)
def show(services: NamedDependency[Services], wanted: FromPath[str]) -> ShowAnswer:
    """One migration with its history; a proposal has none yet."""
    _moving(services)
    return _shown(services, wanted)


@post("/migrations/{wanted:str}/cancel", status_code=200, sync_to_thread=True)
def cancel(services: NamedDependency[Services], wanted: FromPath[str], data: JSONBody[CancelRequest]) -> ShowAnswer:
    """A proposal is withdrawn; a migration ends where it can: before its order at once, after it only where Nova survives an abort."""
    kept, why = services.store.migrating, _reason(data.reason or "cancelled by an operator")
    try:
        kept.moves.ask_cancel(wanted, why, services.clock())
    except NotFound:
        if kept.proposals.withdraw(wanted, why).state == "taken":  # between the two
            kept.moves.ask_cancel(wanted, why, services.clock())
    return _shown(services, wanted)


@post("/migrations/approve", status_code=200, sync_to_thread=True)
def approve(services: NamedDependency[Services], data: JSONBody[ApproveRequest]) -> list[Answer]:
    """Proposals that are to be carried out: every rule is looked at again before each is."""
    _moving(services)
    proposals = services.store.migrating.proposals
    if bool(data.ids) == data.all:
        raise Invalid("name proposals, or all of them: ids or all")
    wanted = [p.id for p in proposals.waiting() if p.state == "open"] if data.all else data.ids
    return [proposed(p) for p in proposals.approve(wanted, _reason(data.by or "operator"))]


@post("/migrations/propose", status_code=201, sync_to_thread=True)
def propose(services: NamedDependency[Services], data: JSONBody[ProposeRequest]) -> Answer:
    """One move that somebody wants; with ``approve`` it is carried out."""
    moving, around = _moving(services), _around(services)
    server = _server(around, data.server)
    found = moving.proposing.single(server, data.target, _reason(data.reason), around)
    if data.approve:
        found = replace(found, state="approved", by=_reason(data.by or "operator"))
    services.store.migrating.proposals.put([found])
    return proposed(found)


@post("/migrations/plan", status_code=200, sync_to_thread=True)
def plan(services: NamedDependency[Services], data: JSONBody[PlanRequest]) -> PlanAnswer:
    """What would be moved for a goal, and what not and why; with ``propose`` the moves are kept as proposals."""
    moving, around = _moving(services), _around(services)
    if data.goal not in {g.value for g in Goal} - {Goal.OPERATOR.value}:
        raise Invalid("goal: need, drain or consolidate")
    found = moving.proposing.plan(Goal(data.goal), around, around.facts.proposals, host=data.host, flavor=data.flavor)
    if data.propose:
        services.store.migrating.proposals.put(found.proposals)
    names = {s.id: s.name for s in around.facts.cloud.servers.values()}
    kept = tuple(KeptAnswer(name=f"{names[k.name]} ({k.name})" if names.get(k.name) else k.name, reason=k.reason) for k in found.kept)
    notes = tuple(n for n in (around.facts.blind, around.balancer) if n)
    return PlanAnswer(moves=tuple(map(proposed, found.proposals)), kept=kept, notes=notes)


@get("/drains", sync_to_thread=True)
def drains(services: NamedDependency[Services], all: FromQuery[bool] = False) -> list[DrainAnswer]:  # noqa: A002  the query's own word
    """Hosts that are being emptied; with ``all=true`` also those of a week."""
    since = services.clock() - KEPT_S if all else float("inf")
    around = _moving(services).gather(services.clock())
    return [told(d, around) for d in services.store.migrating.drains.list(since)]


@post("/hosts/{host:str}/drain", status_code=201, sync_to_thread=True)
def drain(services: NamedDependency[Services], host: FromPath[str], data: JSONBody[DrainRequest]) -> DrainAnswer:
    """Empty a host: planned with the next round, carried out where the mode is act or ``approve`` was given."""
    moving = _moving(services)
    asked = replace(data, by=one_line(data.by), reason=_reason(data.reason))
    with services.seats():
        begun = moving.draining.begin(host, asked, services.clock())
    moving.coordinator.replan()
    return told(begun, moving.gather(services.clock()))


@delete("/hosts/{host:str}/drain", status_code=200, sync_to_thread=True)
def undrain(request: Request[Any, Any, Any], services: NamedDependency[Services], host: FromPath[str]) -> DrainAnswer:
    """End a drain; query ``reason``. What is under way arrives."""
    moving = _moving(services)
    why = one_line(str(request.query_params.get("reason", "")))[:REASON_MOST]
    with services.seats():
        ended = moving.draining.end(host, why, services.clock())
    return told(ended, moving.gather(services.clock()))


ROUTER = Router(
    "/v1", opt=OPERATORS, route_handlers=[migrations, show, cancel, approve, propose, plan, drains, drain, undrain], tags=["migrations"]
)


def _shown(services: Services, wanted: str) -> ShowAnswer:
    kept = services.store.migrating
    try:
        row = kept.moves.find(wanted)
    except NotFound:
        return _whole(proposed(kept.proposals.find(wanted)))
    lines = tuple(HappeningAnswer(at=h.at, what=h.what, state=h.state, text=h.text) for h in kept.moves.history(wanted))
    return _whole(answer(row), row, lines)


def answer(row: Moving) -> Answer:
    """A migration in one line."""
    m = row.migration
    return Answer(
        id=m.id,
        kind="migration",
        state=m.state.value,
        server=m.server,
        name=row.name,
        source=m.source,
        target=m.target,
        goal=row.goal.value,
        reason=m.reason,
        by=row.by,
        created=m.created,
        deadline=row.deadline,
        worth=row.worth,
        predicted_s=row.predicted_s,
        downtime_s=row.downtime_s,
        took_s=row.took_s,
        stopped_s=row.stopped_s,
        said="; ".join(s for s in (m.said, f"waits: {row.waits}" if row.waits else "") if s),
        ended=row.ended,
    )


def proposed(p: Proposal) -> Answer:
    """A proposal in one line."""
    return Answer(
        id=p.id,
        kind="proposal",
        state=p.state,
        server=p.server,
        name=p.name,
        source=p.source,
        target=p.target,
        goal=p.goal.value,
        reason=p.reason,
        by=p.by,
        created=p.made,
        deadline=p.deadline,
        worth=p.worth,
        predicted_s=p.predicted_s,
        downtime_s=p.downtime_s,
        took_s=None,
        stopped_s=None,
        said=p.why,
        ended=None,
    )


def _whole(line: Answer, row: Moving | None = None, history: tuple[HappeningAnswer, ...] = ()) -> ShowAnswer:
    told_of = {f: getattr(line, f) for f in line.__struct_fields__}
    return ShowAnswer(
        **told_of,
        project=row.project if row else "",
        cause=row.cause if row else "",
        reservation=row.reservation if row else "",
        nova_id=row.migration.nova_id if row else "",
        link=row.link if row else "",
        copied_mib=row.copied_mib if row else 0.0,
        limit_s=row.migration.limit_s if row else 0.0,
        history=history,
    )


def _moving(services: Services) -> Migrations:
    if services.cloud is None:
        raise Invalid("no OpenStack is configured: nothing can be migrated; see [cloud] enabled in controller.conf")
    return services.cloud.migrations


def _around(services: Services) -> Surroundings:
    around = _moving(services).gather(services.clock())
    if around is None:
        raise Invalid("the cloud was not read yet: try again in a minute; 'foreshape cloud status' says why")
    return around


def _server(around: Surroundings, wanted: str) -> str:
    """Id of a server of Nova's, by its id or name. Raises NotFound, Invalid."""
    servers = around.facts.cloud.servers
    found = [wanted] if wanted in servers else [s.id for s in servers.values() if s.name == wanted]
    if len(found) > 1:
        raise Invalid(f"server: {len(found)} servers are called {wanted[:80]!r}: name one by its id, {', '.join(sorted(found)[:5])}")
    if not found:
        raise NotFound(f"there is no server {wanted[:80]!r} in Nova")
    return found[0]


def _reason(text: str) -> str:
    said = one_line(text).strip()
    if not said or len(said) > REASON_MOST:
        raise Invalid(f"reason: say why, in at most {REASON_MOST} characters")
    return said
