"""Hosts that are short of something that no sharing can meet. Every route needs the admin token."""

from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from foreshape_controller.api import visible
from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.services import Services
from foreshape_controller.model.answers import CandidateAnswer, NeedAnswer
from foreshape_controller.model.need import Known

KEPT_S = 7 * 86400.0
"""``all=true`` tells of what was closed so long ago."""


@get("/needs", sync_to_thread=True)
def needs(
    services: NamedDependency[Services],
    all: FromQuery[bool] = False,  # noqa: A002  the query's own word
) -> list[NeedAnswer]:
    """Migration needs, the most pressing first; with ``all=true`` then those that were closed within a week."""
    found = services.store.needs.list(services.clock() - KEPT_S if all else None)
    shown = visible.fleet(services).servers if found else ()
    names: dict[str, str] = {s.id: s.name or s.id for s in shown}
    return [_answer(k, names) for k in found]


def _answer(known: Known, names: dict[str, str]) -> NeedAnswer:
    n = known.need
    return NeedAnswer(
        host=n.host,
        resource=n.resource,
        amount=n.amount,
        since=known.since,
        starts=n.starts,
        deadline=n.deadline,
        probability=n.probability,
        reason=n.reason,
        candidates=tuple(
            CandidateAnswer(server=c.server, name=names.get(c.server, c.server), tier=c.tier, relief=c.relief, seconds=c.seconds)
            for c in n.candidates
        ),
        closed_at=known.closed_at,
        closed_why=known.closed_why,
    )


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[needs], tags=["operators"])
