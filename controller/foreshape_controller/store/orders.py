"""The life of an order. Pure: a state, an event, the next state.

    open ──every asked resource applied──────▶ applied
      │───all answered, one failed───────────▶ failed
      │───all answered, none failed, one refused ▶ refused
      │───a newer order for the server───────▶ superseded
      │───its time is over───────────────────▶ expired
      │───either, before its agent asked─────▶ unseen
      └───somebody stopped its scope─────────▶ withdrawn

Nothing leaves a closed status: what is told later is kept beside the order and changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from foreshape_wire.order import Order, Verdict


class Status(StrEnum):
    OPEN = "open"
    APPLIED = "applied"
    REFUSED = "refused"
    FAILED = "failed"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    UNSEEN = "unseen"
    WITHDRAWN = "withdrawn"


NEXT: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {Status.OPEN: frozenset(Status), **{s: frozenset({s}) for s in Status if s is not Status.OPEN}}
)
"""Where each status may go."""

FINAL = frozenset({Verdict.APPLIED, Verdict.REFUSED, Verdict.FAILED})


@dataclass(frozen=True)
class OrderState:
    """What is known of an order; ``told`` has a place for each resource it asked for."""

    status: Status
    told: Mapping[str, Verdict | None]


def begin(order: Order) -> OrderState:
    """A new order. One that asks for nothing has nothing to wait for."""
    asked = [r for r, amount in (("cpu", order.cpu), ("memory", order.memory)) if amount is not None]
    return OrderState(Status.OPEN if asked else Status.APPLIED, dict.fromkeys(asked))


def tell(state: OrderState, resource: str, verdict: Verdict) -> OrderState:
    """An outcome came in. The first final verdict of a resource stands: a replayed or late one changes nothing."""
    if state.status is not Status.OPEN or resource not in state.told or state.told[resource] in FINAL:
        return state
    told = {**state.told, resource: verdict}
    return replace(state, told=told, status=_status(tuple(told.values())))


def close(state: OrderState, status: Status) -> OrderState:
    """Supersede, expire or withdraw an order; a closed one stays as it was."""
    return replace(state, status=status) if state.status is Status.OPEN else state


def _status(told: tuple[Verdict | None, ...]) -> Status:
    if any(v not in FINAL for v in told):
        return Status.OPEN
    if Verdict.FAILED in told:
        return Status.FAILED
    return Status.REFUSED if Verdict.REFUSED in told else Status.APPLIED
