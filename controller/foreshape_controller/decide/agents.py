"""What an agent is doing, what is wrong with it, and what to do. Pure."""

from dataclasses import dataclass
from enum import StrEnum

LATE_SHARE = 0.5
"""Of the time after which a host is stale: an agent that was not heard for longer than this is late."""
CLOCK_S = 5.0
"""A clock that is ahead by no more is not worth a word."""


class Standing(StrEnum):
    """What an agent is doing."""

    INVITED = "invited"
    """It has a join token, and has not enrolled."""
    ENROLLED = "enrolled"
    """It has its token, and has never reported."""
    REPORTING = "reporting"
    LATE = "late"
    """Reports are missing, and its servers are not stale yet."""
    SILENT = "silent"
    """Its servers are stale: none is shrunk."""
    REVOKED = "revoked"
    """It has reported once, and has no token any more."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What is known of one host's agent. Instants, or None where there was none."""

    host: str
    issued_at: float | None = None
    join_until: float | None = None
    received_at: float | None = None
    last_seen: float = 0.0
    version: str = ""
    safe_mode: str = ""
    clock_ahead_s: float = 0.0


@dataclass(frozen=True)
class Terms:
    """What is late, and which version the others have."""

    stale_after_s: float
    rotate_after_s: float
    """0: tokens are never replaced."""
    version: str


@dataclass(frozen=True)
class Judged:
    state: Standing
    wrong: str = ""
    """Empty: nothing."""
    to_do: str = ""


def span(seconds: float) -> str:
    """A time, in the unit a person would say."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def judge(agent: Heard, terms: Terms, now: float) -> Judged:
    """Its state; what is wrong, the worst first."""
    state = standing(agent, terms, now)
    if state is Standing.REPORTING:
        return Judged(state, *_small(agent, terms, now))
    return Judged(state, *_absent(agent, state, terms, now))


def standing(agent: Heard, terms: Terms, now: float) -> Standing:
    if agent.issued_at is None:
        return Standing.INVITED if agent.join_until is not None else Standing.REVOKED
    if agent.received_at is None:
        return Standing.ENROLLED
    age = now - agent.received_at
    if age <= terms.stale_after_s * LATE_SHARE:
        return Standing.REPORTING
    return Standing.LATE if age <= terms.stale_after_s else Standing.SILENT


def _absent(agent: Heard, state: Standing, terms: Terms, now: float) -> tuple[str, str]:
    look = f"on {agent.host}: systemctl status foreshape-agent; journalctl -u foreshape-agent"
    join = f"foreshape agent enroll {agent.host}"
    if state is Standing.INVITED:
        left = (agent.join_until or now) - now
        return f"it has not enrolled yet; its join token holds for {span(left)}", f"enrol it on {agent.host}, or make a new token: {join}"
    if state is Standing.REVOKED:
        return "it has no token: its reports are refused", f"let it back in: {join}; for good: stop foreshape-agent on {agent.host}"
    if state is Standing.ENROLLED:
        return f"it enrolled {span(now - (agent.issued_at or now))} ago and has never reported", f"start it, and look {look}"
    said = f"no report for {span(now - (agent.received_at or now))}"
    if state is Standing.LATE:
        return said, f"wait until {span(terms.stale_after_s)} are over; then look {look}"
    return (
        f"{said}: its servers are stale, and none is shrunk",
        f"look {look}; where the host is gone for good: foreshape agent revoke {agent.host}",
    )


def _small(agent: Heard, terms: Terms, now: float) -> tuple[str, str]:
    """The first thing that is wrong with an agent that reports."""
    behind, age = (agent.received_at or now) - agent.last_seen, now - (agent.issued_at or now)
    faults = (
        (bool(agent.safe_mode), f"safe mode, it only measures: {agent.safe_mode}", "docs/troubleshooting.md, An agent is in safe mode"),
        (behind > terms.stale_after_s, f"it sends what it kept, {span(behind)} behind", "wait: it catches up by itself"),
        (agent.clock_ahead_s > CLOCK_S, f"its clock is {span(agent.clock_ahead_s)} ahead", f"chronyc tracking on {agent.host}"),
        (
            0 < 2 * terms.rotate_after_s < age,
            f"its token is {span(age)} old, and should have been replaced",
            f"see what foreshape-agent on {agent.host} says of its token; a new one: foreshape agent enroll {agent.host}",
        ),
        (
            bool(agent.version and terms.version) and agent.version != terms.version,
            f"it is version {agent.version}, the controller {terms.version}",
            "upgrade the older of the two when it suits",
        ),
    )
    return next(((wrong, to_do) for is_so, wrong, to_do in faults if is_so), ("", ""))
