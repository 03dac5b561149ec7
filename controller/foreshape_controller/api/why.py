"""Why a server has the size it has: the decision in force, what it was made from, what it led to and what came afterwards.

A tenant is told all of his own server and nothing of others (``decide.discreet``).
"""

from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from foreshape_controller.api import visible
from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.services import Services
from foreshape_controller.decide import caps, discreet, price
from foreshape_controller.decide.afterwards import afterwards, window
from foreshape_controller.decide.circumstances import chosen, circumstances, learned
from foreshape_controller.decide.segments import grouped
from foreshape_controller.decide.why import Around, clock, sentences
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.answers import WhyAnswer, WorthAnswer
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.group import Member
from foreshape_controller.model.history import RESOURCES, History
from foreshape_controller.model.moment import read_moment
from foreshape_controller.model.plan import Decision, Sizing
from foreshape_controller.model.tier import Price

Limit = Annotated[int, QueryParameter(ge=1, le=100)]


@get("/servers/{name:str}/why", rule="servers:why", sync_to_thread=True)
def why(
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
    name: FromPath[str],
    at: FromQuery[str | None] = None,
    limit: Limit = 5,
) -> WhyAnswer:
    """The decision in force now, or at an instant (epoch seconds, ISO 8601, or "2h ago")."""
    server, called = visible.remembered(services, caller, name)
    then = None if at is None else _instant(at, services.clock())
    decisions = services.store.journal.decisions(server, at=then, limit=limit)
    if not decisions and then is not None:
        raise NotFound(_nothing_then(services, server, called, then))
    return _answer(services, caller, (server, called), decisions, then, limit)


@get("/why", rule="servers:why", sync_to_thread=True)
def why_cause(services: NamedDependency[Services], caller: NamedDependency[Caller], cause: FromQuery[str], limit: Limit = 5) -> WhyAnswer:
    """The decision with this cause id, as an order, an outcome, a log line or the agent names it."""
    found = services.store.journal.caused(cause)
    if found is None or f"server:{found.server}" not in visible.scopes(services, caller):
        raise NotFound(_no_cause(services, caller, cause))
    _, called = visible.remembered(services, caller, found.server)
    return _answer(services, caller, (found.server, called), (found,), found.at, limit)


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[why, why_cause], tags=["operators"])


def _instant(text: str, now: float) -> float:
    try:
        at = read_moment(text, now)
    except ValueError as e:
        raise Invalid(f"at: {e}") from e
    if at > now + 1:  # what a clock beside ours may be ahead
        raise Invalid(f"at: {clock(at)} is in the future, it is {clock(now)}: 'foreshape forecast show' looks ahead")
    return at


def _nothing_then(services: Services, server: str, called: str, then: float) -> str:
    if not services.store.journal.decisions(server, limit=1):
        return f"nothing was decided about {called} yet: it needs a report with its card, and the next plan"
    kept = f"{services.settings.journal.hold_retention_h:g} h"
    return (
        f"no decision about {called} by {clock(then)} is kept: that is before its first one, "
        f"or nothing was changed and it is older than {kept} ([journal] hold_retention_h)"
    )


def _no_cause(services: Services, caller: Caller, cause: str) -> str:
    if caller.everywhere and any(c.id == cause for c in services.store.caps.all()):
        return f"{cause} is a hard cap, not a decision: see 'foreshape cap show {cause}'"
    return (
        f"no decision with the cause {cause[:80]!r} is kept: an agent's own actions have causes of their own; "
        "'foreshape why SERVER --at TIME' tells what was decided then"
    )


def _answer(
    services: Services, caller: Caller, of: tuple[str, str], decisions: tuple[Decision, ...], then: float | None, limit: int
) -> WhyAnswer:
    """Everything around the first of the decisions. ``then``: orders and actions after it are not told."""
    answer = _gathered(services, of, decisions, then, limit)
    if decisions:
        _look_after(services, answer, decisions[0])
    return _told(answer) if caller.everywhere else _told_discreetly(answer, services, caller)


def _gathered(services: Services, of: tuple[str, str], decisions: tuple[Decision, ...], then: float | None, limit: int) -> WhyAnswer:
    (server, called), journal = of, services.store.journal
    return WhyAnswer(
        server=server,
        name=called,
        sentences=(),
        decisions=decisions,
        orders=journal.orders(server, limit, at=then),
        local_actions=journal.local_actions(server, limit, at=then),
    )


