"""Tenants' tokens, validated by Keystone with the controller's own credentials, and remembered for a short time.

A token that was revoked is noticed when its memory ends: ``cache_s`` at most. While Keystone does not answer, tokens that are remembered
work until then; others have to wait. What Keystone refuses is remembered, too, for ``REFUSED_S`` at most, so that repeating it asks nobody.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any, TypeVar

from foreshape_controller.cloud.call import Json, Reply
from foreshape_controller.errors import CloudError, Forbidden, Unauthenticated, Unavailable
from foreshape_controller.log import get_logger
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.login import Login

_log = get_logger("tokens")

V = TypeVar("V")

REFUSED_S = 10.0
FAMILIAR_S = 900.0
"""A token that was accepted is familiar so long: a flood of others does not keep Keystone from being asked about it again."""
MOST = 20_000
"""Tokens that are remembered; beyond them those that were asked about longest ago are forgotten."""
LONGEST = 4096
"""Characters of a token: those of Keystone's own kinds have some hundreds."""
SECOND_FACTOR = "second factor"
"""Text of a reply that asks for one."""
PASTE = "use a token, of 'openstack token issue'"
UNKNOWN = "Keystone does not know this token (any more): get a new one, with 'openstack token issue'"


@dataclass(frozen=True)
class TokenTerms:
    """``cache_s``: how long an answer of Keystone's holds. ``per_s``, ``burst``: how often it is asked about tokens that are new.

    ``again_per_s``, ``again_burst``: about familiar ones.
    """

    cache_s: float = 60.0
    per_s: float = 20.0
    burst: int = 40
    again_per_s: float = 50.0
    again_burst: int = 200


