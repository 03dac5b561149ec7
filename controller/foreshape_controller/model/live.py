"""One server as it is now, and series over time: what charts and tenants' programs read."""

from collections.abc import Mapping

import msgspec

from foreshape_controller.model.answers import OrderAnswer, ServerAnswer


class LiveResource(msgspec.Struct, kw_only=True):
    """One resource of a server now: cores, or MiB, as ``unit`` says."""

    resource: str
    unit: str
    demand: float | None
    """What it would use unthrottled; None: not measured."""
    allocated: float
    entitled: float
    """What was sold."""
    floor: float | None
    """Guaranteed, by the newest decision; None: nothing was decided yet."""
    ceiling: float
    """What can be reached live."""
    slack: float | None
    """Share of the allocation that is not wanted; negative where more is wanted than there is."""
    target: float | None
    """What the newest decision wants it to have."""
    reason: str
    """… and why."""
    peak30m: Mapping[str, float]
    """Peak of the next half-hour, by quantile ("0.5", "0.9", "0.99"); empty: there is no forecast."""
    peak24h: Mapping[str, float]
    forecast_source: str = ""
    forecast_age_s: float | None = None


class LiveMode(msgspec.Struct, kw_only=True):
    """How far Foreshape may go with it, and who says so."""

    in_force: str
    operators: str
    owner: str
    """The lowest of what its owner chose, or the default."""
    said: str


class LiveCap(msgspec.Struct, kw_only=True):
    """A hard cap that holds for it."""

    id: str
    resource: str
    amount: float
    unit: str
    until: float
    reason: str


class LiveNotice(msgspec.Struct, kw_only=True):
    """Something its owner was told lately."""

    at: float
    kind: str
    resource: str
    text: str


class LiveAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/servers/{id or name}/live``."""

    at: float
    server: ServerAnswer
    resources: tuple[LiveResource, ...]
    mode: LiveMode
    order: OrderAnswer | None
    """The order whose outcome is awaited; None: there is none."""
    caps: tuple[LiveCap, ...]
    notices: tuple[LiveNotice, ...]
    profile_accuracy: float | None = None
    """0..1, how well the declared profile matched what came; None: nothing is declared, or too little was seen."""


class SeriesResource(msgspec.Struct, kw_only=True):
    """One resource over time; None where nothing was measured."""

    resource: str
    unit: str
    demand: tuple[float | None, ...]
    """Mean of each step, weighed by how much of it was measured."""
    max: tuple[float | None, ...]
    """The largest sample of each step: a mean alone would hide peaks."""
    allocated: tuple[float | None, ...]
    """Mean; CPU and memory only."""
    coverage: tuple[float, ...]
    """Share of each step that samples spoke for."""
    censored: tuple[float | None, ...]
    """Share of the samples that ran into their cap: there the demand was higher than what is told."""
    entitled: tuple[float | None, ...] = ()
    """As sold now, whatever it was then."""
    floor: tuple[float | None, ...] = ()
    """As promised now."""
    ceiling: tuple[float | None, ...] = ()
    """As reachable now."""


class SeriesAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/servers/{id or name}/history`` and ``/v1/hosts/{name}/history``: steps, the oldest first; the last may still be filling."""

    series: str
    name: str
    step_s: int
    at: tuple[float, ...]
    """Starts of the steps."""
    resources: tuple[SeriesResource, ...]
