"""What the HTTP edge works with; ``main.build`` puts it together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore

from foreshape_controller.config import Settings
from foreshape_controller.decide.segments import BUILT_IN, Segments
from foreshape_controller.errors import Unavailable
from foreshape_controller.loops.cloudwork import CloudWork
from foreshape_controller.loops.guard import Guard
from foreshape_controller.loops.guarding import Guarding
from foreshape_controller.loops.intake import Intake
from foreshape_controller.loops.learn import Learn
from foreshape_controller.loops.policy import Policy
from foreshape_controller.store import Store

SEAT_S = 1.0
"""Longest wait for a seat."""


class Seats:
    """Requests that ask OpenStack: so many at once, and no more. One that hangs keeps its thread for minutes; the other threads are for
    agents' reports, and for 'foreshape stop'.
    """

    def __init__(self, workers: int) -> None:
        self._count = max(1, workers // 2)
        self._free = BoundedSemaphore(self._count)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Raises Unavailable where all are taken."""
        if not self._free.acquire(timeout=SEAT_S):
            raise Unavailable(f"{self._count} requests wait for OpenStack already: try again when it answers ('foreshape cloud status')")
        try:
            yield
        finally:
            self._free.release()


@dataclass(frozen=True)
class Services:
    """Handed to every handler."""

    settings: Settings
    store: Store
    intake: Intake
    admin_token: str
    clock: Callable[[], float]
    policy: Policy
    guarding: Guarding
    guard: Guard
    learn: Learn | None = None
    """None: ``[learn] enabled`` is false."""
    segments: Segments = BUILT_IN
    cloud: CloudWork | None = None
    """None: no OpenStack is configured; a route that needs one answers Invalid, saying so."""
    headroom_token: str = ""
    """By which Nova's scheduler asks for the hosts' headroom; empty: it may not."""
    seats: Seats = field(default_factory=lambda: Seats(8))
    """Taken by whatever asks the cloud while a request waits for it."""
