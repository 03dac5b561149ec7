"""One report in, the desired state of its host out. Used by the API, and directly by the demo and tests.

Returning is the acknowledgment: by then the report is durable. Any error means that nothing was taken.
"""

from collections.abc import Callable, Sequence

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


class Intake:
    """``accept`` is safe from any thread; reports of all hosts share one store."""

    def __init__(self, store: Store, settings: Settings, complete: Complete = lambda plain, _acting, _now: tuple(plain)) -> None:
        """``complete``: adds to guards what a decision about tiers and caps is needed for (``loops.guarding``)."""
        self._store, self._complete = store, complete
        self._rotate_after_s = settings.agents.token_rotation_days * 86400.0

    def accept(self, host: HostName, data: bytes, now: float) -> bytes:
        """Take a report of an authenticated host. Raises WireError, Forged, Unavailable."""
        report = decode_report(data)
        if report.host != host:
            raise Forged(f"$.host is {report.host!r}, but this token belongs to {host!r}: an agent reports for its own host only")
        taken = self._store.history.take(report, now)
        self._tell(report, taken, now)
        return encode(self._reply(report, host, now))

    def _reply(self, report: HostReport, host: HostName, now: float) -> Desired:
        steering = self._store.inventory.steering(host, now)
        return Desired(
            version=WIRE_VERSION,
            host=host,
            issued_at=now,
            mode=steering.mode,
            accepted=(report.sequence,),
            orders=steering.orders,
            guards=self._complete(steering.guards, steering.acting, now),
            cards_wanted=steering.cards_wanted,
            token=self._new_token(host, now),
        )

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
