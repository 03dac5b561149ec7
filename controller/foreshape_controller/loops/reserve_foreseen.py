"""Room for moves that a forecast asks for: each proposal with a deadline gets a planned reservation, held from shortly before.

The migration that the proposal becomes takes the reservation over (``loops/reserve.py: hold``); a proposal that is withdrawn gives it back,
and one whose room was lost is planned for again as long as it stands.
"""

from collections.abc import Callable, Collection, Sequence

import structlog

from foreshape_controller.decide.ground import claim
from foreshape_controller.errors import CloudError, Invalid
from foreshape_controller.loops.reserve import Reservations
from foreshape_controller.loops.reserve_door import Watch
from foreshape_controller.model.cloud import CloudView
from foreshape_controller.model.moving import Goal, Proposal
from foreshape_controller.model.reservation import Reservation, ReservationWish

_log = structlog.get_logger("foreshape.reservations")

LASTS_S = 1800.0
"""Past the deadline: until then the move has begun, or is of no use."""


class Foreseen:
    """``run_once`` for the scheduler."""

    def __init__(
        self,
        reservations: Reservations,
        watch: Watch,
        waiting: Callable[[], Sequence[Proposal]],
        moving: Callable[[], Collection[str]],
    ) -> None:
        """``waiting``: proposals that stand. ``moving``: servers whose migration is not over: theirs is about to take over."""
        self._reservations, self._watch, self._waiting, self._moving = reservations, watch, waiting, moving

    def run_once(self, now: float) -> None:
        """Give back what nobody proposes any more, then plan what is new."""
        view = self._watch.view()
        if view is None or self._watch.why_not(now):
            return
        wanted = {_owner(p): p for p in self._waiting() if p.goal is Goal.NEED and p.ends + LASTS_S > now and p.deadline is not None}
        mine = [r for r in self._reservations.open() if r.wish.owner.startswith("need:")]
        self._give_back([r for r in mine if r.wish.owner not in wanted], now)
        for owner in wanted.keys() - {r.wish.owner for r in mine}:
            if wish := _wish(wanted[owner], view, now):
                self._plan(wish, now)

    def _plan(self, wish: ReservationWish, now: float) -> None:
        """One that makes no sense, such as a need in a year, never stops the others."""
        try:
            self._reservations.plan(wish, now)
        except Invalid as e:
            _log.error("no reservation for a proposal", proposal=wish.cause, server=wish.server, reason=str(e))

    def _give_back(self, unwanted: Sequence[Reservation], now: float) -> None:
        moving = self._moving() if unwanted else ()
        for reservation in unwanted:
            if reservation.wish.server not in moving:
                try:
                    self._reservations.release(reservation.id, "the move is not proposed any more", now)
                except CloudError:
                    return  # it is given back by the reservations' own loop


def _owner(proposal: Proposal) -> str:
    return f"need:{proposal.id}"


def _wish(proposal: Proposal, view: CloudView, now: float) -> ReservationWish | None:
    """None where the server is not there (any more): the proposal will be withdrawn."""
    server = view.servers.get(proposal.server)
    if server is None or proposal.deadline is None:
        return None
    return ReservationWish(
        host=proposal.target,
        resources=claim(server),
        owner=_owner(proposal),
        reason=f"{proposal.name or proposal.server} is to leave {proposal.source}: {proposal.reason}",
        starts=max(proposal.deadline, now),
        until=max(proposal.deadline, now) + LASTS_S,
        cause=proposal.id,
        project=server.project,
        server=server.id,
        groups=server.groups,
    )
