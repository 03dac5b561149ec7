"""How much one project may ask, and how often one address may be wrong. Token buckets, used by the event loop's thread only.

Operators and agents are not limited. A valid token that is known already, or was not long ago, works from an address with any number of
failures; what is refused there is only to ask Keystone about other tokens.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable

from foreshape_controller.errors import TooMany
from foreshape_controller.model.caller import Caller

MOST = 10_000
"""Buckets of a kind; beyond them the one that was used longest ago is forgotten, and is full when it comes back."""


class Buckets:
    """One for each name: so many a minute in the long run, half a minute's worth at once."""

    def __init__(self, per_minute: int, now: Callable[[], float]) -> None:
        self._per_s, self._most, self._now = per_minute / 60.0, max(1.0, per_minute / 2), now
        self._of: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By name: what was left, and when."""

    def wait(self, name: str) -> float:
        """Seconds until one more is allowed; 0: now."""
        return max(0.0, (1.0 - self._left(name)) / self._per_s)

    def take(self, name: str) -> float:
        """Take one, and 0; or nothing, and how long to wait."""
        left = self._left(name)
        if left >= 1.0:
            self._keep(name, left - 1.0)
            return 0.0
        return (1.0 - left) / self._per_s

    def give(self, name: str) -> None:
        """Give back what was taken."""
        self._keep(name, min(self._most, self._left(name) + 1.0))

    def _left(self, name: str) -> float:
        left, at = self._of.get(name, (self._most, self._now()))
        return min(self._most, left + (self._now() - at) * self._per_s)

    def _keep(self, name: str, left: float) -> None:
        self._of[name] = left, self._now()
        self._of.move_to_end(name)
        if len(self._of) > MOST:
            self._of.popitem(last=False)


class Limits:
    """``count`` for every request that somebody is known by; ``may_fail`` and ``failed`` for those that nobody is."""

    def __init__(self, requests_per_minute: int, failures_per_minute: int, now: Callable[[], float], writes_per_minute: int = 60) -> None:
        self._requests = Buckets(requests_per_minute, now)
        self._failures = Buckets(failures_per_minute, now)
        self._writes = Buckets(writes_per_minute, now)

    def count(self, caller: Caller, writes: bool = False) -> None:
        """Raises TooMany."""
        if caller.everywhere:
            return
        name = caller.project or f"user {caller.user}"
        wait = self._requests.take(name)
        if wait:
            raise TooMany("your project asks too often ([identity] requests_per_minute): wait as long as Retry-After says", delay=wait)
        wait = self._writes.take(name) if writes else 0.0
        if wait:
            raise TooMany("your project writes too often ([identity] writes_per_minute): wait as long as Retry-After says", delay=wait)

    def may_fail(self, address: str) -> None:
        """Before Keystone is asked about a token. Raises TooMany."""
        wait = self._failures.wait(neighbours(address))
        if wait:
            raise TooMany("too many invalid tokens from your address ([identity] failures_per_minute): wait", delay=wait)

    def failed(self, address: str) -> None:
        """A token was not valid, or there was none. Raises TooMany."""
        wait = self._failures.take(neighbours(address))
        if wait:
            raise TooMany("too many invalid tokens from your address ([identity] failures_per_minute): wait", delay=wait)


def neighbours(address: str) -> str:
    """Whose failures are counted together: an IPv4 address, or a /64 of IPv6, since whoever has one address there has them all."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a name, or none
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found) >> 64 << 64, 64)))
