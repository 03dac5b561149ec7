"""How often and how fast the cloud is asked: waiting between tries, and our own limit of requests.

Nothing here sleeps or looks at a clock by itself: both are handed in, so that a test waits for nothing.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """When to try again, and when to give up. Seconds."""

    tries: int = 4
    """Requests in all, the first included."""
    first_s: float = 0.5
    """Before the second try; doubled for each further one."""
    most_s: float = 15.0
    """Longest wait between two tries."""
    spread: float = 0.5
    """Share of a wait that chance takes away, so that many callers do not come back together."""
    budget_s: float = 60.0
    """A wait that would end later than this after the first request is not begun."""

    def pause(self, tried: int, chance: float, asked: float = 0.0) -> float:
        """Seconds to wait after so many tries; ``chance`` is in [0, 1), ``asked`` what the service wants: never less than that."""
        wait: float = min(self.most_s, self.first_s * 2 ** (tried - 1))
        return max(asked, wait * (1 - self.spread * chance))


class Pace:
    """At most ``per_s`` requests a second in the long run, ``burst`` of them at once; shared by threads and services.

    Each request books the next free moment and waits for it outside the lock: the order is that of arrival.
    """

    def __init__(self, per_s: float, burst: int, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._gap = 1.0 / per_s
        self._ahead = self._gap * (burst - 1)
        self._now, self._sleep = now, sleep
        self._lock = threading.Lock()
        self._next = now() - self._ahead

    def wait(self) -> None:
        """Return when a request may go."""
        with self._lock:
            now = self._now()
            at = max(self._next, now - self._ahead)
            self._next = at + self._gap
        if at > now:
            self._sleep(at - now)
