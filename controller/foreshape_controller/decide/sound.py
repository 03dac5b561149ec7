"""Numbers that make no sense, found before any rule compares with them: a comparison with NaN would decide anything."""

from dataclasses import replace
from typing import Any

import numpy as np

from foreshape_controller.decide.facts import Facts, Levers
from foreshape_controller.model.columns import Codes, Column, Flags
from foreshape_wire.quantity import MAX_CORES, MAX_MIB

ODD = ("", "a size, a lever's range or a forecast is not a number", "what was sold is nothing, or more than any machine has")


def unsound(facts: Facts) -> Codes:
    """[n]: index into ``ODD`` of what is wrong with a server's numbers; 0: nothing. Comparisons with NaN would decide anything."""
    f, levers, peak = facts, facts.levers, facts.peak
    sound = is_amount(f.allocation, f.resource) & is_amount(f.ceiling, f.resource) & np.isfinite(f.raised_floor)
    for column in (levers.lowest, levers.highest, levers.granule):
        sound &= (~levers.usable | _positive(column)).all(axis=0)
    sound &= ~peak.there | (_positive(peak.median) & _positive(peak.wanted))
    sold = is_amount(f.entitlement, f.resource) & (f.entitlement > 0)
    return np.select([~sound, ~sold], [1, 2], 0).astype(np.int32)


def _positive(column: Column) -> Flags:
    return np.isfinite(column) & (column >= 0)


def is_amount(column: Column, resource: str) -> Flags:
    return (column >= 0) & (column <= (MAX_CORES if resource == "cpu" else MAX_MIB))  # NaN fails every comparison


def sane(facts: Facts, odd: Codes) -> Facts:
    """The same facts with harmless numbers where they are odd, so that arithmetic stays silent; the result is thrown away."""
    if not odd.any():
        return facts
    bad = odd > 0

    def mended(column: Column) -> Column:
        return np.where(bad, 1.0, column)

    levers = Levers(facts.levers.usable & ~bad, *(mended(c) for c in (facts.levers.lowest, facts.levers.highest, facts.levers.granule)))
    peak = replace(facts.peak, median=mended(facts.peak.median), wanted=mended(facts.peak.wanted))
    amounts: dict[str, Any] = {name: mended(getattr(facts, name)) for name in ("allocation", "entitlement", "ceiling", "raised_floor")}
    return replace(facts, levers=levers, peak=peak, **amounts)