class _Pace:
    """So many a second in the long run, ``burst`` at once. Its user holds a lock."""

    def __init__(self, per_s: float, burst: int, now: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left, self._filled = float(burst), now

    def take(self, now: float) -> bool:
        self._left = min(self._burst, self._left + (now - self._filled) * self._per_s)
        self._filled = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(frozen=True)
class _Known:
    until: float
    """By the monotonic clock."""
    expires: float
    """Of the token itself, by the time of day."""
    caller: Caller | None
    """None: refused, for ``why``."""
    why: Forbidden | Unauthenticated | None = None


class KeystoneTokens:
    """``known`` for what is remembered, ``ask`` for the rest. Safe from any thread; of tokens only keyed hashes are kept."""

    def __init__(
        self,
        subject: Callable[[str], Reply],
        terms: TokenTerms,
        clock: Callable[[], float],
        now: Callable[[], float],
        issue: Callable[[Login], Reply] | None = None,
    ) -> None:
        """``subject``: asks about a token; ``issue``: asks for one, which is the reply's text."""
        self._issue = issue
        self._subject, self._terms, self._clock, self._now = subject, terms, clock, now
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._lock = Lock()
        self._familiar: OrderedDict[bytes, float] = OrderedDict()
        """Tokens that were accepted, and until when they are familiar; those of a flood never get here."""
        self._new, self._again = _Pace(terms.per_s, terms.burst, now()), _Pace(terms.again_per_s, terms.again_burst, now())

    def known(self, token: str) -> Caller | None:
        """What is remembered of it; None: it has to be asked. Never waits. Raises Unauthenticated, Forbidden."""
        with self._lock:
            found = self._known.get(self._hash(token))
        if found is None or found.until <= self._now():
            return None
        if found.expires <= self._clock():
            raise Unauthenticated("the token has expired: get a new one, with 'openstack token issue'")
        if found.caller is None:
            raise type(found.why)(str(found.why)) if found.why else Unauthenticated(UNKNOWN)
        return found.caller

    def familiar(self, token: str) -> bool:
        """Whether it was accepted not long ago, and not refused since: nobody guessed it. Never waits."""
        with self._lock:
            return self._familiar.get(self._hash(token), 0.0) > self._now()

    def ask(self, token: str) -> Caller:
        """Raises Unauthenticated, Forbidden; Unavailable while Keystone does not answer, or too much is asked of it."""
        if not token.isascii() or not token.isprintable() or len(token) > LONGEST:
            raise Unauthenticated("this is no token of Keystone's")
        self._pace(self.familiar(token))
        try:
            reply = self._subject(token)
        except CloudError as e:
            _log.warning("token not validated", reason=str(e))
            raise Unavailable("Keystone does not answer, so that nobody new can be told: try again; operators have the admin token") from e
        return self._judged(token, reply)

    def login(self, who: Login) -> tuple[str, Caller]:
        """A token for a password, and who has it: remembered as one that was asked about. How often, is not looked at here.

        Raises Unauthenticated, Forbidden, Unavailable.
        """
        if self._issue is None:
            raise Unavailable("nobody can log in with a password here: use a token, of 'openstack token issue'")
        try:
            reply = self._issue(who)
            if reply.status != 201:
                raise _no_login(reply)
            found = self._judged(reply.text, self._subject(reply.text))
        except CloudError as e:
            _log.warning("login not possible", reason=str(e))
            raise Unavailable("Keystone does not answer, so that nobody can log in: try again; operators have the admin token") from e
        if not (found.project or found.system):
            raise Forbidden("the password is right, but the user has no default project: name a project, or the system")
        return reply.text, found

    def _judged(self, token: str, reply: Reply) -> Caller:
        if reply.status == 200:
            return self._accepted(token, reply.body)
        if reply.status == 404:
            raise self._refused(token, Unauthenticated(UNKNOWN))
        _log.error(
            "token not validated", status=reply.status, hint="may the controller's user validate tokens? It needs role admin or service"
        )
        raise Unavailable("Keystone does not validate tokens for the controller: its log says more")

    def _accepted(self, token: str, body: Json) -> Caller:
        try:
            found = caller(body)
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            _log.error("token not understood", reason=f"{type(e).__name__}: {e}")
            raise Unavailable("Keystone's answer makes no sense to the controller: its log says more") from e
        except (Forbidden, Unauthenticated) as e:
            raise self._refused(token, e) from e
        if found.expires <= self._clock():
            raise self._refused(token, Unauthenticated("the token has expired: get a new one, with 'openstack token issue'"))
        self._remember(token, _Known(self._now() + self._terms.cache_s, found.expires, found))
        with self._lock:
            _put(self._familiar, self._hash(token), self._now() + FAMILIAR_S)
        return found

    def _refused(self, token: str, why: Forbidden | Unauthenticated) -> Exception:
        self._remember(token, _Known(self._now() + min(REFUSED_S, self._terms.cache_s), float("inf"), None, why))
        with self._lock:
            self._familiar.pop(self._hash(token), None)
        return why

    def _remember(self, token: str, what: _Known) -> None:
        with self._lock:
            _put(self._known, self._hash(token), what)

    def _pace(self, familiar: bool) -> None:
        """A flood of tokens is not passed on to Keystone. Raises Unavailable."""
        with self._lock:
            if not (self._again if familiar else self._new).take(self._now()):
                raise Unavailable("too many tokens to ask Keystone about at once: try again in a second")

    def _hash(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode("utf-8", "surrogatepass"), key=self._key, digest_size=32).digest()


def _no_login(reply: Reply) -> Exception:
    """In words; Keystone's own are told only where they help whoever knows the password."""
    if reply.status == 401 and reply.text == SECOND_FACTOR:
        return Forbidden(f"Keystone asks for a second factor, which this page does not have: {PASTE}")
    if reply.status == 401 and "expired" in reply.text:
        return Forbidden("the password is right, but has expired: change it in Keystone ('openstack user password set')")
    if reply.status in (400, 401, 403, 404):
        return Unauthenticated(f"Keystone refuses this user, password, domain or project. If you log in elsewhere (federation): {PASTE}")
    _log.warning("login not possible", status=reply.status)
    return Unavailable("Keystone cannot log anybody in now: try again, or use a token")


def _put(memory: "OrderedDict[bytes, V]", name: bytes, what: V) -> None:
    """As the newest; beyond ``MOST`` the oldest goes."""
    memory[name] = what
    memory.move_to_end(name)
    while len(memory) > MOST:
        memory.popitem(last=False)


def caller(body: Json) -> Caller:
    """Who a validated token is. Raises Forbidden for one that we do not serve; KeyError, TypeError, ValueError for what is no token."""
    token = body["token"]
    _check_kind(token)
    project, roles = token.get("project") or {}, frozenset(str(r["name"]).lower() for r in token.get("roles") or ())
    if token.get("is_admin_project") is False:  # Keystone has an admin project, and this is another: its admin is no cloud's admin
        roles -= {"admin"}
    return Caller(
        user=str(token["user"]["id"]),
        name=str(token["user"].get("name") or ""),
        project=str(project.get("id") or ""),
        project_name=str(project.get("name") or ""),
        roles=roles,
        system=bool((token.get("system") or {}).get("all")),
        expires=datetime.fromisoformat(str(token["expires_at"])).timestamp(),
    )


def _check_kind(token: Any) -> None:
    """Raises Forbidden."""
    if token.get("domain"):
        raise Forbidden("the token is for a domain: get one for a project, or for the system")
    if (token.get("application_credential") or {}).get("access_rules"):
        raise Forbidden("the token's application credential has access rules, which Foreshape does not follow: use one without")
