"""Room on a migration's target, by way of reservations: one slot of the server's size, owned by the migration."""

from collections.abc import Callable
from typing import Protocol

from foreshape_controller.errors import NotFound
from foreshape_controller.loops.acting import on_a_persons_word
from foreshape_controller.model.moving import Moving
from foreshape_controller.model.reservation import Reservation, ReservationWish, State

HELD_S = 1800.0
"""Room that nobody hands over ends by itself after so long: longer than an order ever waits for its lease."""


class Reservations(Protocol):
    """``loops/reserve.py``, as far as it is needed here."""

    def find(self, wanted: str) -> Reservation: ...

    def of_owner(self, owner: str) -> tuple[Reservation, ...]: ...

    def hold(self, wish: ReservationWish, now: float) -> Reservation: ...

    def release(self, wanted: str, why: str, now: float) -> Reservation: ...

    def hand_over(self, wanted: str, order: Callable[[], None], now: float, *, force: bool) -> None: ...


class Rooms:
    """Each may be asked twice: reservations know their owner."""

    def __init__(self, reservations: Reservations, groups: Callable[[str], tuple[str, ...]] = lambda _server: ()) -> None:
        """``groups``: ids of a server's groups, which planned places count for."""
        self._reservations, self._groups = reservations, groups

    def hold(self, row: Moving, now: float) -> str:
        """Id of the reservation that holds it. Raises NoRoom, Temporary, Permanent."""
        m = row.migration
        wish = ReservationWish(
            host=m.target,
            resources=dict(row.size),
            owner=_owner(row),
            reason=f"migration of {row.name or m.server} from {m.source}",
            until=m.created + HELD_S if m.created + HELD_S > now + 60.0 else now + HELD_S,
            cause=row.cause,
            project=row.project,
            server=m.server,
            groups=self._groups(m.server),
        )
        with on_a_persons_word(not row.automatic):
            return self._reservations.hold(wish, now).id

    def lost(self, row: Moving) -> str:
        """Why what was held is held no more; empty: it is."""
        try:
            found = self._reservations.find(row.reservation)
        except NotFound:
            return f"reservation {row.reservation} is gone"
        return "" if found.state is State.HELD and found.ending is None else f"reservation {found.id} is {found.state.value}: {found.said}"

    def hand_over(self, row: Moving, order: Callable[[], None], now: float) -> None:
        """Give the place up to the server: nobody else gets it before ``order`` has run."""
        with on_a_persons_word(not row.automatic):
            self._reservations.hand_over(row.reservation, order, now, force=True)

    def release(self, row: Moving, why: str, now: float) -> None:
        """Nothing is held for it any more when this returns. Raises Temporary."""
        for mine in self._reservations.of_owner(_owner(row)):
            self._reservations.release(mine.id, why, now)


def _owner(row: Moving) -> str:
    return f"migration:{row.id}"
