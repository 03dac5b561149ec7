"""The audit: who asked for which change, from where, what it touched and how it ended. Rows are added, never changed."""

import hashlib
from enum import StrEnum

import msgspec


class Stage(StrEnum):
    """What a row tells of a request."""

    BEGUN = "begun"
    """It was let in; nothing is done yet. Without a row of its end the controller ended in between: nobody knows how far it came."""
    ENDED = "ended"
    REFUSED = "refused"
    """It was not let in."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row. No token, cookie or secret, nor a body, is ever part of it."""

    at: float
    request: str
    """Id of the request: its rows have the same."""
    stage: Stage
    method: str
    route: str
    """As the API's reference writes it: ``/v1/servers/{name}/tier``."""
    path: str
    """As it was asked, without its query."""
    user: str = ""
    name: str = ""
    """What the user is called."""
    project: str = ""
    """Whose thing it was; where that is not known, the caller's own."""
    caller: str = ""
    """The caller's project; empty: an operator's token."""
    scope: str = ""
    """What was touched, where it is known: ``server:ID``, ``project:ID``, ``host:NAME``, ``cloud``, or a thing's own id."""
    status: int = 0
    cause: str = ""
    """Id that orders, outcomes and log lines carry, too."""
    address: str = ""
    detail: str = ""


class AuditAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /v1/audit``: one request. ``status`` 0: the controller ended before it did; nobody knows how far it came."""

    id: int
    """Of its newest row; for ``marker``."""
    at: float
    request: str
    method: str
    route: str
    path: str
    user: str
    name: str
    project: str
    scope: str
    status: int
    cause: str
    address: str
    detail: str


class AuditCheck(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /v1/audit/verify``."""

    rows: int
    first: int
    """Oldest row that is kept; what was before it was deleted when its time was over."""
    last: int
    head: str
    """Hash of the newest row: noted elsewhere, it proves later that nothing was cut off the end."""
    broken: int | None
    """First row that does not fit the one before it; null: none."""
    why: str = ""


def chained(before: str, number: int, entry: Entry) -> str:
    """Hash of a row: of the one before it, its number, and all that it says."""
    return hashlib.sha256(f"{before}\n{number}\n".encode() + msgspec.json.encode(entry)).hexdigest()
