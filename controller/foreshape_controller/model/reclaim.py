"""Reclamation: what idle and over-sized servers were promised and do not use, taken step by step and given back at once.

One ``Reclaim`` is one resource of one server, from the finding to the give-back; one ``Notice`` is what its owner is told.
"""

from enum import StrEnum

import msgspec


class State(StrEnum):
    """Where a reclaim stands; the floor is below the tier's only in ``shrinking`` and ``reclaimed``."""

    FOUND = "found"
    """Idle or over-sized; nothing was said to the owner and nothing changes: this is advice."""
    NOTICED = "noticed"
    """The owner knows; the floor is still the tier's."""
    SHRINKING = "shrinking"
    """The floor goes down, a step at a time."""
    RECLAIMED = "reclaimed"
    """The floor is where the notice said."""
    GIVING_BACK = "giving_back"
    """The floor is the tier's again; the guest does not have it yet."""
    GIVEN_BACK = "given_back"
    """The guest has its tier's floor; it is left alone for a while."""
    OBJECTED = "objected"
    """The owner said no."""
    GONE = "gone"
    """The server left, or is neither idle nor over-sized any more."""


LOWERED = (State.SHRINKING, State.RECLAIMED)
"""States in which the floor in force may be below the tier's."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What history holds of a server that is idle or over-sized, in cores or MiB."""

    kind: str
    """``idle`` or ``oversized``."""
    entitlement: float
    p99: float
    """99 % of the measured 5-minute maxima are not above it."""
    top: float
    """Largest 5-minute mean."""
    day_peak: float
    """95 % quantile of the forecast's largest value of the next day."""
    needed: float
    """What it needs with the margin."""
    goal: float
    """Floor that would do: not below ``needed``, nor below the least that anybody keeps."""
    days: float
    """Days of history looked at."""
    covered: float
    """Share of these days' bins that measurements spoke for."""


class Reclaim(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of one server. Amounts in cores or MiB; instants in epoch seconds."""

    server: str
    resource: str
    state: State
    at: float
    """When it came into this state."""
    why: str
    """Of the newest transition, a sentence."""
    cause: str = ""
    """Cause id: notices and log lines carry it."""
    name: str = ""
    project: str = ""
    tier: str = ""
    tier_floor: float = 0.0
    """What its tier guarantees: ``from``."""
    floor: float = 0.0
    """In force: the tier's, or less while it is reclaimed."""
    goal: float = 0.0
    """``to``: the floor goes down to this. May rise after the notice, never fall."""
    finding: Finding | None = None
    hindrance: str = ""
    """Why a finding stays advice; empty when nothing stands in the way."""
    begins_at: float | None = None
    """When the first step is taken, as the notice said."""
    stepped_at: float | None = None
    stated_s: float | None = None
    """Give-back time that the notice stated."""
    stated_how: str = ""
    back_since: float | None = None
    """When the floor was the tier's again."""
    measured_s: float | None = None
    """From then until the guest had it."""
    objection: str = ""

    @property
    def saves(self) -> float:
        """Guaranteed capacity that becomes free, at the end."""
        return max(0.0, self.tier_floor - self.goal)

    @property
    def saved(self) -> float:
        """… and is free now."""
        return max(0.0, self.tier_floor - self.floor)


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner is told."""

    at: float
    project: str
    server: str
    name: str
    kind: str
    """``reclaim`` (announced), ``reclaim_withdrawn``, ``reclaim_back`` (given back, with the time it took); ``cap``, ``cap_lifted``."""
    text: str
    resource: str = ""
    cause: str = ""
    begins_at: float | None = None
    answered_at: float | None = None
    """When the owner objected, or what was announced was withdrawn or over."""
    id: int = 0
    """Of the store; 0 before it is kept."""


class ReclaimAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/reclaims``: one resource of one server; cores or MiB as ``unit`` says."""

    server: str
    name: str
    project: str
    tier: str
    resource: str
    unit: str
    state: str
    since: float
    floor_from: float
    floor_to: float
    floor_now: float
    saves: float
    """Guaranteed capacity that is freed when the floor has reached ``floor_to``."""
    saved: float
    """Freed so far."""
    spare: float
    """Sold and not needed, whatever the floor: what a smaller flavor would do."""
    begins_at: float | None
    give_back_stated_s: float | None
    give_back_measured_s: float | None
    kind: str
    sentence: str
    """What was found, with figures."""
    why: str
    hindrance: str
    objection: str
    cause: str


class ObjectionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/reclaims/{server}/object``."""

    reason: str
    resource: str = ""
    """Empty: both."""


class NoticeAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/notices[?project=ID]``: the newest first."""

    id: int
    at: float
    project: str
    server: str
    name: str
    kind: str
    text: str
    resource: str
    begins_at: float | None
    answered_at: float | None
    cause: str
