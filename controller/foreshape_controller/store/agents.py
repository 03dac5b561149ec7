"""Agents and their tokens. Only hashes are stored; a token is shown once.

Tokens are 256 random bits, so that a plain SHA-256 is enough: a slow hash protects secrets that people choose and that
can be guessed, and would cost every report its time.
"""

import hashlib
import secrets
from hmac import compare_digest
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from foreshape_controller.errors import EnrolRefused
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import agent_tokens, join_tokens
from foreshape_wire.ids import HostName

NEXT_KEPT_S = 3600.0
"""A new token whose first use has not been seen is given up after this long; the agent then gets another."""


NEXT_AWAITED_S = 60.0


class Enrolled(NamedTuple):
    """What is kept of a host's tokens; None: it has none of that kind."""

    host: str
    issued_at: float | None = None
    """Of the current one."""
    next_at: float | None = None
    """Of the newest that was handed out and not used yet."""
    join_until: float | None = None
    """Until when it may enrol."""


class Agents:
    """Enrolment, authentication, rotation, revocation. A host has one current token and, while it rotates, new ones beside it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def join_token(self, host: str, now: float, ttl_s: float) -> str:
        """A one-time token with which this host's agent can enrol; it replaces an unused one."""
        token = _new("join")
        with self._db.write() as conn:
            conn.execute(delete(join_tokens).where((join_tokens.c.host == host) | (join_tokens.c.expires_at < now)))
            conn.execute(insert(join_tokens), {"hash": _hash(token), "host": host, "expires_at": now + ttl_s})
        return token

    def enrol(self, host: str, join_token: str, now: float) -> str:
        """Trade a join token for the agent's own. Older tokens of the host are void from now on. Raises EnrolRefused."""
        with self._db.write() as conn:
            row = conn.execute(select(join_tokens).where(join_tokens.c.hash == _hash(join_token))).one_or_none()
            if row is None or not compare_digest(row.host, host) or row.expires_at <= now:
                raise EnrolRefused(
                    f"the join token is unknown, used, expired or another host's: make one with 'foreshape agent enroll {host}'"
                )
            conn.execute(delete(join_tokens).where(join_tokens.c.host == host))
            conn.execute(delete(agent_tokens).where(agent_tokens.c.host == host))
            return _issue(conn, host, "current", now)

    def enrolled(self, now: float) -> dict[str, Enrolled]:
        """By host: those that have a token, or may fetch one."""
        found: dict[str, Enrolled] = {}
        newest = select(agent_tokens.c.host, agent_tokens.c.state, func.max(agent_tokens.c.issued_at))
        with self._db.read() as conn:
            for host, state, at in conn.execute(newest.group_by(agent_tokens.c.host, agent_tokens.c.state)):
                before = found.get(host, Enrolled(host))
                found[host] = before._replace(next_at=at) if state == "next" else before._replace(issued_at=at)
            for host, until in conn.execute(select(join_tokens.c.host, join_tokens.c.expires_at).where(join_tokens.c.expires_at > now)):
                found[host] = found.get(host, Enrolled(host))._replace(join_until=until)
        return found

    def known(self, token: str) -> bool:
        """Whether it is an agent's; nothing is written."""
        with self._db.read() as conn:
            return conn.execute(select(agent_tokens.c.host).where(agent_tokens.c.hash == _hash(token))).one_or_none() is not None

    def authenticate(self, token: str, now: float) -> HostName | None:
        """The host a token belongs to; None for an unknown or revoked one. First use of a new token ends the old one."""
        digest = _hash(token)
        with self._db.read() as conn:
            row = conn.execute(select(agent_tokens).where(agent_tokens.c.hash == digest)).one_or_none()
        if row is None or not compare_digest(row.hash, digest):
            return None
        if row.state == "next":
            self._promote(row.host, digest, now)
        return HostName(row.host)

    def rotate(self, host: str, now: float) -> str:
        """A new token beside the current one, which holds until the new one is used."""
        with self._db.write() as conn:
            stale = (agent_tokens.c.host == host, agent_tokens.c.state == "next", agent_tokens.c.issued_at < now - NEXT_KEPT_S)
            conn.execute(delete(agent_tokens).where(*stale))
            return _issue(conn, host, "next", now)

    def rotation_due(self, host: str, now: float, after_s: float) -> bool:
        """Whether the current token is older than that, and no new one was handed out this minute (its first use is awaited)."""
        newest = select(agent_tokens.c.state, func.max(agent_tokens.c.issued_at)).where(agent_tokens.c.host == host)
        with self._db.read() as conn:
            ages = {state: now - issued for state, issued in conn.execute(newest.group_by(agent_tokens.c.state))}
        return bool(ages.get("current", 0.0) > after_s and ages.get("next", NEXT_AWAITED_S) >= NEXT_AWAITED_S)

    def revoke(self, host: str) -> bool:
        """Void every token of a host, unused join tokens too; False if it had none."""
        with self._db.write() as conn:
            gone = sum(conn.execute(delete(t).where(t.c.host == host)).rowcount for t in (join_tokens, agent_tokens))
        return bool(gone)

    def _promote(self, host: str, digest: str, now: float) -> None:
        with self._db.write() as conn:
            conn.execute(delete(agent_tokens).where(agent_tokens.c.host == host, agent_tokens.c.hash != digest))
            conn.execute(update(agent_tokens).where(agent_tokens.c.hash == digest).values(state="current", issued_at=now))


def _issue(conn: Connection, host: str, state: str, now: float) -> str:
    token = _new("agent")
    conn.execute(insert(agent_tokens), {"hash": _hash(token), "host": host, "issued_at": now, "state": state})
    return token


def _new(kind: str) -> str:
    return f"{kind}-{secrets.token_urlsafe(32)}"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
