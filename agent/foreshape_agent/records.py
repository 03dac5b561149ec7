"""What the spool keeps, as values: intents, small state, waiting reports. Encoded with the wire's own codec."""

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from foreshape_agent.choose import Step
from foreshape_agent.throttle import Held
from foreshape_wire.codec import encode
from foreshape_wire.ids import CauseId, OrderId, ServerId
from foreshape_wire.order import Guard, Mode, Order, Origin, Outcome
from foreshape_wire.sample import Gap, HostReport


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """An intent on one resource of one VM: written before the first lever is pulled, kept until it is settled."""

    order: OrderId
    cause: CauseId
    server: ServerId
    resource: str
    origin: Origin
    before: float
    target: float
    steps: tuple[Step, ...]
    at: float
    reason: str
    asked: bool = False
    """All its levers were pulled: only the proof is missing."""
    instance: str = ""
    """The domain's run it was meant for: a domain started anew has forgotten it."""

    @property
    def key(self) -> str:
        return key_of(self, self.resource)


def key_of(whose: "Action | Outcome | Order", resource: str) -> str:
    """What an action and its outcome are remembered by: the order, or the cause where no order was behind it.

    A hard cap is one cause for many servers.
    """
    capped = not isinstance(whose, Order) and whose.origin is Origin.CAP
    return f"{whose.cause}/{whose.server}/{resource}" if capped else f"{whose.order or whose.cause}/{resource}"


class Memo(msgspec.Struct):
    """Small state that is written as one row."""

    epoch: str
    next_sequence: int = 1
    mode: Mode | None = None
    """The host's mode by the last reply; None: the controller never answered."""
    guards: dict[ServerId, Guard] = {}
    ahead_s: float = 0.0
    """How far the controller's clock was ahead of ours, by its last reply: what ends by its clock ends in time after a restart, too."""
    taken: dict[str, float] = {}
    """``server/resource`` that Foreshape holds below its entitlement, and since when."""
    lent: dict[str, float] = {}
    """``server/resource`` that Foreshape holds above its entitlement, and since when."""
    held: dict[str, Held] = {}
    """Hard caps that hold servers back, or are about to."""
    quarantined: int = 0
    lost: bool = False
    """State was lost with an unreadable file: what Foreshape took before is not known."""


class Row(msgspec.Struct):
    """One report that waits. ``outcomes`` and ``gap`` are kept beside the body, so that thinning can move them."""

    id: int
    epoch: str
    sequence: int
    taken_at: float
    body: bytes
    outcomes: tuple[Outcome, ...]
    gap: Gap | None
    whole: bytes = b""
    """The report as it is sent, while it is known anyway."""

    @classmethod
    def of(cls, number: int, report: HostReport) -> "Row":
        """A report as it is kept."""
        bare = encode(msgspec.structs.replace(report, outcomes=(), gap=None))
        whole = encode(report) if report.outcomes or report.gap else bare
        return cls(number, report.epoch, report.sequence, report.taken_at, zlib.compress(bare, 1), report.outcomes, report.gap, whole)

    @classmethod
    def read(cls, columns: Sequence[Any]) -> "Row":
        """From its columns."""
        number, epoch, sequence, taken_at, body = columns[:5]
        outcomes = msgspec.json.decode(columns[5], type=tuple[Outcome, ...])
        return cls(number, epoch, sequence, taken_at, body, outcomes, msgspec.json.decode(columns[6], type=Gap | None))

    def columns(self) -> tuple[Any, ...]:
        return (self.id, self.epoch, self.sequence, self.taken_at, self.body, packed(self.outcomes), packed(self.gap))

    def renumber(self, epoch: str, sequence: int) -> None:
        """Another number, in the body too."""
        report = msgspec.json.decode(zlib.decompress(self.body), type=HostReport)
        self.epoch, self.sequence, self.whole = epoch, sequence, b""
        self.body = zlib.compress(encode(msgspec.structs.replace(report, epoch=epoch, sequence=sequence)), 1)

    def heir_of(self, gone: "Row") -> None:
        """Take over the outcomes and the time of a report that cannot be kept."""
        self.outcomes, self.gap, self.whole = self.outcomes + gone.outcomes, joined(gone, self.gap), b""

    def message(self) -> bytes:
        """The report as it is sent."""
        if self.whole:
            return self.whole
        report = msgspec.json.decode(zlib.decompress(self.body), type=HostReport)
        return encode(msgspec.structs.replace(report, outcomes=self.outcomes, gap=self.gap))


def packed(value: Any) -> bytes:
    """As it lies in a column."""
    return msgspec.json.encode(value)


def joined(gone: Row, gap: Gap | None) -> Gap:
    """The gap that a lost report leaves, joined with those it and its heir had."""
    whole = Gap(since=gone.taken_at, until=gone.taken_at, reports=1)
    for other in (gone.gap, gap):
        if other is not None:
            whole = Gap(since=min(whole.since, other.since), until=max(whole.until, other.until), reports=whole.reports + other.reports)
    return whole
