"""Draining hosts by command: closed as a target at once, emptied by the coordinator, opened again by ``undrain``.

A nova-compute that is disabled for it carries the drain's id as its reason: it is enabled again only where that reason still stands in Nova
at that moment, and whoever dies between writing down and asking Nova is made good for by the next round. One that somebody disabled before
us keeps that reason, and stays disabled.
"""

from collections.abc import Callable
from typing import Protocol

import structlog
from msgspec.structs import replace

from foreshape_controller.errors import CloudError, Invalid, NotFound
from foreshape_controller.loops.surroundings import Surroundings
from foreshape_controller.model.cloud import CloudView
from foreshape_controller.model.migration import State
from foreshape_controller.model.moving import Drain, Goal, Moving, Proposal
from foreshape_controller.model.moving_answers import DrainAnswer, DrainRequest, KeptAnswer
from foreshape_wire.ids import new_id
from foreshape_wire.order import Mode

_log = structlog.get_logger("foreshape.migrate")

REASON_MOST = 500
LATELY_S = 86400.0
"""So long after its end a drain's service is still looked after."""


class Drains(Protocol):
    """The part of the store that drains are in."""

    def open(self) -> tuple[Drain, ...]: ...

    def list(self, since: float) -> tuple[Drain, ...]: ...

    def of(self, host: str) -> Drain: ...

    def add(self, new: Drain) -> None: ...

    def save(self, drain: Drain) -> Drain: ...


class Service(Protocol):
    """A nova-compute, as Nova has it now."""

    @property
    def enabled(self) -> bool: ...

    @property
    def disabled_why(self) -> str: ...


class Services(Protocol):
    """The part of Nova that closes hosts to the scheduler."""

    def find_service(self, host: str) -> Service: ...

    def disable(self, service: str, why: str) -> None: ...

    def enable(self, service: str) -> None: ...


class Modes(Protocol):
    """How far we may go."""

    def effective(self, host: str, project: str = "", server: str = "") -> Mode: ...


