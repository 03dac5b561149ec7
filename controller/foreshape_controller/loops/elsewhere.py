"""Guests that run on another host than the one where Nova has their server: seen, held, told. Nothing is moved, ordered or repaired.

Seen with Nova 34: the nova-compute of the source dies while it sends; libvirt ends what was begun, the guest runs on the target, Nova
calls the migration an error and gives the target's claim back. Placement would sell the room that the guest really uses a second time. So
as much is held there as Nova would claim, for ``HELD_S`` at a time and renewed for as long as the guest is seen; where nobody sees it any
more, it ends by itself. Its size and its place are left alone meanwhile (``decide/join.py``, ``loops/scout.py``). What puts it right is
an operator's to decide: only one can tell which disk is the newest.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import structlog

from foreshape_controller.decide.ground import claim
from foreshape_controller.errors import ControllerError, Temporary
from foreshape_controller.loops.acting import on_a_persons_word
from foreshape_controller.loops.backoff import Backoff
from foreshape_controller.loops.durations import same_but_for_time
from foreshape_controller.loops.reserve import Reservations
from foreshape_controller.loops.reserve_door import Watch
from foreshape_controller.loops.witness import HERE
from foreshape_controller.model.cloud import CloudServer, CloudView
from foreshape_controller.model.cloud_word import Misplaced
from foreshape_controller.model.moving import Moving
from foreshape_controller.model.reservation import Reservation, ReservationWish, State
from foreshape_wire.reading import DomainState

_log = structlog.get_logger("foreshape.cloud")

EVERY_S = 10.0
"""Agents report about as often."""
SURE_S = 20.0
"""So long agents and Nova have to disagree: a migration that just ended is Nova's to tell first."""
FRESH_S = 60.0
"""A report so old still says where a guest runs."""
HELD_S, RENEWED_S = 1800.0, 900.0
"""Room is held for so long, and for as long again when less than the second is left of it."""
OWNER = "elsewhere:"
AGAIN_S, SELDOM_S = 60.0, 900.0
"""Room that could not be held is asked for again after the first, twice as long each time, up to the second."""


class Seen(Protocol):
    """A server in its host's newest report."""

    @property
    def host(self) -> str: ...

    @property
    def at(self) -> float: ...

    @property
    def state(self) -> DomainState: ...


class Sightings(Protocol):
    """What agents see."""

    def of(self, wanted: Collection[str]) -> Mapping[str, Seen]: ...

    def hosts(self) -> Mapping[str, float]: ...


class Moves(Protocol):
    """The part of the store that migrations are in."""

    def list(self, since: float, limit: int = 1000) -> tuple[Moving, ...]: ...

    def save(self, row: Moving, now: float, what: str, text: str = "") -> None: ...


