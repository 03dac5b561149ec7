"""The room of requests: what a request's state wants held is planned and held under its name, and nothing else (``loops/reserve.py``)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import structlog
from msgspec.structs import replace

from foreshape_controller.decide import request_life as life
from foreshape_controller.decide.request_life import Happened
from foreshape_controller.loops.holding import Keyed
from foreshape_controller.model.request import Request, RequestState
from foreshape_controller.model.reservation import Reservation, ReservationWish, State

_log = structlog.get_logger("foreshape.requests")

NOT_YET = "it may start, but its room is not held yet: it is asked for again and again"
"""While OpenStack gives no answer, or the room was taken by somebody else. Why is said of its reservations, which operators see."""


class Rooms(Protocol):
    """``loops/reserve.py``, as far as it is needed here."""

    def of_owner(self, owner: str) -> Sequence[Reservation]: ...
    def plan(self, wish: ReservationWish, now: float) -> Reservation: ...
    def explained(self, planned: Reservation, now: float) -> Reservation: ...
    def approve(self, wanted: str, by: str, now: float) -> Reservation: ...
    def release(self, wanted: str, why: str, now: float) -> Reservation: ...


class _Store(Protocol):
    def find(self, wanted: str) -> Request: ...
    def change(self, wanted: str, by: Callable[[Request], Request], now: float) -> Request: ...


class Happen(Protocol):
    """Keeps what happened to a request."""

    def __call__(self, wanted: str, event: Happened, now: float, said: str = "") -> Request: ...


class Keeper:
    """``keep`` for each request, in every round and after each change. Safe from any thread."""

    def __init__(
        self, store: _Store, rooms: Rooms | None, happen: Happen, blind: Callable[[float], bool], *, take_s: float, patience_s: float
    ) -> None:
        """``rooms``: None where no OpenStack is configured; then the books are all there is. ``blind``: nobody knows what room there is."""
        self._store, self._rooms, self._happen, self._blind = store, rooms, happen, blind
        self._take_s, self._patience_s = take_s, patience_s
        self._keeping = Keyed()

    def keep(self, known: Request, now: float) -> None:
        """See that what its state wants held is planned or held, and nothing else; and tell it what came of that. One at a time, and
        by what it is by then: of two who keep one, the second would plan its room again, or that of one who was cancelled meanwhile.
        """
        with self._keeping(known.id):
            self._kept(self._store.find(known.id), now)

    def _kept(self, request: Request, now: float) -> None:
        rooms = self._rooms
        if rooms is None:
            if request.state is RequestState.ADMITTED:
                self._happen(request.id, Happened.HELD, now, "it may start; its room is kept in the books, for no OpenStack is configured")
            return
        wanted, mine = dict(life.wanted(request)), list(rooms.of_owner(request.owner))
        for r in mine:
            if not _meant(r, request, wanted):
                rooms.release(r.id, f"request {request.id} is {request.state.value}", now)
        meant = [r for r in mine if _meant(r, request, wanted)]
        there = {r.wish.host: r for r in meant if r.ending is None}
        for double in (r for r in meant if there.get(r.wish.host) not in (None, r)):
            rooms.release(double.id, f"request {request.id} has that room already", now)
        if missing := wanted.keys() - there.keys():
            self._missing(request, missing, rooms, now)
        elif wanted:
            self._held(request, list(there.values()), rooms, now)

    def _missing(self, request: Request, hosts: Iterable[str], rooms: Rooms, now: float) -> None:
        """What was never planned is planned; what was planned and is gone was lost."""
        if request.kept:
            self._happen(request.id, Happened.LOST, now, "its room was lost: another start is looked for")
            return
        for host in sorted(hosts):
            rooms.plan(self._wish(request, host, now), now)
        self._held(request, list(rooms.of_owner(request.owner)), rooms, now)

    def _wish(self, request: Request, host: str, now: float) -> ReservationWish:
        return ReservationWish(
            host=host,
            resources=dict(request.each),
            owner=request.owner,
            reason=f"request {request.id} of project {request.project}{': ' + request.ask.name if request.ask.name else ''}",
            starts=request.start,
            until=max(request.start, now) + self._take_s + life.PROPOSAL_S,
            count=next(p.count for p in request.placed if p.host == host),
            cause=request.cause,
            project=request.project,
        )

    def _held(self, request: Request, mine: Sequence[Reservation], rooms: Rooms, now: float) -> None:
        if not request.kept:
            request = self._store.change(request.id, lambda r: replace(r, kept=True) if r.state.promised else r, now)
        if request.state is RequestState.PROPOSED and all(r.approved for r in mine):
            self._happen(request.id, Happened.APPROVE, now, "an operator approved its reservations")
            return
        if request.approved and request.state is not RequestState.PROPOSED:
            for r in mine:
                if not r.approved:
                    rooms.approve(r.id, request.approved, now)
        if request.state is RequestState.ADMITTED:
            self._admitted(request, [rooms.explained(r, now) for r in rooms.of_owner(request.owner)], now)

    def _admitted(self, request: Request, mine: Sequence[Reservation], now: float) -> None:
        if mine and all(r.state is State.HELD and r.ending is None for r in mine):
            self._happen(request.id, Happened.HELD, now, "its room is held: its owner may come")
        elif now - request.changed > self._patience_s and not self._blind(now):  # who is blind finds no other start either
            told = "; ".join(r.said for r in mine if r.state is not State.HELD)
            _log.warning("a request's room could not be held", request=request.id, reason=told)
            self._happen(request.id, Happened.LOST, now, "its room could not be held in time: another start is looked for")
        elif request.said != NOT_YET:
            self._store.change(request.id, lambda r: replace(r, said=NOT_YET) if r.state is RequestState.ADMITTED else r, now)


def _meant(reservation: Reservation, request: Request, wanted: Mapping[str, int]) -> bool:
    """It is for what the request was promised last."""
    wish = reservation.wish
    return wish.count == wanted.get(wish.host) and wish.starts == request.start and dict(wish.resources) == dict(request.each)
