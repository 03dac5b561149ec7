"""Statements: what one project used in one month, and what that costs. Money is Decimal, in the rate card's currency."""

from decimal import Decimal

import msgspec

ZERO = Decimal(0)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One item. Amounts of lines are rounded to the cent once; everything else is their sum."""

    server: str = ""
    """Its id; ``pool:NAME``, ``reservation:ID``; empty where lines are added up by something else."""
    name: str = ""
    tier: str = ""
    item: str
    """``cpu entitlement``, ``memory burst``, ``accuracy discount``, ``credit cpu violations`` …; the day, of ``by=day``."""
    kind: str
    """``charge``, ``discount``, ``premium``, ``credit``; ``sum`` of several."""
    quantity: Decimal = ZERO
    unit: str = ""
    rate: Decimal = ZERO
    amount: Decimal
    why: str = ""
    causes: tuple[str, ...] = ()
    """Ids of decisions and claims that prove a credit: ``foreshape why --cause ID``."""
    used_in: str = ""
    """Of an adjustment: the month it was used in, whose statement was closed before this came to be known."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /v1/statements/{period}``."""

    project: str
    period: str
    """``2026-11``."""
    since: float
    until: float
    """What is counted in ends here: the period's end, or how far metering has come."""
    state: str
    """``open``: it still changes; ``closed``: frozen."""
    shadow: bool
    note: str
    currency: str
    card: str
    """Version of the rate file it is made by."""
    by: str
    lines: tuple[Line, ...]
    total: Decimal
    """The sum of the lines."""
    credits: Decimal
    adjustments: Decimal
    """Part of the total that is for earlier, closed months."""
    static: Decimal
    """What the same servers would have cost at the size their flavor sold, for the same measured time, by the same card."""
    saved: Decimal
    """``static`` less what those servers cost: charges, discounts and credits, without pools and reservations."""
    could_save: Decimal
    """What plans would have freed of servers that may not be resized, at the discount for freed size: an estimate."""
    measured_h: Decimal
    """Server-hours that reports spoke for; others are not in it."""
    closed_at: float | None = None


class StatementRow(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /v1/statements``: one statement without its lines."""

    project: str
    period: str
    state: str
    shadow: bool
    currency: str
    card: str
    total: Decimal
    credits: Decimal
    adjustments: Decimal
    static: Decimal
    saved: Decimal
    could_save: Decimal
    until: float


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """Of one project in the running month, for overviews."""

    project: str
    period: str
    currency: str
    total: Decimal
    static: Decimal
    saved: Decimal
    could_save: Decimal
