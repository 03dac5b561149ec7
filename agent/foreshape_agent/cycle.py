"""One cycle of the agent: read, measure, answer pressure, report, follow orders, and return to static when cut off.

``run_once`` is the table of contents of the walk of a sample. Between two cycles ``peek`` reads once more, for pressure only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from foreshape_agent import __version__, admit, levers, rates, reflex
from foreshape_agent.caps import Caps
from foreshape_agent.config import Settings
from foreshape_agent.errors import HypervisorLost, LinkDown, LinkRefused, ReportRefused
from foreshape_agent.levers.base import Clock, Hypervisor, Lever
from foreshape_agent.reconcile import Authority, Reconciler, scene_of
from foreshape_agent.records import Row
from foreshape_agent.spool import Spool
from foreshape_agent.watch import Sight, Watch
from foreshape_wire.codec import WIRE_VERSION, WireError, decode_desired
from foreshape_wire.ids import ServerId, clip
from foreshape_wire.order import HOST_KEEPS_MIB, Desired, Mode, Origin
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import DomainReading, HostReading
from foreshape_wire.sample import DomainCard, HostReport

log = structlog.get_logger()

CLOSE = {admit.CPU: 0.02, admit.MEMORY: 8.0}
"""This much above the entitlement is none: granules of quota and virtio-mem."""

RESTORE_S = 60.0
"""A restore at the end may take this long: the service manager waits for it."""


class Link(Protocol):
    """The way to the controller. Raises LinkDown, LinkRefused, ReportRefused."""

    def exchange(self, report: bytes) -> bytes:
        """Hand over a report; the reply is the desired state."""


@dataclass(frozen=True)
class Doors:
    """Everything outside that a cycle touches."""

    hypervisor: Hypervisor
    read_host: Callable[[], HostReading]
    spool: Spool
    link: Link
    clock: Clock
    figures: Callable[[Mapping[str, object], float], None] = lambda _facts, _took_s: None
    """Told what each cycle came to."""


class Cycle:
    """The agent's work, one cycle at a time."""

    def __init__(self, doors: Doors, settings: Settings, pullers: Sequence[Lever] | None = None) -> None:
        self._doors, self._settings = doors, settings
        self._watch = Watch(doors.hypervisor, doors.clock, settings)
        self._hand = Reconciler(doors, self._watch, settings, levers.ALL if pullers is None else pullers)
        self._caps = Caps(doors, self._hand, levers.THROTTLES)
        self._host_before: HostReading | None = None
        self._cards: dict[ServerId, DomainCard] = {}
        self._cards_wanted = True
        self._timeline: admit.Timeline | None = None
        self._heard_at = doors.clock.monotonic()
        self._safe = ""
        self._note = ""
        self.trouble = ""
        """What kept the last cycle from doing all its work; empty when nothing did."""

    # -- the walk of one sample ------------------------------------------------------------------------------

    def run_once(self) -> str:
        """One whole cycle; its canonical sentence."""
        started = self._doors.clock.monotonic()
        self._hand.start_cycle()
        self._doors.spool.recover()
        sights = self._read()
        gave = self._answer_pressure(sights)
        row = self._report(sights)
        desired = self._exchange(row)
        self._hold_caps(sights, self._authority())
        waiting = self._follow(desired, sights)
        restored = self._stay_static(sights)
        self._drain(row, desired)
        return self._canonical(sights, gave, waiting, restored, self._doors.clock.monotonic() - started)

    def peek(self) -> int:
        """Between two cycles: look for pressure and answer it; the number of give-backs."""
        self._hand.start_cycle()
        return self._answer_pressure(self._read())

    def restore(self, why: str) -> None:
        """Every domain is what it was sold, no more and no less, and no cap of ours stays: nobody would be there to end it."""
        log.warning("restore", why=why)
        self._hand.start_cycle(RESTORE_S)
        sights = self._read()
        alone = self._authority()._replace(guards={})
        self._hold_caps(sights, alone)
        self._return_all(sights, why, alone)

    # -- reading and measuring -------------------------------------------------------------------------------

    def _read(self) -> dict[ServerId, Sight] | None:
        """Every domain as it is now; None while the hypervisor cannot be asked: unknown, not gone."""
        try:
            sights = self._watch.look(self._doors.hypervisor.read_domains())
            self._watch.ask_one(sights.values())
            self._hand.settle(sights)
            self._note_taken(sights)
        except HypervisorLost as e:
            self._note = f"hypervisor lost: {e}"
            log.warning("hypervisor lost", error=str(e))
            return None
        self._note = ""
        return sights

    def _note_taken(self, sights: dict[ServerId, Sight]) -> None:
        """Domains that have their entitlement again, or are gone, are no longer held below it."""
        under_way = {(a.server, a.resource) for a in self._doors.spool.actions()}
        for server, resource in self._doors.spool.taken():
            sight = sights.get(server)
            has = None if sight is None else sight.allocation(resource)
            whole = (
                sight is not None and has is not None and has >= admit.amount(self._entitlement(sight.reading), resource) - admit.TOLERANCE
            )
            if (whole or sight is None) and (server, resource) not in under_way:
                self._doors.spool.gave(server, resource)
        for server, resource in self._doors.spool.lent():
            sight = sights.get(server)
            if (sight is None or self._surplus(sight, resource) == 0) and (server, resource) not in under_way:
                self._doors.spool.got_back(server, resource)

    def _surplus(self, sight: Sight, resource: str) -> float:
        """What it has above its entitlement, if that can be seen."""
        has, sold = sight.allocation(resource), admit.amount(self._entitlement(sight.reading), resource)
        return 1e-9 if has is None else max(0.0, has - sold - CLOSE[resource])

    # -- pressure and static ---------------------------------------------------------------------------------

    def _answer_pressure(self, sights: dict[ServerId, Sight] | None) -> int:
        """Give back where a sample shows pressure, as its tier says, and not above a hard cap."""
        given, authority = 0, self._authority()
        try:
            for sight in self._in_time(sights):
                bound = self._bound(sight, authority)
                for give in reflex.decide(sight.sample, sight.before, bound, self._settings, authority.guards.get(sight.server)):
                    if self._ours(sight.reading, give.resource):
                        given += self._hand.give(sight, give.resource, give.target, Origin.REFLEX, f"{give.code}: {give.reason}")
        except HypervisorLost as e:
            self._note = f"hypervisor lost: {e}"
        return given

    def _in_time(self, sights: dict[ServerId, Sight] | None) -> Iterator[Sight]:
        """Domains one by one, while this cycle's time for actions lasts; the others come with the next cycle."""
        for sight in (sights or {}).values():
            if self._hand.spent:
                log.warning("no time left for give-backs in this cycle")
                return
            yield sight

    def _ours(self, reading: DomainReading, resource: str) -> bool:
        """Whether a lack is Foreshape's doing, as far as it knows: an operator's own cap is not lifted in observe or advise."""
        spool, server = self._doors.spool, reading.identity.server
        guard = spool.ledger.memo.guards.get(server)
        if guard is not None and guard.hands_off:
            return spool.took(server, resource)
        return spool.ledger.memo.mode is Mode.ACT or spool.lost or spool.took(server, resource)

    def _entitlement(self, reading: DomainReading) -> Size:
        """What was sold, as far as it can be reached here."""
        guard = self._doors.spool.ledger.memo.guards.get(reading.identity.server)
        sold = reading.entitlement if guard is None else guard.entitlement
        return Size(cpu=min(sold.cpu, reading.ceiling.cpu), memory=min(sold.memory, reading.ceiling.memory))

    def _bound(self, sight: Sight, authority: Authority) -> Size:
        """What may be given without an order: what was sold, under a hard cap and the share, though never less than the floor."""
        sold = self._entitlement(sight.reading)
        cpu, memory = (authority.cap(sight.server, r) for r in admit.RESOURCES)
        cores = [c for c in (None if cpu is None else cpu.amount, authority.share(sight.server)) if c is not None]
        if not cores and memory is None:
            return sold
        floor = authority.guards[sight.server].floor
        return Size(
            cpu=min(sold.cpu, max(Cores(min(cores)), floor.cpu)) if cores else sold.cpu,
            memory=sold.memory if memory is None else min(sold.memory, max(Memory(memory.amount), floor.memory)),
        )

    def _authority(self) -> Authority:
        """By the controller's last word, and its clock as far as it was heard: what holds also while it is silent."""
        clock, memo = self._doors.clock, self._doors.spool.ledger.memo
        now = clock.now() + memo.ahead_s if self._timeline is None else self._timeline.now(clock.monotonic())
        room = None if self._host_before is None else self._host_before.memory_available.mib - HOST_KEEPS_MIB
        return Authority(
            now=now, mode=memo.mode or Mode.OBSERVE, safe_mode=self._safe, guards=memo.guards, held=frozenset(memo.held), room=room
        )

    def _hold_caps(self, sights: dict[ServerId, Sight] | None, authority: Authority) -> None:
        """Hard caps begin, hold and end; whether the controller answers or not."""
        if sights is None:
            return
        try:
            self._caps.hold(sights, authority)
        except HypervisorLost as e:
            self._note = f"hypervisor lost: {e}"

    def _stay_static(self, sights: dict[ServerId, Sight] | None) -> int:
        """The controller is silent for too long: back to the entitlement, and no orders until it answers. Hard caps run on to their end."""
        silent = self._doors.clock.monotonic() - self._heard_at
        if silent <= self._settings.static_after_s:
            return 0
        if not self._safe:
            log.warning("fail to static", silent_s=round(silent))
        self._safe = f"controller silent for {silent:.0f} s: domains are at their entitlement"
        return self._return_all(sights, "controller silent", self._authority())

    def _return_all(self, sights: dict[ServerId, Sight] | None, why: str, authority: Authority) -> int:
        """What was taken is given back, up to any hard cap; what was lent above the entitlement is taken back."""
        moved = 0
        try:
            for sight in self._in_time(sights):
                bound = self._bound(sight, authority)
                for resource in admit.RESOURCES:
                    if self._ours(sight.reading, resource):
                        moved += self._hand.give(sight, resource, admit.amount(bound, resource), Origin.STATIC, why)
                    if self._doors.spool.has_lent(sight.server, resource) and self._surplus(sight, resource):
                        moved += self._take_back(sight, resource, why, authority)
        except HypervisorLost as e:
            self._note = f"hypervisor lost: {e}"
        return moved

    def _take_back(self, sight: Sight, resource: str, why: str, authority: Authority) -> bool:
        """CPU above what was sold goes at once: nobody watches any more whether the host can bear it. Memory only where it is unused."""
        target = admit.amount(self._entitlement(sight.reading), resource)
        if resource == admit.MEMORY:
            no = admit.unused(resource, target, scene_of(sight, resource, authority, authority.guards.get(sight.server)), self._settings)
            if no is not None:
                self._hand.refuse(sight, resource, target, Origin.STATIC, no)
                return False
        return self._hand.take(sight, resource, target, Origin.STATIC, f"back to what was sold: {why}")

    # -- reporting -------------------------------------------------------------------------------------------

    def _report(self, sights: dict[ServerId, Sight] | None) -> Row:
        """One numbered report, kept before it is sent. Its samples span the whole cycle."""
        spool, clock = self._doors.spool, self._doors.clock
        host = self._doors.read_host()
        host_sample, self._host_before = rates.host_sample(self._host_before, host), host
        cards = None if sights is None else self._changed_cards(sights)
        report = HostReport(
            version=WIRE_VERSION,
            host=self._settings.host_name,
            epoch=spool.epoch,
            sequence=spool.number,
            taken_at=clock.now(),
            samples=() if sights is None else tuple(self._watch.since_report(s) for s in sights.values()),
            host_sample=host_sample,
            outcomes=spool.unsent(),
            cards=cards,
            safe_mode=clip(self._safe),
            agent_version=__version__,
            note=clip("; ".join(n for n in (self._note, spool.notice) if n)),
        )
        return spool.append(report)

    def _changed_cards(self, sights: dict[ServerId, Sight]) -> tuple[DomainCard, ...] | None:
        """All cards when one changed, at first and when asked; None otherwise."""
        margin = Memory(self._settings.memory_margin_mib)
        cards = {server: _card(s, self._cards.get(server), margin) for server, s in sights.items()}
        if cards == self._cards and not self._cards_wanted:
            return None
        self._cards, self._cards_wanted = cards, False
        return tuple(cards.values())

    # -- the controller --------------------------------------------------------------------------------------

    def _exchange(self, row: Row) -> Desired | None:
        """Send the fresh report; the reply, if there is one that may be acted on."""
        self.trouble = self._note
        try:
            desired = self._send(row)
        except (LinkDown, LinkRefused, WireError) as e:
            self.trouble = f"no usable reply from the controller: {e}"
            log.warning("no usable reply", kind=type(e).__name__, error=str(e))
            return None
        monotonic = self._doors.clock.monotonic()
        self._timeline, trusted = admit.follow(self._timeline, desired.issued_at, monotonic, self._settings.clock_slack_s)
        if not trusted:
            log.warning("reply not followed: it is not newer than the ones before", issued_at=desired.issued_at)
            return None
        if self._safe:
            log.warning("controller answers again", after_s=round(monotonic - self._heard_at))
        self._heard_at, self._safe = monotonic, ""
        self._doors.spool.remember(desired.mode, desired.guards, desired.issued_at - self._doors.clock.now())
        return desired

    def _send(self, row: Row) -> Desired:
        """One report out, one reply in. Raises LinkDown, LinkRefused, WireError."""
        desired = self._addressed(decode_desired(self._doors.link.exchange(row.message())))
        self._doors.spool.forget(row.epoch, desired.accepted)
        self._cards_wanted = self._cards_wanted or desired.cards_wanted
        return desired

    def _addressed(self, desired: Desired) -> Desired:
        """A reply meant for another host is no reply."""
        if desired.host != self._settings.host_name:
            raise WireError(f"$.host is {desired.host!r}: this host is {self._settings.host_name!r}")
        return desired

    def _follow(self, desired: Desired | None, sights: dict[ServerId, Sight] | None) -> int:
        """Carry out the orders of a reply; how many had to wait."""
        if desired is None or sights is None or self._timeline is None:
            return 0
        try:
            return self._hand.carry_out(desired.orders, sights, self._authority())
        except HypervisorLost as e:
            self._note = f"hypervisor lost: {e}"
            return len(desired.orders)

    def _drain(self, fresh: Row, desired: Desired | None) -> None:
        """Reports of an outage, oldest first, while the controller answers and the cycle has time.

        The controller took the fresh report, so one that it refuses here is itself the trouble.
        """
        if desired is None:
            return
        spool, until = self._doors.spool, self._doors.clock.monotonic() + self._settings.interval_s / 2
        for row in spool.backlog(self._settings.backlog_per_cycle, but=fresh):
            try:
                self._send(row)
            except ReportRefused as e:
                log.warning("report refused, kept aside", epoch=row.epoch, sequence=row.sequence, error=str(e))
                spool.quarantine(row, str(e))
            except (LinkDown, LinkRefused, WireError) as e:
                log.warning("backlog stopped", kind=type(e).__name__, error=str(e))
                return
            if self._doors.clock.monotonic() > until:
                return

    def _canonical(self, sights: dict[ServerId, Sight] | None, gave: int, waiting: int, restored: int, took: float) -> str:
        """The one line of this cycle."""
        spool = self._doors.spool
        facts: dict[str, object] = {
            "domains": "unknown" if sights is None else len(sights),
            "gave_back": gave,
            "restored": restored,
            "unsettled": len(spool.actions()),
            "orders_waiting": waiting,
            "reports_waiting": spool.waiting(),
            "safe_mode": self._safe,
            "note": "; ".join(n for n in (self._note, spool.notice) if n),
        }
        log.info("cycle", **facts, took_ms=round(took * 1000, 1))
        self._doors.figures(facts, took)
        return "cycle: " + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in facts.items() if v not in {"", 0} or k == "domains")


def _card(sight: Sight, old: DomainCard | None, margin: Memory) -> DomainCard:
    """Who a domain is and what it can do. A part that could not be read (busy) stays what it was."""
    reading = sight.reading
    known = reading.entitlement if old is None else old.allocation
    cpu, memory = sight.allocation(admit.CPU), sight.allocation(admit.MEMORY)
    return DomainCard(
        identity=reading.identity,
        entitlement=reading.entitlement,
        ceiling=reading.ceiling,
        allocation=Size(cpu=known.cpu if cpu is None else Cores(cpu), memory=known.memory if memory is None else Memory(memory)),
        capabilities=reading.capabilities,
        throttles=reading.throttles,
        memory_margin=margin,
        stopped_s=reading.stopped_s,
    )