class Draining:
    """``begin`` and ``end`` for people; ``keep`` with each plan."""

    def __init__(self, drains: Drains, nova: Services, view: Callable[[], CloudView | None], modes: Modes) -> None:
        self._drains, self._nova, self._view, self._modes = drains, nova, view, modes

    def begin(self, host: str, asked: DrainRequest, now: float, ids: Callable[[str], str] = new_id) -> Drain:
        """Write down that a host is to be emptied. Raises NotFound, Invalid."""
        cloud = self._cloud()
        if host not in cloud.hosts:
            raise NotFound(f"there is no host {host[:80]!r} in Nova: see 'openstack compute service list'")
        until = asked.until if asked.for_s is None else now + asked.for_s
        self._check(host, asked, until, now)
        drain = Drain(
            id=ids("drain"),
            host=host,
            reason=asked.reason.strip(),
            by=asked.by,
            since=now,
            until=until,
            approved=asked.approve,
            disable=asked.disable,
            service=cloud.hosts[host].service if asked.disable else "",
        )
        self._drains.add(drain)
        _log.warning("drain", id=drain.id, host=host, reason=drain.reason, by=drain.by, disable=drain.disable)
        if drain.disable:
            self._closed(drain)
        return drain

    def _check(self, host: str, asked: DrainRequest, until: float | None, now: float) -> None:
        if not asked.reason.strip() or len(asked.reason) > REASON_MOST:
            raise Invalid(f"reason: say why, in at most {REASON_MOST} characters")
        if until is not None and until <= now:
            raise Invalid("until: it has to be in the future")
        if asked.until is not None and asked.for_s is not None:
            raise Invalid("give until or for_s, not both")
        mode = self._modes.effective(host)
        if asked.disable and mode is Mode.OBSERVE:
            raise Invalid(f"disable: the mode of {host} is observe: nothing is done there")
        if asked.disable and mode is Mode.ADVISE and not asked.approve:
            raise Invalid(f"disable: the mode of {host} is advise, and this is done in Nova at once: approve the drain as well (--approve)")

    def end(self, host: str, why: str, now: float) -> Drain:
        """Nothing more leaves it; what is under way arrives. Raises NotFound."""
        drain = self._drains.save(replace(self._drains.of(host), ended=now, ended_why=why or "ended by an operator"))
        _log.warning("undrain", id=drain.id, host=host, reason=drain.ended_why)
        if drain.disable:
            self._opened(drain)
        return drain

    def keep(self, now: float) -> None:
        """See that services are as drains want them, whoever died in between."""
        cloud = self._view()
        if cloud is None:
            return
        for drain in self._drains.list(now - LATELY_S):
            host = cloud.hosts.get(drain.host)
            if not drain.disable or host is None:
                continue
            if drain.ended is None and host.enabled and self._modes.effective(host.name) is not Mode.OBSERVE:
                self._closed(drain)
            elif drain.ended is not None and host.disabled_why == marker(drain):
                self._opened(drain)

    def _closed(self, drain: Drain) -> None:
        """Only where nobody else closed it before: his reason would be lost, and ours would open it again."""
        try:
            found = self._nova.find_service(drain.host)
            if found.enabled:
                self._nova.disable(drain.service, marker(drain))
            elif found.disabled_why != marker(drain):
                _log.info("disabled by somebody else already", host=drain.host, reason=found.disabled_why)
        except CloudError as e:
            _log.warning("not disabled yet", host=drain.host, reason=str(e))

    def _opened(self, drain: Drain) -> None:
        """Only what we closed, and nobody else gave a reason for since."""
        try:
            found = self._nova.find_service(drain.host)
            if not found.enabled and found.disabled_why == marker(drain):
                self._nova.enable(drain.service)
            elif not found.enabled:
                _log.info("left disabled: somebody else's reason stands", host=drain.host, reason=found.disabled_why)
        except CloudError as e:
            _log.warning("not enabled yet", host=drain.host, reason=str(e))

    def _cloud(self) -> CloudView:
        cloud = self._view()
        if cloud is None:
            raise Invalid("the cloud was not read yet: try again in a minute")
        return cloud


def marker(drain: Drain) -> str:
    """What Nova shows as the reason."""
    return f"foreshape {drain.id}: {drain.reason}"[:255]


def told(drain: Drain, around: Surroundings | None) -> DrainAnswer:
    """How far it is."""
    left = sum(s.host == drain.host for s in around.facts.cloud.servers.values()) if around else 0
    rows: tuple[Moving, ...] = tuple(around.facts.rows) if around else ()
    proposals: tuple[Proposal, ...] = tuple(around.facts.proposals) if around else ()
    moving = sum(r.migration.source == drain.host and r.migration.state is not State.ARRIVED for r in rows)
    state = "ended" if drain.ended is not None else "empty" if around and not left else _goes(drain, around, moving)
    return DrainAnswer(
        id=drain.id,
        host=drain.host,
        reason=drain.reason,
        by=drain.by,
        since=drain.since,
        until=drain.until,
        approved=drain.approved,
        disabled=drain.disable,
        state=state,
        total=left if drain.total is None else drain.total,
        left=left,
        moving=moving,
        proposed=sum(p.source == drain.host and p.goal is Goal.DRAIN for p in proposals),
        kept=tuple(KeptAnswer(name=_named(name, around), reason=why) for name, why in drain.kept.items()),
        empty_at=drain.empty_at,
        ended=drain.ended,
        ended_why=drain.ended_why,
    )


def _goes(drain: Drain, around: Surroundings | None, moving: int) -> str:
    """Whether anything leaves it as things are: what the mode does not allow and nobody approved is only proposed."""
    acts = around is not None and around.facts.levels.effective(drain.host) is Mode.ACT
    return "emptying" if drain.approved or moving or acts else "proposed"


def _named(server: str, around: Surroundings | None) -> str:
    found = around.facts.cloud.servers.get(server) if around else None
    return f"{found.name} ({server})" if found else server
