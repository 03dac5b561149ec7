"""What the HTTP edge works with; ``main.build`` puts it together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore

from foreshape_controller.api.identity import Identity
from foreshape_controller.api.traffic import Traffic
from foreshape_controller.bus import Bus
from foreshape_controller.config import Settings
from foreshape_controller.decide.segments import BUILT_IN, Segments
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.errors import Unavailable
from foreshape_controller.loops.apart import Apart
from foreshape_controller.loops.cloudwork import CloudWork
from foreshape_controller.loops.counting import Counting
from foreshape_controller.loops.foresight import Foresight
from foreshape_controller.loops.guard import Guard
from foreshape_controller.loops.guarding import Guarding
from foreshape_controller.loops.intake import Intake
from foreshape_controller.loops.learn import Learn
from foreshape_controller.loops.optout import OptOut
from foreshape_controller.loops.policy import Policy
from foreshape_controller.loops.pricing import Pricing
from foreshape_controller.loops.pulse import Pulse
from foreshape_controller.loops.requests import RequestWork
from foreshape_controller.loops.webhooks import Webhooks
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
    identity: Identity
    clock: Callable[[], float]
    policy: Policy
    guarding: Guarding
    guard: Guard
    optout: OptOut
    learn: Learn | None = None
    """None: ``[learn] enabled`` is false."""
    segments: Segments = BUILT_IN
    cloud: CloudWork | None = None
    """None: no OpenStack is configured; a route that needs one answers Invalid, saying so."""
    requests: RequestWork | None = None
    """None: ``[requests] enabled`` is false."""
    webhooks: Webhooks | None = None
    headroom_token: str = ""
    """By which Nova's scheduler asks for the hosts' headroom; empty: it may not."""
    pricing: Pricing | None = None
    """None: of no interest here (tests)."""
    pulse: Pulse = field(default_factory=Pulse)
    """How everything that happens by the clock is doing."""
    traffic: Traffic = field(default_factory=Traffic)
    counting: Counting = field(default_factory=Counting)
    foresight: Foresight | None = None
    """Whose forecasts are the newest; None: of no interest here (tests)."""
    door: Apart | None = None
    """The process that takes reports; None: this one does."""
    metrics_token: str = ""
    """By which Prometheus asks for metrics; empty: only those who read all of the cloud may."""
    seats: Seats = field(default_factory=lambda: Seats(8))
    """Taken by whatever asks the cloud while a request waits for it."""

    @property
    def priced(self) -> Pricing:
        """Rates and statements. Raises Unavailable where nobody put them together."""
        if self.pricing is None:
            raise Unavailable("nothing is metered here")
        return self.pricing

    def at_prices(self, tiers: Tiers) -> Tiers:
        """The tiers at what the rate card in force asks for them."""
        return tiers if self.pricing is None else self.pricing.applied(tiers, self.clock())

    @property
    def bus(self) -> Bus:
        """What happens, for those who watch."""
        return self.store.bus
