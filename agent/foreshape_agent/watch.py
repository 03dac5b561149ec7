"""Follows each domain from reading to reading: its sample, the age of its guest's numbers, the vCPUs its agent counted."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from foreshape_agent import admit, demand, rates
from foreshape_agent.config import Settings
from foreshape_agent.errors import AgentError, HypervisorLost, Temporary
from foreshape_agent.levers.base import Clock, Hypervisor
from foreshape_wire.ids import ServerId, clip
from foreshape_wire.reading import DomainReading, DomainState, LeverName
from foreshape_wire.sample import VmSample

log = structlog.get_logger()

ASK_EVERY_S = 60.0
"""A guest's agent is asked for its vCPUs this often, one guest a cycle: the question may take long."""


class Sight(NamedTuple):
    """One domain as this cycle sees it."""

    reading: DomainReading
    sample: VmSample
    guest_vcpus: int | None
    before: VmSample | None = None
    """The sample before, if there was one."""

    @property
    def server(self) -> ServerId:
        return self.reading.identity.server

    def allocation(self, resource: str) -> float | None:
        """What the domain has now, in cores or MiB; None when it could not be read."""
        return allocation(self.reading, resource, self.guest_vcpus)


def allocation(reading: DomainReading, resource: str, guest_vcpus: int | None) -> float | None:
    """What a domain has now, in cores or MiB; None when it could not be read."""
    if resource == admit.CPU:
        return None if reading.cpu is None else demand.cpu_allocation(reading.cpu, guest_vcpus)
    return None if reading.memory is None else reading.memory.current.mib


@dataclass
class Trail:
    """What is remembered of one domain while it runs."""

    reading: DomainReading
    pulse: demand.Pulse
    sample: VmSample | None = None
    base: DomainReading | None = None
    """The reading that the sample began with."""
    reported: DomainReading | None = None
    """The reading that the last report ended with."""
    guest_vcpus: int | None = None
    asked_at: float | None = None
    period_set: bool = False


class Watch:
    """All domains of the host."""

    def __init__(self, door: Hypervisor, clock: Clock, settings: Settings) -> None:
        self._door, self._clock, self._settings = door, clock, settings
        self._trails: dict[ServerId, Trail] = {}

    def look(self, readings: Iterable[DomainReading]) -> dict[ServerId, Sight]:
        """Measure every domain against the time it was last seen; forget those that are gone."""
        sights = {r.identity.server: self._see_safely(r) for r in readings}
        for gone in self._trails.keys() - sights.keys():
            del self._trails[gone]
        return sights

    def ask(self, reading: DomainReading) -> DomainReading:
        """Ask a guest's agent for its vCPUs, and remember the answer."""
        domain = self._door.read_domain(reading.identity.server, ask_guest=True)
        trail = self._trails.get(reading.identity.server)
        if trail is not None and domain.cpu is not None and domain.cpu.guest_online is not None:
            trail.guest_vcpus = domain.cpu.guest_online
        return domain

    def ask_one(self, sights: Iterable[Sight]) -> None:
        """Ask the guest whose answer is the oldest; one a cycle, since an agent that hangs takes its time."""
        now = self._clock.monotonic()
        due = [s for s in sights if self._due(s.reading, now)]
        if not due:
            return
        chosen = min(due, key=lambda s: self._trails[s.server].asked_at or 0.0)
        self._trails[chosen.server].asked_at = now
        try:
            self.ask(chosen.reading)
        except HypervisorLost:
            raise
        except AgentError as e:
            log.debug("guest agent did not answer", server=chosen.server, error=str(e))

    def since_report(self, sight: Sight) -> VmSample:
        """The sample that is reported: a look in between must not shorten its window."""
        trail = self._trails[sight.server]
        before, trail.reported = trail.reported, sight.reading
        if before is trail.base and sight.sample is trail.sample:
            return sight.sample
        try:
            return self._sample(before, sight.reading, trail.pulse, sight.guest_vcpus)
        except ValueError as e:
            return _unmeasured(sight.reading, e)

    def _see_safely(self, reading: DomainReading) -> Sight:
        """One odd VM never stops the others: what cannot be measured is reported as such."""
        try:
            return self._see(reading)
        except HypervisorLost:
            raise
        except Exception as e:
            log.exception("domain not measured", server=reading.identity.server)
            old = self._trails.get(reading.identity.server)
            self._trails[reading.identity.server] = Trail(reading, demand.pulse(None, reading), reported=old.reported if old else None)
            return Sight(reading, _unmeasured(reading, e), None)

    def _see(self, reading: DomainReading) -> Sight:
        old = self._trails.get(reading.identity.server)
        trail = self._follow(old, reading)
        trail.pulse = demand.pulse(trail.pulse if trail is old else None, reading)
        trail.guest_vcpus = _online(reading, trail.guest_vcpus)
        sample = self._sample(old.reading if old else None, reading, trail.pulse, trail.guest_vcpus)
        sight = Sight(reading, sample, trail.guest_vcpus, trail.sample)
        trail.base, trail.reading, trail.sample = old.reading if old else None, reading, sample
        self._set_period(trail)
        return sight

    def _follow(self, old: Trail | None, reading: DomainReading) -> Trail:
        """The domain's trail; a new one when it is new or was started anew: what its guest said is over."""
        if old is not None and old.reading.instance == reading.instance:
            return old
        self._trails[reading.identity.server] = Trail(reading, demand.pulse(None, reading), reported=old.reported if old else None)
        return self._trails[reading.identity.server]

    def _sample(self, before: DomainReading | None, reading: DomainReading, beat: demand.Pulse, guest: int | None) -> VmSample:
        fresh = demand.is_fresh(beat, reading, self._settings)
        return demand.estimate(reading, rates.between(before, reading), fresh=fresh, guest_vcpus=guest, least_mib=beat.least_mib)

    def _set_period(self, trail: Trail) -> None:
        """A balloon that never asks its guest tells frozen numbers."""
        reading = trail.reading
        if trail.period_set or not _lacks_period(reading):
            return
        trail.period_set = True
        try:
            self._door.set_stats_period(reading.identity.server, self._settings.stats_period_s)
            log.info("stats period set", server=reading.identity.server, seconds=self._settings.stats_period_s)
        except HypervisorLost:
            raise
        except AgentError as e:
            trail.period_set = not isinstance(e, Temporary)
            log.warning("stats period not set", server=reading.identity.server, error=str(e))

    def _due(self, reading: DomainReading, now: float) -> bool:
        asked = self._trails[reading.identity.server].asked_at
        wants = reading.cpu is not None and reading.cpu.guest_online is None and reading.state is DomainState.RUNNING
        return wants and reading.capability(LeverName.CPU_GUEST).usable and (asked is None or now - asked >= ASK_EVERY_S)


def _online(reading: DomainReading, known: int | None) -> int | None:
    """How many vCPUs are on line by the reading, else by the guest's last answer."""
    told = None if reading.cpu is None else reading.cpu.guest_online
    return known if told is None else told


def _lacks_period(reading: DomainReading) -> bool:
    memory = reading.memory
    if memory is None or memory.stats_period_s or reading.state is not DomainState.RUNNING:
        return False
    return memory.available is not None or reading.capability(LeverName.MEM_BALLOON).usable


def _unmeasured(reading: DomainReading, error: Exception) -> VmSample:
    why = clip(f"not measured: {type(error).__name__}: {error}")
    return VmSample(server=reading.identity.server, state=reading.state, window_s=0.0, note=why)
