"""The life of one shadow VM (domain.md §9). Pure: a record, an event, the next record.

    planned ──boot──▶ booting ──up──▶ ready ──claim──▶ claimed ──handed──▶ handed_over
       │                │  │            │ │               │
       │                │  └─broken──┐  │ └─broken──┐     └──vanished──▶ lost
       └─────retire─────┼─────────┐  ▼  │           ▼
                        └─retire──┤ failed ──clean──┐
                                  ▼                 ▼
     lost ──found──▶ retiring ◀───┴──── retire (ready)      retiring ──gone──▶ gone

``vanished`` leads from booting and ready to lost as well. A claimed one never comes near ``retiring``: whoever claimed it owns it.
"""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec.structs import replace

from foreshape_controller.errors import Invalid
from foreshape_controller.model.pool import Happened, Shadow, State

S, H = State, Happened

NEXT: Mapping[tuple[State, Happened], State] = MappingProxyType(
    {
        (S.PLANNED, H.BOOT): S.BOOTING,
        (S.PLANNED, H.RETIRE): S.RETIRING,
        (S.BOOTING, H.UP): S.READY,
        (S.BOOTING, H.BROKEN): S.FAILED,
        (S.BOOTING, H.VANISHED): S.LOST,
        (S.BOOTING, H.RETIRE): S.RETIRING,
        (S.READY, H.CLAIM): S.CLAIMED,
        (S.READY, H.BROKEN): S.FAILED,
        (S.READY, H.VANISHED): S.LOST,
        (S.READY, H.RETIRE): S.RETIRING,
        (S.CLAIMED, H.HANDED): S.HANDED_OVER,
        (S.CLAIMED, H.VANISHED): S.LOST,
        (S.FAILED, H.CLEAN): S.RETIRING,
        (S.RETIRING, H.GONE): S.GONE,
        (S.LOST, H.FOUND): S.RETIRING,
        (S.GONE, H.FOUND): S.RETIRING,
    }
)
"""What may happen in which state; anything else does not."""

_STAMPS: Mapping[State, str] = MappingProxyType(
    {S.BOOTING: "asked_at", S.READY: "ready_at", S.CLAIMED: "claimed_at", S.HANDED_OVER: "handed_at"}
)


def may(shadow: Shadow, event: Happened) -> bool:
    """Whether it can happen now. What somebody claimed is never found again by us: it is his."""
    if event is H.FOUND and shadow.claimed_at is not None:
        return False
    return (shadow.state, event) in NEXT


def advance(shadow: Shadow, event: Happened, why: str, now: float, **more: object) -> Shadow:
    """The record after an event; ``more``: other fields that it changes. Raises Invalid for what cannot happen."""
    if not may(shadow, event):
        raise Invalid(f"shadow VM {shadow.id} is {shadow.state}: {event} cannot happen to it")
    after = NEXT[shadow.state, event]
    stamp = {_STAMPS[after]: now} if after in _STAMPS else {}
    return replace(shadow, state=after, since=now, why=why, **{**stamp, **more})


def deletable(shadow: Shadow) -> str:
    """Why its server must not be deleted; empty: by our record it may."""
    if shadow.claimed_at is not None or shadow.state.customers:
        return "it was claimed"
    return "" if shadow.state is S.RETIRING else f"it is {shadow.state}"


def proven_ours(shadow: Shadow, project: str, metadata: Mapping[str, str], keys: tuple[str, str], seen_project: str) -> str:
    """Why a server that Nova shows is not provably this shadow VM's, unclaimed; empty: tag, record and project agree.

    keys: of the tags of shadow and claim.
    """
    mark, claimed = keys
    if metadata.get(mark) != shadow.id:
        return f"its tag {mark} is {metadata.get(mark)!r}, not {shadow.id!r}"
    if metadata.get(claimed):
        return "its tag says that somebody claimed it"
    if seen_project != project:
        return f"it is in project {seen_project}, not in the pool's"
    return ""
