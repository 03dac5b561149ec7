"""One report in, the desired state of its host out. Used by the API, and directly by the demo and tests.

Returning is the acknowledgment: by then the report is durable. Any error means that nothing was taken.
"""

import time
from collections.abc import Callable, Sequence

import msgspec

from foreshape_controller.config import Settings
from foreshape_controller.errors import Forged
from foreshape_controller.log import get_logger
from foreshape_controller.store import Store
from foreshape_controller.store.history import Taken
from foreshape_wire.codec import WIRE_VERSION, decode_report, encode
from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.order import Desired, Guard, Outcome
from foreshape_wire.sample import HostReport

log = get_logger("intake")

Complete = Callable[[Sequence[Guard], frozenset[ServerId], float], tuple[Guard, ...]]
"""Guards of a host, which of its servers may be acted on, the time: the guards, completed."""


class Half(msgspec.Struct, frozen=True):
    """A report that is durable, and its reply as far as the store knows it."""

    desired: Desired
    """Its guards are plain."""
    acting: frozenset[ServerId]


class Intake:
    """``accept`` is safe from any thread; reports of all hosts share one store."""

    def __init__(self, store: Store, settings: Settings, complete: Complete = lambda plain, _acting, _now: tuple(plain)) -> None:
        """``complete``: adds to guards what a decision about tiers and caps is needed for (``loops.guarding``)."""
        self._store, self._complete = store, complete
        self._rotate_after_s = settings.agents.token_rotation_days * 86400.0

    def accept(self, host: HostName, data: bytes, now: float) -> bytes:
        """Take a report of an authenticated host. Raises WireError, Forged, Unavailable."""
        return self.answer(self.take(host, data, now))

    def take(self, host: HostName, data: bytes, now: float) -> Half:
        """Everything but what a decision about tiers and caps is needed for: the part that a process of its own can do."""
        began = time.monotonic()
        report = read(host, data)
        return self.half(report, self._store.history.take(report, now), now, began)

    def half(self, report: HostReport, taken: Taken, now: float, began: float) -> Half:
        """The reply to a report that is durable, and its lines in the log."""
        host = report.host_name
        self._tell(report, taken, now)
        steering = self._store.inventory.steering(host, now)
        desired = Desired(
            version=WIRE_VERSION,
            host=host,
            issued_at=now,
            mode=steering.mode,
            accepted=(report.sequence,),
            orders=steering.orders,
            guards=steering.guards,
            cards_wanted=steering.cards_wanted,
            token=self._new_token(host, now),
        )
        _say(report, taken, len(steering.orders), began)
        return Half(desired, steering.acting)

    def answer(self, half: Half) -> bytes:
        """The reply, its guards completed."""
        desired = half.desired
        guards = self._complete(desired.guards, half.acting, desired.issued_at)
        return encode(msgspec.structs.replace(desired, guards=guards))

    def _new_token(self, host: HostName, now: float) -> str:
        """A new token where rotation is due. Hosts that never enrolled (demo, tests) have none to rotate."""
        agents = self._store.agents
        due = self._rotate_after_s > 0 and agents.rotation_due(host, now, self._rotate_after_s)
        return agents.rotate(host, now) if due else ""

    def _tell(self, report: HostReport, taken: Taken, now: float) -> None:
        if not taken.new:
            log.info("report replayed", host=report.host, sequence=report.sequence)
            return
        if taken.taken_at != report.taken_at:
            log.warning("agent's clock is ahead", host=report.host, ahead_s=round(report.taken_at - now, 1), taken_as_of="receipt")
        for outcome in report.outcomes:
            stray = outcome in taken.strays
            (log.warning if stray else log.info)("stray outcome" if stray else "outcome", host=report.host, **_told(outcome))


def read(host: HostName, data: bytes) -> HostReport:
    """A host's report. Raises WireError, Forged."""
    report = decode_report(data)
    if report.host != host:
        raise Forged(f"$.host is {report.host!r}, but this token belongs to {host!r}: an agent reports for its own host only")
    return report


def _say(report: HostReport, taken: Taken, orders: int, began: float) -> None:
    """The report's one line; at level debug, because there are a hundred a second."""
    log.debug(
        "report",
        host=report.host,
        epoch=report.epoch,
        sequence=report.sequence,
        new=taken.new,
        samples=len(report.samples),
        outcomes=len(report.outcomes),
        orders=orders,
        took_ms=round((time.monotonic() - began) * 1000, 1),
    )


def _told(outcome: Outcome) -> dict[str, object]:
    """One outcome in one line; the cause leads back to the decision."""
    return {
        "cause": outcome.cause,
        "order": outcome.order,
        "server": outcome.server,
        "origin": outcome.origin.value,
        "resource": outcome.resource,
        "verdict": outcome.verdict.value,
        "code": outcome.code,
        "before": outcome.before,
        "after": outcome.after,
        "reason": outcome.reason,
    }
