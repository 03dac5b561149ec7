"""What the API answers about proof: levers, and how tiers did. Flat, named with units, ready for a table."""

import msgspec


class LeverAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/levers``: how long guests waited, by lever and direction."""

    lever: str
    direction: str
    """``grow`` or ``shrink``."""
    pulls: int
    """Newest ones that came to an end; at most a few ten thousand of all levers together are looked at."""
    failed: int
    median_s: float | None
    """From the order to its proof in the guest; None: nothing was applied."""
    p95_s: float | None
    own_p95_s: float | None
    """What the lever itself needed."""
    lead_s: float | None
    """What decisions reckon with on a host without experience of its own; None for shrinking."""


class TierFigures(msgspec.Struct, kw_only=True):
    """One resource of one tier over the time asked for. Shares are 0..1; None: nothing to divide by. Amounts: cores or MiB, means."""

    tier: str
    resource: str
    bins: int
    """5-minute bins of one server with a measured demand and allocation."""
    missing_share: float | None
    violation_share: float | None
    """Bins whose demand was above the allocation."""
    capped_share: float | None
    """Bins at their cap: demand unknown, not counted as violated."""
    violation_target: float
    short_share: float | None
    """Bins of servers in mode act whose size rule wanted too little: what feedback goes by."""
    sold_out_share: float | None
    unmet_share: float | None
    slack: float | None
    demand: float | None
    """Mean of one server."""
    allocation: float | None
    entitlement: float | None
    allocation_of_entitlement: float | None
    resizes_per_vm_day: float | None
    headroom: float
    """Factor in force, learned by feedback."""
    hold: float
    factor_reason: str
    factor_at: float | None
    decisions: int
    changed_share: float | None
    """Share of decisions that the forecast changed."""
    predictions: int
    """Half-hours whose predicted peak was held against the measured one."""
    exceeded_share: float | None
    grew: int
    grew_came_share: float | None
    """Growths after which more came than it had."""
    shrank: int
    shrank_short_share: float | None
    held: int
    held_short_share: float | None
    price_sold: float | None
    """Money for what was sold; None: no price is set."""
    price_burst: float | None
    price_freed: float | None
    """Worth of the capacity that was sold and not allocated: what Foreshape freed."""


class TierReportAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/tiers/report``."""

    since: float
    until: float
    """End of the last half-hour that was judged."""
    step_s: int
    """Width of a bin."""
    alarm: str
    """Empty, or why somebody should look."""
    changed_share: float | None
    rows: tuple[TierFigures, ...]
