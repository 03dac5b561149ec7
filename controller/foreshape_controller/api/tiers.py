"""Tiers: the policy in force, which everybody may read, and the tier of one server, which operators set."""

from collections import Counter
from collections.abc import Mapping

import msgspec
from litestar import Router, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec.structs import replace

from foreshape_controller.api import present, visible
from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.services import Services
from foreshape_controller.decide.circumstances import learned_of
from foreshape_controller.decide.segments import grouped
from foreshape_controller.decide.tiers import dump_tiers
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.log import get_logger
from foreshape_controller.loops.policy import assigned
from foreshape_controller.model.answers import PolicyAnswer, ServerAnswer, TierAnswer
from foreshape_controller.model.caller import OPERATOR, Caller
from foreshape_controller.model.group import Member
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.mark import Factors
from foreshape_controller.model.server import ClusterView
from foreshape_controller.model.tier import Tier

_log = get_logger("tiers")


class TierRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``PUT /v1/servers/{id or name}/tier``. An empty tier lets the file's rules speak again."""

    tier: str
    reason: str = ""
    by: str = ""
    """Who asks; kept in the log."""


@get("/tiers", rule="tiers:list", sync_to_thread=True)
def tiers(services: NamedDependency[Services], caller: NamedDependency[Caller]) -> PolicyAnswer:
    """The policy in force; its numbers are the file's, before feedback adapts them. A tenant sees the tiers, and who of his is in each."""
    told = _policy(services, caller)
    return told if caller.everywhere else replace(told, file="", hash="", problems=(), warnings=(), assign=())


@get("/tiers/{name:str}", rule="tiers:list", sync_to_thread=True)
def tier(services: NamedDependency[Services], caller: NamedDependency[Caller], name: FromPath[str]) -> TierAnswer:
    """What decisions are made by now: the file's numbers with feedback on top."""
    known = services.at_prices(services.policy.current()).tiers
    if name not in known:
        raise NotFound(f"there is no tier {name!r}; known are {', '.join(known)}")
    answer = _tier(known[name], _count(services, caller)[name])
    if not caller.everywhere:
        return answer
    factors = services.store.tier_factors.all()
    answer.learned = {r: learned_of(factors.get((name, r), Factors())) for r in RESOURCES}
    return answer


@post("/tiers/reload", status_code=200, sync_to_thread=True)
def reload(services: NamedDependency[Services]) -> PolicyAnswer:
    """Read the file now; a text with a mistake changes nothing, and ``problems`` says what is wrong."""
    services.policy.reload()
    return _policy(services, OPERATOR)


@put("/servers/{name:str}/tier", sync_to_thread=True)
def set_tier(services: NamedDependency[Services], name: FromPath[str], data: JSONBody[TierRequest]) -> ServerAnswer:
    """Put a server into a tier of its own, before every rule of the file."""
    known = services.policy.current().tiers
    if data.tier and data.tier not in known:
        raise Invalid(f"there is no tier {data.tier!r}; known are {', '.join(known)}")
    found = visible.server(services, OPERATOR, name)
    services.store.inventory.set_tier(found.id, data.tier)
    _log.info("tier set", server=found.id, before=found.tier, tier=data.tier, reason=data.reason, by=data.by)
    view = services.store.inventory.view(services.clock())
    return present.server(present.find(view, found.id), view.at, tier_names(services, view)[found.id])


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[tiers, tier, reload, set_tier], tags=["operators"])


def tier_names(services: Services, view: ClusterView) -> Mapping[str, str]:
    """By server: the name of the tier in force."""
    members = [Member.of(s) for s in view.servers]
    groups = grouped(members, services.segments, services.store.profiles.names([s.id for s in view.servers])).of
    return {server: t.name for server, t in assigned(services.policy.state().tiers, view.servers, groups).items()}


def _count(services: Services, caller: Caller) -> Counter[str]:
    return Counter(tier_names(services, visible.glance(services, caller)).values())


def _policy(services: Services, caller: Caller) -> PolicyAnswer:
    state, count = services.policy.state(), _count(services, caller)
    return PolicyAnswer(
        file=services.policy.file,
        hash=state.hash,
        since=state.since,
        default=state.tiers.default,
        problems=state.problems,
        warnings=state.warnings,
        tiers=tuple(_tier(t, count[t.name]) for t in services.at_prices(state.tiers).tiers.values()),
        assign=tuple(dump_tiers(state.tiers)["assign"]),
    )


def _tier(t: Tier, servers: int) -> TierAnswer:
    return TierAnswer(servers=servers, **{f: getattr(t, f) for f in TierAnswer.__struct_fields__ if f not in ("servers", "learned")})
