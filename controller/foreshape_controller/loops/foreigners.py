"""Whether somebody else balances, too: migrations that are not ours, many in a short time, and not out of hosts that an operator closed.

Two balancers on one cloud undo each other's work. What we do by ourselves rests then; what a person asks for goes on.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from foreshape_controller.errors import CloudError
from foreshape_controller.loops.acting import BALANCER
from foreshape_controller.model.brakes import Halt
from foreshape_controller.model.cloud import CloudMigration, CloudView

_log = structlog.get_logger("foreshape.migrate")

EVERY_S = 60.0

KINDS = frozenset({"live-migration"})
"""A resize or an evacuation is a person's decision."""


@dataclass(frozen=True)
class ForeignRule:
    """What the configuration says."""

    moves: int = 3
    window_s: float = 900.0
    rest_s: float = 1800.0


class Halts(Protocol):
    """The part of the store that halts are in."""

    def all(self) -> Sequence[Halt]: ...

    def save(self, changed: Sequence[Halt], gone: Sequence[Halt] = ()) -> None: ...


class Foreigners:
    """``run_once`` looks at Nova's records of the last minutes; ``arrived`` is what it saw. Its memory may be lost."""

    def __init__(self, halts: Halts, history: Callable[[float], Sequence[CloudMigration]], rule: ForeignRule) -> None:
        """``history``: Nova's migrations that changed since an instant."""
        self._halts, self._history, self._rule = halts, history, rule
        self._looked_at = float("-inf")
        self.arrived: dict[str, float] = {}
        """By server: when somebody else moved it last."""

    def run_once(self, cloud: CloudView, ours: Callable[[CloudMigration], bool], now: float) -> None:
        """Look, if it is time. What Nova cannot tell now is told next time."""
        if now - self._looked_at < EVERY_S:
            return
        try:
            found = self._history(now - self._rule.window_s)
        except CloudError as e:
            _log.warning("others' migrations are not known now", reason=str(e))
            return
        self._looked_at = now
        theirs = [m for m in found if not ours(m) and m.kind in KINDS]
        self.arrived = {m.server: m.updated for m in reversed(theirs) if m.status == "completed"}
        self._judge(self._counted(theirs, cloud, now), now)

    def _counted(self, theirs: Iterable[CloudMigration], cloud: CloudView, now: float) -> list[CloudMigration]:
        """Those that nobody's maintenance explains: out of hosts that Nova still schedules to."""
        open_hosts = {h.name for h in cloud.hosts.values() if h.enabled and h.up}
        return [m for m in theirs if m.source in open_hosts and m.started >= now - self._rule.window_s]

    def _judge(self, counted: Sequence[CloudMigration], now: float) -> None:
        if len(counted) < self._rule.moves:
            return
        before = next((h for h in self._halts.all() if h.kind == BALANCER and h.scope == "cloud"), None)
        newest = max(m.started for m in counted)
        if before is not None and not before.active and newest <= before.since:
            return  # a person cleared it, and nothing happened since
        reason = (
            f"somebody else started {len(counted)} live migrations within {self._rule.window_s / 60:.0f} minutes, "
            f"the last of server {counted[0].server} from {counted[0].source} to {counted[0].target or 'anywhere'}: another balancer? "
            "We move nothing by ourselves until it rests; 'foreshape halt clear cloud' says that it was a person"
        )
        since = before.since if before is not None and before.active else now
        until = newest + self._rule.rest_s
        if until <= now:
            return
        self._halts.save([Halt(scope="cloud", kind=BALANCER, state="open", since=since, until=until, reason=reason)])
        if before is None or not before.active:
            _log.warning("a second balancer", migrations=len(counted), until=until)
