"""What plan and agents are told of shadow VMs: who waits and holds little, and who was claimed and gets all that was sold.

A waiting one has a cap and a floor at what the pool says: its agent holds its CPU there (else it would answer the pressure that is meant),
plans take the memory through orders like any other, and what it still has is the first to be given to customers' servers on its host. For a
day after its claim its floor is what was sold: the history from its time of waiting says nothing about its owner.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from foreshape_controller.model.cap import Cap
from foreshape_controller.model.pool import Pool, Shadow, State

OWN_S = 86400.0
SAID_S = 3600.0
"""A cap is said for one to two of these, and said anew with every reply: an agent that hears nothing more lets go then."""
READ_EVERY_S = 5.0

ByServer = Mapping[str, Mapping[str, float]]
"""By resource and server."""


class WarmStore(Protocol):
    """The part of ``store.pools`` that is needed here."""

    @property
    def written(self) -> int: ...

    def all(self, *, closing: bool = False) -> Sequence[Pool]: ...

    def in_state(self, *states: State, since: float = 0.0) -> Sequence[Shadow]: ...


class Warm:
    """Sources of the plan loop, and of what agents are told to hold. Nothing is kept here that is not read again. Safe from any thread."""

    def __init__(self, store: WarmStore) -> None:
        self._store = store
        self._known: tuple[int, float, tuple[Cap, ...]] | None = None

    def shadows(self, now: float) -> frozenset[str]:  # noqa: ARG002  a source of the plan loop
        """Servers that nobody has claimed yet."""
        return frozenset(s.server for s in self._waiting())

    def caps(self, now: float) -> Sequence[Cap]:
        """Of who waits. Asked with every report of an agent, so read again only after a change, and now and then: others may write."""
        written, known = self._store.written, self._known
        if known is None or known[0] != written or not known[1] <= now < known[1] + READ_EVERY_S:
            known = self._known = written, now, tuple(self._capped(now))
        return known[2]

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

    def _capped(self, now: float) -> Iterator[Cap]:
        until = (now // SAID_S + 2) * SAID_S  # the same in every reply of an hour
        for shadow, pool in self._with_pools(self._waiting()):
            why = f"shadow VM of pool {pool.name}: it waits for a claim"
            for resource, amount in (("cpu", pool.wait_cores), ("memory", pool.wait_mib)):
                scope = f"server:{shadow.server}"
                yield Cap(id=shadow.id, scope=scope, resource=resource, amount=amount, since=shadow.since, until=until, reason=why)
