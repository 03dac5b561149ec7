"""What the plan is told of shadow VMs: who waits and holds little, and who was claimed and gets all that was sold.

A waiting one has a cap and a floor at what the pool says: plans take the rest from it, through orders like any other, and what it still
has is the first to be given to customers' servers on its host. For a day after its claim its floor is what was sold: the history from its
time of waiting says nothing about its owner.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from foreshape_controller.model.cap import Cap
from foreshape_controller.model.pool import Pool, Shadow, State

OWN_S = 86400.0
SAID_S = 3600.0
"""Each plan says it anew."""

ByServer = Mapping[str, Mapping[str, float]]
"""By resource and server."""


class WarmStore(Protocol):
    """The part of ``store.pools`` that is needed here."""

    def all(self, *, closing: bool = False) -> Sequence[Pool]: ...

    def in_state(self, *states: State, since: float = 0.0) -> Sequence[Shadow]: ...


class Warm:
    """Sources of the plan loop. Nothing is kept here."""

    def __init__(self, store: WarmStore) -> None:
        self._store = store

    def shadows(self, now: float) -> frozenset[str]:  # noqa: ARG002  a source of the plan loop
        """Servers that nobody has claimed yet."""
        return frozenset(s.server for s in self._waiting())

    def caps(self, others: Mapping[str, Mapping[str, Cap]], now: float) -> Mapping[str, Mapping[str, Cap]]:
        """People's caps, and those of who waits; where both hold, the smaller one."""
        found = {resource: dict(caps) for resource, caps in others.items()}
        for cap, server in self._capped(now):
            of = found.setdefault(cap.resource, {})
            of[server] = min(of.get(server, cap), cap, key=lambda c: c.amount)
        return found

    def floors(self, others: ByServer, now: float) -> ByServer:
        """Lowered floors of others, those of who waits, and those of who was claimed lately."""
        found = {resource: dict(floors) for resource, floors in others.items()}
        for shadow, pool in self._with_pools(self._waiting()):
            for resource, amount, sold in (("cpu", pool.wait_cores, shadow.sold_cores), ("memory", pool.wait_mib, shadow.sold_mib)):
                found.setdefault(resource, {})[shadow.server] = min(amount, sold) if sold else amount
        for shadow in self._store.in_state(State.CLAIMED, State.HANDED_OVER, since=now - OWN_S):
            for resource, sold in (("cpu", shadow.sold_cores), ("memory", shadow.sold_mib)):
                if sold and shadow.server:
                    found.setdefault(resource, {})[shadow.server] = sold
        return found

    def _waiting(self) -> Sequence[Shadow]:
        return [s for s in self._store.in_state(State.READY) if s.server and not s.cold]

    def _with_pools(self, shadows: Sequence[Shadow]) -> Iterator[tuple[Shadow, Pool]]:
        pools = {p.id: p for p in self._store.all(closing=True)} if shadows else {}
        yield from ((s, pools[s.pool]) for s in shadows if s.pool in pools)

    def _capped(self, now: float) -> Iterator[tuple[Cap, str]]:
        for shadow, pool in self._with_pools(self._waiting()):
            why = f"shadow VM of pool {pool.name}: it waits for a claim"
            for resource, amount in (("cpu", pool.wait_cores), ("memory", pool.wait_mib)):
                scope = f"server:{shadow.server}"
                cap = Cap(id=shadow.id, scope=scope, resource=resource, amount=amount, since=shadow.since, until=now + SAID_S, reason=why)
                yield cap, shadow.server