class Elsewhere:
    """``run_once`` by the clock; ``found`` for people. Its memory may be lost: what is held knows its owner."""

    def __init__(
        self, watch: Watch, doubted: Callable[[], Mapping[str, str]], sightings: Sightings, reservations: Reservations, moves: Moves
    ) -> None:
        """``doubted``: by server, the host whose agent reports it where Nova names another (``decide/join.py``)."""
        self._watch, self._doubted, self._sightings, self._reservations, self._moves = watch, doubted, sightings, reservations, moves
        self._full = Backoff(AGAIN_S, SELDOM_S)
        self._since: dict[tuple[str, str], float] = {}
        """By server and host: since when they disagree."""
        self.found: tuple[Misplaced, ...] = ()

    def run_once(self, now: float) -> None:
        """Look, hold, give back what is over. Where the cloud is not known well enough, nothing changes."""
        view = self._watch.view()
        if view is None or self._watch.why_not(now, ("servers", "hosts")):
            return
        seen = self._strays(view, now)
        held = {r.wish.server: r for r in self._reservations.open() if r.wish.owner.startswith(OWNER)}
        self._full.keep(seen.keys())
        known = {m.server: m for m in self.found}
        self.found = tuple(self._look(view.servers[s], where, known.get(s), held.get(s), now) for s, where in sorted(seen.items()))
        for server, reservation in held.items():
            if why := self._over(view.servers.get(server), seen.get(server), reservation, now):
                self._release(reservation, why, now)

    # -- seeing

    def _strays(self, view: CloudView, now: float) -> dict[str, str]:
        """By server: the host where it is seen to run, for long enough."""
        doubted = self._doubted()
        seen = self._sightings.of(list(doubted)) if doubted else {}
        sure = {(s, x.host) for s, x in seen.items() if _runs(x, now) and s in view.servers and x.host != view.servers[s].host}
        self._since = {pair: self._since.get(pair, now) for pair in sure}
        kept = {r.wish.server for r in self._reservations.open() if r.wish.owner.startswith(OWNER)}
        return {s: host for (s, host), at in self._since.items() if s in kept or now - at >= SURE_S}

    def _look(self, server: CloudServer, runs: str, before: Misplaced | None, held: Reservation | None, now: float) -> Misplaced:
        """One of them: with its room, and told when it is new or something of it is."""
        known = before if before is not None and before.runs == runs else None
        since = known.since if known else held.created if held and held.wish.host == runs else self._since[server.id, runs]
        row = self._ours(server.id, runs, now)
        reservation, said = self._hold(server, runs, held, row, now)
        one = Misplaced(server=server.id, name=server.name, nova=server.host, runs=runs, since=since, reservation=reservation, said=said)
        if known is None or not same_but_for_time(known.said, said):
            _log.error("a guest runs where Nova does not have it", server=server.id, nova=server.host, runs=runs, room=said, do=one.remedy)
        if known is None and row is not None and row.over:  # one that is open tells it itself (``loops/mend.py``)
            self._moves.save(row, now, "elsewhere", f"{one.told}; {one.remedy}")
        return one

    def _ours(self, server: str, runs: str, now: float) -> Moving | None:
        """Our newest order that could have brought it there."""
        rows = (r for r in self._moves.list(now - 86400.0) if r.migration.server == server and r.migration.ordered_at is not None)
        newest = max(rows, key=lambda r: r.migration.created, default=None)
        return newest if newest is not None and newest.migration.target == runs else None

    # -- holding

    def _hold(self, server: CloudServer, runs: str, held: Reservation | None, row: Moving | None, now: float) -> tuple[str, str]:
        """Id of the reservation, empty if there is none; and what is to be said of its room. On the word that the migration was made on."""
        try:
            with on_a_persons_word(row is not None and not row.automatic):
                kept = self._kept(server, runs, held, now)
        except ControllerError as e:
            wait_s = self._full.failed(server.id, now)
            return "", f"no room is held for it on {runs}: {e}; tried again in {wait_s:.0f} s"
        if kept is None:
            return self._as_before(server.id)
        self._full.forget(server.id)
        return kept.id, f"the room that it uses on {runs} is held"

    def _as_before(self, server: str) -> tuple[str, str]:
        return next(((m.reservation, m.said) for m in self.found if m.server == server), ("", "no room is held for it yet"))

    def _kept(self, server: CloudServer, runs: str, held: Reservation | None, now: float) -> Reservation | None:
        """Held until later; None: it is too early to ask again."""
        if held is not None and held.wish.host == runs and held.state is State.HELD and held.ending is None:
            return self._reservations.extend(held.id, now + HELD_S, now) if held.wish.until - now < RENEWED_S else held
        if self._full.waits(server.id, now):
            return None
        if held is not None and held.wish.host == runs and held.wanted:
            return _sure(*self._reservations.begin(held.id, now))
        return self._reservations.hold(_wish(server, runs, now), now)

    # -- its end

    def _over(self, server: CloudServer | None, runs: str | None, held: Reservation, now: float) -> str:
        """Why its room is not used any more; empty: it is, or nobody can tell (then it ends by itself)."""
        host = held.wish.host
        if server is None:
            return "Nova does not have the server any more"
        if server.host == host:
            return f"Nova has it on {host} now, too"
        if runs is not None:
            return "" if runs == host else f"it runs on {runs} now"
        heard = self._sightings.hosts().get(host, 0.0)
        seen = self._sightings.of([server.id]).get(server.id)
        gone = seen is None or seen.host != host
        return f"the agent of {host} does not report it any more" if gone and now - heard <= FRESH_S else ""

    def _release(self, held: Reservation, why: str, now: float) -> None:
        try:
            self._reservations.release(held.id, why, now)
        except ControllerError as e:  # it is given back by the reservations' own loop
            _log.warning("not given back yet", reservation=held.id, reason=str(e))


def _runs(seen: Seen, now: float) -> bool:
    return seen.state in HERE and now - seen.at <= FRESH_S


def _wish(server: CloudServer, runs: str, now: float) -> ReservationWish:
    return ReservationWish(
        host=runs,
        resources=claim(server),
        owner=f"{OWNER}{server.id}",
        reason=f"{server.name or server.id} runs here, and Nova has it on {server.host}",
        until=now + HELD_S,
        project=server.project,
        server=server.id,
        groups=server.groups,
    )


def _sure(kept: Reservation, error: ControllerError | None) -> Reservation:
    if kept.state is State.HELD:
        return kept
    raise error or Temporary(kept.said)
