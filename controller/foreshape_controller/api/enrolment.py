"""Operators' word on agents: who there is and what is wrong with it, who is let in, who is shown the door."""

import re
from importlib.metadata import version

from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.services import Services
from foreshape_controller.decide.agents import Heard, Terms, judge
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.answers import AgentAnswer, JoinAnswer
from foreshape_controller.store.agents import Enrolled
from foreshape_controller.store.inventory import HostDetail

HOST_MOST = 255
HOST = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._:@-]{{0,{HOST_MOST - 1}}}")
"""It becomes part of commands and files' names in people's hands: what a shell, a path or a page would take for its own is none."""


@get("/agents", sync_to_thread=True)
def agents(services: NamedDependency[Services]) -> list[AgentAnswer]:
    """Every agent that may report, was invited, or has reported once."""
    return _agents(services)


@get("/agents/{host:str}", sync_to_thread=True)
def agent(services: NamedDependency[Services], host: FromPath[str]) -> AgentAnswer:
    found = next((a for a in _agents(services) if a.host == host), None)
    if found is None:
        raise NotFound(f"there is no agent of host {host[:80]!r}: 'foreshape agent list' has those that there are")
    return found


@post("/agents/{host:str}/join", status_code=200, sync_to_thread=True)
def join(services: NamedDependency[Services], host: FromPath[str]) -> JoinAnswer:
    """A one-time token with which this host's agent can enrol."""
    if not HOST.fullmatch(host):
        raise Invalid(f"a host's name is that of its nova-compute or its machine: letters, digits and . _ - : @, at most {HOST_MOST}")
    now, ttl_s = services.clock(), services.settings.agents.join_ttl_s
    return JoinAnswer(host=host, join_token=services.store.agents.join_token(host, now, ttl_s), expires_at=now + ttl_s)


@delete("/agents/{host:str}", status_code=204, sync_to_thread=True)
def revoke(services: NamedDependency[Services], host: FromPath[str]) -> None:
    """Void every token of a host: its agent is heard no more."""
    if not services.store.agents.revoke(host):
        raise NotFound(f"no agent of host {host[:80]!r} is enrolled or invited")


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[agents, agent, join, revoke], tags=["operators"])


def _agents(services: Services) -> list[AgentAnswer]:
    now, settings = services.clock(), services.settings
    tokens, details = services.store.agents.enrolled(now), services.store.inventory.details()
    terms = Terms(settings.plan.stale_after_s, settings.agents.token_rotation_days * 86400.0, version("foreshape"))
    return [_answer(tokens.get(n, Enrolled(n)), details.get(n), terms, now) for n in sorted({*tokens, *details})]


def _answer(token: Enrolled, told: HostDetail | None, terms: Terms, now: float) -> AgentAnswer:
    seen = told or HostDetail()
    judged = judge(
        Heard(
            host=token.host,
            issued_at=token.issued_at,
            join_until=token.join_until,
            received_at=None if told is None else told.received_at,
            last_seen=seen.last_seen,
            version=seen.agent_version,
            safe_mode=seen.safe_mode,
            clock_ahead_s=seen.clock_ahead_s,
        ),
        terms,
        now,
    )
    return AgentAnswer(
        host=token.host,
        state=judged.state,
        version=seen.agent_version,
        last_report_s_ago=None if told is None else max(0.0, now - told.received_at),
        token_issued=token.issued_at,
        token_age_s=None if token.issued_at is None else max(0.0, now - token.issued_at),
        token_next=token.next_at,
        join_until=token.join_until,
        wrong=judged.wrong,
        to_do=judged.to_do,
    )
