"""Keeps the scheduler off a host for the moment of a hand-over, and lifts exactly what we set (facts: a race-free hand-over).

The lock is the trait ``COMPUTE_STATUS_DISABLED`` on the host's provider. It is written down before it is set; a trait that was there
already is Nova's or an operator's and stays. Several hand-overs to one host share it. Left behind by somebody who died, it is lifted by the
next audit; nobody auditing, nova-compute itself removes it within some six minutes.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from msgspec.structs import replace

from foreshape_controller.errors import CloudError, Gone, Permanent
from foreshape_controller.loops.holding import Keyed
from foreshape_controller.loops.reserve_door import Door, ReservationStore
from foreshape_controller.model.cloud import LOCKED_OUT, CloudView
from foreshape_controller.model.reservation import Lock, Reservation, Write

_log = structlog.get_logger("foreshape.reservations")


def without_ours(view: CloudView, ours: Collection[str]) -> CloudView:
    """The view without the locks that we set for a moment, on these providers: whoever decides by it would think the hosts closed."""
    hosts = {
        name: replace(host, traits=host.traits - {LOCKED_OUT}) if host.provider in ours and host.enabled else host
        for name, host in view.hosts.items()
    }
    return replace(view, hosts=hosts)


@dataclass
class _Use:
    count: int = 0
    since: float = 0.0
    """Monotonic: when it was seen to be on."""


class Lockout:
    """``locked`` for hand-overs, ``lift_left`` for audits. Safe from any thread."""

    def __init__(self, store: ReservationStore, door: Door, wait_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
        """``wait_s``: scheduler calls that have chosen the host already are over after so long."""
        self._store, self._placement, self._disabled = store, door.placement, door.disabled
        self._wait_s, self._sleep = wait_s, sleep
        self._one_by_one = Keyed()
        self._uses: dict[str, _Use] = {}
        self._guard = threading.Lock()

    @contextmanager
    def locked(self, reservation: Reservation, now: float) -> Iterator[None]:
        """Nobody else is scheduled to the reservation's host inside the block. Raises CloudError: then it is not entered."""
        use = self._enter(reservation, now)
        try:
            self._sleep(max(0.0, use.since + self._wait_s - time.monotonic()))
            yield
        finally:
            self._leave(reservation.provider, now)

    def lift_left(self, now: float) -> tuple[int, list[str]]:
        """Lift the locks that nobody needs any more: how many, and what hindered."""
        lifted, problems = 0, []
        for provider, lock in self._store.locks().items():
            with self._one_by_one(provider):
                if self._uses_of(provider).count:
                    continue
                try:
                    lifted += self._lift(lock, now)
                except CloudError as e:
                    problems.append(f"the lock of {lock.host} cannot be lifted now: {e}")
        return lifted, problems

    def _uses_of(self, provider: str) -> _Use:
        with self._guard:
            return self._uses.setdefault(provider, _Use())

    def _enter(self, reservation: Reservation, now: float) -> _Use:
        provider = reservation.provider
        with self._one_by_one(provider):
            use = self._uses_of(provider)
            if not use.count:
                self._set(reservation, now)
                use.since = time.monotonic()
            use.count += 1
            return use

    def _leave(self, provider: str, now: float) -> None:
        """The last one lifts it. What goes wrong is not the hand-over's fault: the audit tries again."""
        with self._one_by_one(provider):
            use = self._uses_of(provider)
            use.count -= 1
            lock = self._store.locks().get(provider)
            if use.count or lock is None:
                return
            try:
                self._lift(lock, now)
            except CloudError as e:
                _log.warning("lock stays for now", host=lock.host, reason=str(e), does="the next run lifts it")

    def _set(self, reservation: Reservation, now: float) -> None:
        """A forced order goes where Nova's own scheduler would not: whoever closed the host since the last reading is heard here."""
        provider, host = reservation.provider, reservation.wish.host
        if self._disabled(host):
            raise Permanent(f"{host} was disabled in Nova meanwhile: nobody is told to come")
        had, _ = self._placement.traits(provider)
        if LOCKED_OUT in had:
            return  # not ours, or noted already
        lock = Lock(provider=provider, host=host, reservation=reservation.id, at=now)
        number = self._store.lock(
            lock, _write(lock, "lock", now, "hand-over: nobody else is to be scheduled there", reservation.wish.cause)
        )
        self._placement.add_trait(provider, LOCKED_OUT)  # that it was there already may mean that a first try got through
        self._store.known([number], "done", now)

    def _lift(self, lock: Lock, now: float) -> bool:
        """Whether it is off. A host that was disabled in Nova meanwhile stays locked, and so does our note of it.

        nova-compute takes back only what it set itself: it found our trait there and set none, so after an enable it would leave ours on
        for minutes (measured on Nova 34).
        """
        if self._disabled(lock.host):
            return False
        number = self._store.ask(_write(lock, "unlock", now, "the hand-over is over"))
        was_there = self._remove(lock.provider)
        self._store.known([number], "done", now, "" if was_there else "it was gone already")
        if self._disabled(lock.host):
            self._placement.add_trait(lock.provider, LOCKED_OUT)  # disabled between our question and our removal
            return False
        self._store.unlock(lock.provider)
        _log.info("lock lifted", host=lock.host, reservation=lock.reservation)
        return True

    def _remove(self, provider: str) -> bool:
        try:
            return self._placement.remove_trait(provider, LOCKED_OUT)
        except Gone:
            return False


def _write(lock: Lock, what: str, now: float, reason: str, cause: str = "") -> Write:
    return Write(
        at=now,
        reservation=lock.reservation,
        host=lock.host,
        provider=lock.provider,
        what=what,
        subject=LOCKED_OUT,
        reason=reason,
        cause=cause,
        undo=f"{'remove' if what == 'lock' else 'add'} the trait {LOCKED_OUT}",
    )
