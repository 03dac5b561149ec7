"""What all levers share: ask, watch until it is seen or a deadline passes, and say what came of it."""

from collections.abc import Callable
from dataclasses import dataclass

from foreshape_agent.errors import AgentError, DomainBusy, DomainGone, GuestSilent, HypervisorLost, LeverUnsafe, Temporary
from foreshape_agent.levers.base import Clock, Hypervisor, Pull
from foreshape_wire.order import Verdict
from foreshape_wire.reading import DomainReading, LeverName

DEADLINE_S = 3.0
"""A healthy guest shows every change within about a second; what takes longer is settled by a later reading."""

FIRST_LOOK_S = 0.02
LONGEST_LOOK_S = 0.2
"""Looks get rarer: each costs the host a few milliseconds."""

CODES = {DomainBusy: "domain_busy", DomainGone: "domain_gone", GuestSilent: "guest_silent"}


@dataclass(frozen=True)
class Attempt:
    """One change: how to ask for it, how to know it, and the words for both ends."""

    lever: LeverName
    act: Callable[[], None]
    reached: Callable[[DomainReading], bool]
    measure: Callable[[DomainReading], float]
    done: str
    """Code when it was seen."""
    proof: Callable[[DomainReading], str]
    short: str
    """Code when it was asked for, and not seen by the deadline."""
    why_short: Callable[[DomainReading], str]
    ask_guest: bool = False
    nudge: Callable[[], None] | None = None
    """Asked once, half-way, when nothing has been seen yet."""


def carry_out(attempt: Attempt, door: Hypervisor, domain: DomainReading, clock: Clock) -> Pull:
    """Carry the attempt out. Only HypervisorLost comes through; every other end is a Pull."""
    before = attempt.measure(domain)
    capability = domain.capability(attempt.lever)
    if not capability.usable:
        return Pull(verdict=Verdict.REFUSED, after=before, code="lever_unusable", reason=capability.reason)
    try:
        attempt.act()
        seen, last = _watch(attempt, door, domain, clock)
    except HypervisorLost:
        raise
    except AgentError as e:
        return _failed(e, before)
    if seen:
        return Pull(verdict=Verdict.APPLIED, after=attempt.measure(last), code=attempt.done, reason="", proof=attempt.proof(last))
    return Pull(verdict=Verdict.PENDING, after=attempt.measure(last), code=attempt.short, reason=attempt.why_short(last), retry=True)


def _watch(attempt: Attempt, door: Hypervisor, domain: DomainReading, clock: Clock) -> tuple[bool, DomainReading]:
    started, pause, nudge = clock.monotonic(), FIRST_LOOK_S, attempt.nudge
    while True:
        reading = door.read_domain(domain.identity.server, ask_guest=attempt.ask_guest)
        waited = clock.monotonic() - started
        if attempt.reached(reading) or waited >= DEADLINE_S:
            return attempt.reached(reading), reading
        if nudge is not None and waited >= DEADLINE_S / 2:
            _try(nudge)
            nudge = None
        clock.sleep(pause)
        pause = min(pause * 1.5, LONGEST_LOOK_S)


def _try(nudge: Callable[[], None]) -> None:
    """A nudge that is refused changes nothing: the watch goes on and tells how it ended."""
    try:
        nudge()
    except HypervisorLost:
        raise
    except AgentError:
        return


def _failed(error: AgentError, before: float) -> Pull:
    reason = str(error) or type(error).__name__
    if isinstance(error, LeverUnsafe):
        return Pull(verdict=Verdict.REFUSED, after=before, code=error.code, reason=reason)
    code = next((word for kind, word in CODES.items() if isinstance(error, kind)), "rejected")
    return Pull(verdict=Verdict.FAILED, after=before, code=code, reason=reason, retry=isinstance(error, Temporary))
