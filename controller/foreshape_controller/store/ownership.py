"""Which host a server belongs to. Pure.

A server belongs to the host that reports it. Two hosts report the same one while a migration ends, or when somebody
copied a domain; so that no second is counted twice, and no ping-pong starts, the first owner keeps it until its own
newest report no longer has it (released) or it has been silent for a minute. Only a live sample takes a server over:
the target of a migration shows it paused. A sample of another host still counts for history where it is older than the
owner's right: a backlog from before the move.
"""

from typing import NamedTuple

SILENT_S = 60.0


class Owner(NamedTuple):
    """Who has a server now."""

    host: str
    since: float
    """Time of the first sample it was owned with."""
    released_at: float | None
    """Time of the owner's report that no longer had it."""
    heard_at: float
    """When the owner's last report came in."""


class Verdict(NamedTuple):
    """What a sample means: does the server change hands, does its history count the sample."""

    takes: bool
    counts: bool


def judge(owner: Owner | None, host: str, taken_at: float, received_at: float, *, live: bool) -> Verdict:
    """One sample of one server against its owner."""
    if owner is None:
        return Verdict(takes=True, counts=live)
    if owner.host == host:
        back = owner.released_at is not None and taken_at > owner.released_at
        return Verdict(takes=back, counts=live)
    free = owner.released_at is not None or received_at - owner.heard_at > SILENT_S
    if free and live and taken_at > owner.since:
        return Verdict(takes=True, counts=True)
    return Verdict(takes=False, counts=live and taken_at < owner.since)
