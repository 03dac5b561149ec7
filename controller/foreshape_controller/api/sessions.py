"""Sessions of browsers: a cookie in place of a token, so that no script can read the token.

They are kept in this process's memory alone: a restart ends them all, no token lies on a disk, and a session ends with its token, because
the token is asked again (from the cache of ``cloud.tokens``) with each request.
"""

import hashlib
import secrets
from collections import Counter
from dataclasses import dataclass
from hmac import compare_digest
from threading import Lock

from foreshape_controller.errors import Forbidden, Unauthenticated

COOKIE = "foreshape_session"
CSRF = "x-foreshape-csrf"
MOST = 1000
"""Sessions at once; beyond them one of the user who has the most ends, his oldest."""
USER_MOST = 20
"""Of one user; beyond them his oldest ends. Those begun with the local admin token are one user's."""


@dataclass(frozen=True, repr=False)
class Session:
    """What a cookie stands for. Never shown, never logged."""

    token: str
    """Keystone's; empty: it was begun with the local admin token."""
    csrf: str
    """Every write by cookie says it in a header, which another site cannot read."""
    until: float
    user: str = ""


class Sessions:
    """All that are open, by the hash of their cookies. ``lasts_s``: how long one does at most, whatever its token."""

    def __init__(self, lasts_s: float = 28800.0) -> None:
        self.lasts_s = lasts_s
        self._open: dict[str, Session] = {}
        self._lock = Lock()

    def begin(self, token: str, now: float, expires: float = 0.0, user: str = "") -> tuple[str, Session]:
        """The cookie's value, and what it stands for. ``expires``: when the token ends; 0: never. ``user``: whose it is."""
        until = min(now + self.lasts_s, expires or float("inf"))
        cookie, made = secrets.token_urlsafe(32), Session(token, secrets.token_urlsafe(32), until, user)
        with self._lock:
            for over in [k for k, s in self._open.items() if s.until <= now]:
                del self._open[over]
            self._make_room(user)
            self._open[_hashed(cookie)] = made
        return cookie, made

    def _make_room(self, user: str) -> None:
        """For one more of a user's: nobody's logins end another's session while he has more of them himself."""
        having = Counter(s.user for s in self._open.values())
        if having[user] >= USER_MOST:
            self._end_oldest(user)
        elif having.total() >= MOST:
            self._end_oldest(having.most_common(1)[0][0])

    def _end_oldest(self, user: str) -> None:
        del self._open[next(k for k, s in self._open.items() if s.user == user)]

    def find(self, cookie: str, now: float) -> Session:
        """Raises Unauthenticated."""
        with self._lock:
            found = self._open.get(_hashed(cookie))
        if found is None or found.until <= now:
            raise Unauthenticated("the session is over: log in again")
        return found

    def end(self, cookie: str) -> None:
        """One that is not there is over already."""
        with self._lock:
            self._open.pop(_hashed(cookie), None)


def check_csrf(session: Session, said: str) -> None:
    """Raises Forbidden where a write by cookie does not say the session's own word: another site may have sent it."""
    if not compare_digest(session.csrf.encode(), said.encode()):
        raise Forbidden("a write by cookie needs the header X-Foreshape-CSRF: GET /v1/session says what belongs into it")


def _hashed(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
