"""How a tier did: sums over servers and 5-minute bins, so that half-hours add up to days."""

from typing import Self

import msgspec


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of one tier over some time. Counts are of bins (one server, 5 minutes) unless said; amounts are cores or MiB × bins."""

    bins: float = 0
    """With a measured demand and allocation."""
    missing: float = 0
    """Of servers that were decided about, and nothing was measured."""
    violated: float = 0
    """Demand above the allocation."""
    capped: float = 0
    """Not above, but at its cap for half of the bin or more: the demand is not known."""
    sold_out: float = 0
    """Violated or capped with the most that the server can have: no rule could have helped."""
    unmet: float = 0
    """Violated or capped although enough was wanted: no room, no lever, an order that failed or came late."""
    acting: float = 0
    """Of servers in mode act: those that teach something."""
    short: float = 0
    """Of these, violated or capped, neither sold out nor unmet: what was wanted was too little."""
    after_shrink: float = 0
    """Of the short ones: the allocation of the last hold time would have been enough."""
    demand: float = 0
    used: float = 0
    allocation: float = 0
    entitlement: float = 0
    burst: float = 0
    """Allocation above the entitlement."""
    freed: float = 0
    """Entitlement above the allocation."""
    windows: float = 0
    """Half-hours of one server whose predicted peak was held against the measured one."""
    exceeded: float = 0
    """Of these, the peak was above the predicted one."""
    predicted: float = 0
    """Summed over these half-hours: peaks at the tier's quantile, headroom included."""
    came: float = 0
    """Measured peaks, summed over these half-hours."""
    frozen: float = 0
    """Half-hours of servers about which nothing could be decided."""
    grew: float = 0
    """Growths decided, one per server and half-hour."""
    grew_came: float = 0
    """Of these, the half-hour's peak was above what it had before."""
    held: float = 0
    held_short: float = 0
    shrank: float = 0
    shrank_short: float = 0
    """Of these, the half-hour after had a bin that needed more than was left."""
    decisions: float = 0
    """Of one server in one plan, in which something could be decided."""
    changed: float = 0
    """Of these, the same rules would have chosen something else without a forecast."""
    resizes: float = 0
    """Applied, whoever asked for them."""

    def __add__(self, other: "Mark") -> Self:
        return type(self)(**{f: getattr(self, f) + getattr(other, f) for f in FIELDS})

    @property
    def short_share(self) -> float | None:
        """What feedback goes by."""
        return self.short / self.acting if self.acting else None

    @property
    def violation_share(self) -> float | None:
        return self.violated / self.bins if self.bins else None

    @property
    def slack(self) -> float | None:
        """(allocation - use) / allocation (domain.md §1), of all together."""
        return 1.0 - self.used / self.allocation if self.allocation else None

    @property
    def changed_share(self) -> float | None:
        return self.changed / self.decisions if self.decisions else None


FIELDS = Mark.__struct_fields__


class Factors(msgspec.Struct, frozen=True, kw_only=True):
    """What feedback made of one resource of a tier."""

    headroom: float = 1.0
    """Multiplies the distance from the predicted median to the tier's quantile."""
    hold: float = 1.0
    """Multiplies the hold time."""
    at: float = 0.0
    reason: str = ""
