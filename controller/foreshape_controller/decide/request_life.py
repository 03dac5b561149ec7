"""The course of one request: a table from (state, event) to the next state. Pure; the picture is in ``model/request.py``.

What is not in the table changes nothing. The caller keeps the new state, with its step in the journal and what webhooks are to be told,
before it asks anything of the cloud; what a state wants held is said by ``wanted`` and asked for again until it is so.
"""

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from msgspec.structs import replace

from foreshape_controller.decide.requests import Verdict
from foreshape_controller.model.request import Alternative, Request, RequestState


class Happened(enum.StrEnum):
    """What can happen to a request."""

    PLACED = "placed"
    """It got hosts and a start, and nobody has to approve."""
    OFFERED = "offered"
    """The same, in mode advise."""
    APPROVE = "approve"
    DUE = "due"
    """Its start is here."""
    HELD = "held"
    """All of its room is held (or, without a cloud, in the books)."""
    LOST = "lost"
    """It cannot be had as promised: it waits again, with the place in the queue that it always had."""
    TAKE = "take"
    CANCEL = "cancel"
    DECLINE = "decline"
    EXPIRE = "expire"


_S, _H = RequestState, Happened
_WAITING = (_S.QUEUED, _S.PROPOSED, _S.SCHEDULED, _S.ADMITTED, _S.STARTED)
TABLE: Mapping[tuple[RequestState, Happened], RequestState] = MappingProxyType(
    {
        (_S.QUEUED, _H.PLACED): _S.SCHEDULED,
        (_S.QUEUED, _H.OFFERED): _S.PROPOSED,
        (_S.PROPOSED, _H.APPROVE): _S.SCHEDULED,
        (_S.SCHEDULED, _H.DUE): _S.ADMITTED,
        (_S.ADMITTED, _H.HELD): _S.STARTED,
        (_S.STARTED, _H.TAKE): _S.FULFILLED,
        **{(s, _H.LOST): _S.QUEUED for s in _WAITING if s.promised},
        **{(s, _H.CANCEL): _S.CANCELLED for s in _WAITING},
        **{(s, _H.DECLINE): _S.DECLINED for s in _WAITING},
        **{(s, _H.EXPIRE): _S.EXPIRED for s in _WAITING},
    }
)
"""All that can happen. A pair that is missing changes nothing."""

PROPOSAL_S = 1800.0
"""So long past its start a proposal waits for its approval; then another start is looked for."""


def step(request: Request, event: Happened, now: float, said: str = "") -> Request:
    """The request after the event; the same object where nothing can happen."""
    state = TABLE.get((request.state, event))
    if state is None:
        return request
    kept = request if state.promised or state is _S.FULFILLED else replace(request, placed=(), start=0.0, take_by=0.0, kept=False)
    lost = kept.lost + (1 if event is _H.LOST else 0)
    over = {"next_look": 0.0, "alternatives": ()} if state.over else {}
    return replace(kept, state=state, changed=now, said=said or kept.said, lost=lost, **over)


def answered(request: Request, verdict: Verdict, alternatives: Sequence[Alternative], now: float, *, acts: bool, look_s: float) -> Request:
    """A queued request after it was looked at. ``acts``: nobody has to approve."""
    said = replace(request, said=verdict.said, code=verdict.code, alternatives=tuple(alternatives), next_look=now + look_s)
    if not verdict.placed:
        return said
    placed = replace(said, placed=verdict.placed, start=verdict.start, next_look=max(verdict.start, now + look_s))
    return step(placed, _H.PLACED if acts else _H.OFFERED, now, verdict.said)


def due(request: Request, now: float) -> Happened | None:
    """What the clock does to it."""
    if request.state is _S.QUEUED and request.latest < now:
        return _H.EXPIRE
    if request.state is _S.PROPOSED and request.start + PROPOSAL_S < now:
        return _H.LOST
    if request.state is _S.SCHEDULED and request.start <= now:
        return _H.DUE
    if request.state is _S.STARTED and request.take_by <= now:
        return _H.EXPIRE
    return None


def wanted(request: Request) -> Mapping[str, int]:
    """Slots by host that are to be held for it, or planned to be, in this state."""
    return {p.host: p.count for p in request.placed} if request.state.promised else {}


def counts(request: Request, now: float, settle_s: float) -> tuple[float, float] | None:
    """From when to when its servers count in everybody's room; None: they do not. Who came is seen by others after a while."""
    if request.state.promised:
        return request.start, max(request.end, now + 1.0)
    if request.state is _S.FULFILLED and now < request.changed + settle_s:
        return request.start, max(now + 1.0, request.changed + settle_s)
    return None