def _told(answer: WhyAnswer, *, by_host: bool = True) -> WhyAnswer:
    """With all of it in sentences."""
    around = Around(answer.circumstances, tuple(w.sentence for w in answer.worth), tuple(a.sentence for a in answer.afterwards))
    newest = answer.decisions[0] if answer.decisions else None
    if newest is not None and not by_host:
        newest = msgspec.structs.replace(newest, host=discreet.HOST)
    answer.sentences = sentences(answer.name, newest, answer.orders, answer.local_actions, around)
    return answer


def _told_discreetly(answer: WhyAnswer, services: Services, caller: Caller) -> WhyAnswer:
    """For a tenant: nothing of its host but Nova's ``hostId``, nothing of others, nothing of what is learned from everybody."""
    words = visible.words(services, caller)
    answer.decisions = tuple(discreet.decision(d, visible.host(caller, d.host), words) for d in answer.decisions)
    answer.orders = tuple(discreet.order(o, words) for o in answer.orders)
    answer.local_actions = tuple(discreet.outcome(o, words) for o in answer.local_actions)
    if answer.decisions:
        answer.circumstances = _circumstances_for(services, caller, answer.decisions[0], words)
    return _told(answer, by_host=False)


def _circumstances_for(services: Services, caller: Caller, decision: Decision, words: discreet.Words) -> tuple[str, ...]:
    """What was set for his project, his server, or the whole cloud in so many words."""
    store, at = services.store, decision.at
    mine = {f"server:{decision.server}", f"project:{caller.project}"}
    halted = [msgspec.structs.replace(h, reason="an operator or a safety rule") for h in store.halts.all()]
    return tuple(
        map(words, circumstances(mine, caps.in_force(store.caps.all(), at), halted, store.reclaims.of(decision.server).values(), at))
    )


def _look_after(services: Services, answer: WhyAnswer, decision: Decision) -> None:
    """What came of it, and what it is worth."""
    tiers = services.at_prices(services.policy.current())
    tier = tiers.tiers.get(decision.tier) or tiers.tiers[tiers.default]
    came = {r: _came(services, r, decision) for r in RESOURCES}
    sizings = {"cpu": decision.cpu, "memory": decision.memory}
    answer.afterwards = tuple(afterwards(sizings[r], came[r], services.clock()) for r in RESOURCES)
    answer.circumstances = _circumstances(services, decision)
    worth = (_worth(tier.price, sizings[r], float(came[r].entitlement[0])) for r in RESOURCES)
    answer.worth = tuple(w for w in worth if w is not None)


def _circumstances(services: Services, decision: Decision) -> tuple[str, ...]:
    """What else was in force when it was made, as far as it is still kept."""
    store, at = services.store, decision.at
    held = caps.in_force(store.caps.all(), at)
    scopes = {f"server:{decision.server}", f"host:{decision.host}"}
    if any(c.scope.startswith(("project:", "segment:")) for c in held):  # a view of 30,000 servers takes a second
        scopes |= _memberships(services, decision.server)
    said = circumstances(scopes, held, store.halts.all(), store.reclaims.of(decision.server).values(), at)
    return (*said, *chosen(store.choices.of(decision.server), services.clock()), *learned(decision.tier, store.tier_factors.all(), at))


def _memberships(services: Services, server: str) -> set[str]:
    """Its project and its segments; none of a server that is gone."""
    view = services.store.inventory.view(services.clock())
    found = next((s for s in view.servers if s.id == server), None)
    if found is None:
        return set()
    groups = grouped([Member.of(s) for s in view.servers], services.segments, services.store.profiles.names()).of
    return {n for n in caps.scopes(found, groups) if not n.startswith("host:")}  # it may have moved since


def _came(services: Services, resource: str, decision: Decision) -> History:
    history = services.store.history
    begin, end = window(decision.at, history.step_s)
    return history.read_lived(resource, (decision.server,), end, (end - begin) // history.step_s)


def _worth(terms: Price, sizing: Sizing, entitlement: float) -> WorthAnswer | None:
    """None where no price is set, or nothing was sold."""
    sentence = price.worth(terms, sizing.resource, entitlement, (sizing.allocation, sizing.target))
    if not sentence or not entitlement > 0:
        return None
    return WorthAnswer(
        resource=sizing.resource,
        entitlement=entitlement,
        before_per_hour=price.per_hour(terms, sizing.resource, entitlement, sizing.allocation),
        after_per_hour=price.per_hour(terms, sizing.resource, entitlement, sizing.target),
        change_per_hour=price.change_per_hour(terms, sizing.resource, entitlement, (sizing.allocation, sizing.target)),
        sentence=sentence,
    )
