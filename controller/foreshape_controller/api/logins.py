"""How often a login with a password may be wrong. Token buckets, used by the event loop's thread only.

A stranger's attempt counts for his address and for the user that he names. Who logged in from an address lately has a bucket of his own
there: floods from elsewhere, or for other names, do not keep him out; one for his name from his own address (behind one NAT, or a proxy
that ``[api] proxies`` does not name) does, and a token lets him in all the same. What was right costs nothing of these; but every login is
counted once more by user and address, for Keystone has to hash a password each time.
"""

import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from foreshape_controller.api.limits import MOST, Buckets, neighbours
from foreshape_controller.errors import TooMany
from foreshape_controller.model.login import Login

ASKED = 12
"""Times as many logins as wrong ones, right or not."""
FAMILIAR_S = 30 * 86400.0
WHY = "too many {1} {0} ([identity] logins_per_minute): wait as long as Retry-After says, or log in with a token"


@dataclass(frozen=True)
class Attempt:
    """One that was let through, and what it took."""

    pair: tuple[str, str]
    """User and address."""
    familiar: bool


class Logins:
    """``begin`` before Keystone is asked, ``right`` or ``unknown`` after."""

    def __init__(self, per_minute: int, now: Callable[[], float]) -> None:
        self._now = now
        self._pairs, self._users, self._addresses = (Buckets(per_minute, now) for _ in range(3))
        self._asked = Buckets(ASKED * per_minute, now)
        self._familiar: OrderedDict[tuple[str, str], float] = OrderedDict()
        """Until when."""

    def begin(self, who: Login, address: str) -> Attempt:
        """Raises TooMany."""
        user, near = _called(who), neighbours(address)
        _take(self._asked, f"{user}\n{near}", "of this user from your address", "logins")
        attempt = Attempt((user, near), self._familiar.get((user, near), 0.0) > self._now())
        if attempt.familiar:
            _take(self._pairs, "\n".join(attempt.pair), "of this user from your address")
            return attempt
        _take(self._addresses, near, "from your address")
        _take(self._users, user, "of this user")
        return attempt

    def right(self, attempt: Attempt) -> None:
        """The password was his: nothing is counted as wrong, and the pair is familiar from now on."""
        self._give(attempt)
        self._familiar[attempt.pair] = self._now() + FAMILIAR_S
        self._familiar.move_to_end(attempt.pair)
        if len(self._familiar) > MOST:
            self._familiar.popitem(last=False)

    def unknown(self, attempt: Attempt) -> None:
        """Keystone did not say whether it was right: nothing is counted."""
        self._asked.give("\n".join(attempt.pair))
        self._give(attempt)

    def _give(self, attempt: Attempt) -> None:
        user, near = attempt.pair
        if attempt.familiar:
            self._pairs.give("\n".join(attempt.pair))
            return
        self._addresses.give(near)
        self._users.give(user)


def _take(of: Buckets, name: str, whose: str, what: str = "failed logins") -> None:
    wait = of.take(name)
    if wait:
        raise TooMany(WHY.format(whose, what), delay=wait)


def _called(who: Login) -> str:
    """User and domain as databases compare them: another spelling is no other user."""
    return unicodedata.normalize("NFKC", f"{who.user_domain}\n{who.user}").casefold()
