"""What a change touches, said by whoever finds it out on the way: the audit takes it up when the request is over."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Note:
    """Of one request that changes something. Made by ``api.auditing`` only."""

    request: str
    begun: bool = False
    """Its beginning is in the audit."""
    scope: str = ""
    cause: str = ""


NOTE: ContextVar[Note | None] = ContextVar("foreshape_note", default=None)


def touch(scope: str = "", *, cause: str = "") -> None:
    """The first scope that is said holds, and the last cause. Nothing happens in requests that only read."""
    note = NOTE.get()
    if note is not None:
        note.scope, note.cause = note.scope or scope, cause or note.cause
