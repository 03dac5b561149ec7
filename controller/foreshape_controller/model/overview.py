"""What the overview answers: a fleet, or a tenant's part of it, at one glance. Amounts: cores or MiB."""

import msgspec

from foreshape_controller.model.answers import HaltAnswer, ModeAnswer


class AmountsNow(msgspec.Struct, kw_only=True):
    """One resource, all servers that the caller sees together."""

    demand: float
    allocated: float
    entitled: float
    """Sold."""
    capacity: float | None
    """What the hosts have; None for a tenant: hosts are not his business."""
    violation_share_24h: float | None = None
    """Share of the last day's five-minute bins whose demand was above the allocation; None: nothing is judged yet, or for a tenant."""
    violation_target: float | None = None
    """The strictest that a tier with bins promises."""
    money_freed_24h: float | None = None
    """Worth of what was sold and not allocated in the last day, by the tiers' prices; None: no tier has one."""


class OverviewAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/overview``."""

    at: float
    """The controller's clock: what ages on a page are counted from."""
    scope: str
    """``cloud``, or ``project:ID`` for a tenant."""
    simulated: bool
    openstack: bool
    """One is configured: there are migrations, reservations and pools."""
    hosts: int
    """0 for a tenant, like ``hosts_fresh``."""
    hosts_fresh: int
    servers: int
    servers_unmeasured: int
    data_age_s: float | None
    """Of the newest sample that the caller sees; None: there is none."""
    stale_after_s: float
    """Older data is not decided by."""
    cpu: AmountsNow
    memory: AmountsNow
    modes: dict[str, int]
    """How many servers are in which mode."""
    mode: str
    """The cloud's."""
    stops: tuple[ModeAnswer, ...]
    """What somebody stopped."""
    halts: tuple[HaltAnswer, ...]
    alarm: str = ""
    changed_share_24h: float | None = None
    cloud: str = ""
    needs: int = 0
    """Hosts and resources that will be short, and no sharing helps."""


class FleetResource(msgspec.Struct, kw_only=True):
    """One resource over time; every list has one number for each of ``at``."""

    resource: str
    unit: str
    demand: tuple[float | None, ...]
    allocated: tuple[float | None, ...]
    entitled: tuple[float | None, ...]
    capacity: float | None
    levels: tuple[float, ...]
    half_hours: tuple[tuple[float, ...], ...] = ()
    """Quantiles of the day after ``origin``, by half-hours; empty: nothing is forecast yet."""
    origin: float | None = None
    note: str = ""
    """How the forecast came about."""


class FleetHistoryAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/overview/history``: means of half-hours, the oldest first."""

    scope: str
    step_s: float
    at: tuple[float, ...]
    """Starts of the half-hours."""
    resources: tuple[FleetResource, ...]
    note: str = ""
    """What is left out, and why."""


class HappeningAnswer(msgspec.Struct, kw_only=True):
    """One line of ``GET /v1/overview/calendar``: an event that happens once."""

    event: str
    name: str
    scope: str
    start: float
    end: float


class ProjectAnswer(msgspec.Struct, kw_only=True):
    """One line of ``GET /v1/overview/projects``."""

    project: str
    name: str
    """In Keystone; empty: not known."""
    servers: int
    cpu: AmountsNow
    memory: AmountsNow
