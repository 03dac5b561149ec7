"""The calendar at work: forecasts are made from histories without events, and multiplied by the events to come.

``Calendar`` is hung into the making of forecasts (``loops.scene``): ``prepare`` before the predictor, ``adjust`` after it.
What occurrences really did is learned in ``loops.aftermath``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foreshape_controller.forecast import events as effects
from foreshape_controller.forecast.events import Effect, Grid
from foreshape_controller.loops.ical import BROKEN, expand
from foreshape_controller.loops.scene import Scene
from foreshape_controller.model.event import Event, Influence, Measured, Occurrence
from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.group import Groups
from foreshape_controller.model.history import BINS_PER_DAY, WATCHED, Floats, History

MARGIN_S = 2 * 86400.0
"""Occurrences are worked out so much further than what is asked for, and kept."""

SAID_MOST = 3
"""Events named in one forecast's reason."""


class EventStore(Protocol):
    """The store's words for events."""

    def all(self) -> tuple[Event, ...]: ...

    def effects(self) -> Mapping[str, Sequence[Measured]]: ...

    def learn(self, measured: Sequence[Measured]) -> None: ...


@dataclass(frozen=True)
class Known:
    """The events at one instant, and what was measured of them."""

    events: Sequence[Event]
    effects: Mapping[str, Sequence[Measured]]

    @cached_property
    def _measured(self) -> Mapping[tuple[str, str], Mapping[int, Measured]]:
        """By event and resource, by start of the occurrence."""
        found: dict[tuple[str, str], dict[int, Measured]] = {}
        for told in self.effects.values():
            for m in told:
                found.setdefault((m.event, m.resource), {})[m.start] = m
        return found

    @cached_property
    def _in_force(self) -> dict[tuple[str, str], float]:
        return {}

    def factor(self, event: Event, resource: str) -> float:
        """In force for occurrences to come."""
        key = (event.id, resource)
        if key not in self._in_force:
            told = [(m.factor, m.weight) for m in self._measured.get(key, {}).values()]
            self._in_force[key] = effects.expected(event.factors.get(resource), told)
        return self._in_force[key]

    def own(self, event: Event, resource: str, start: float) -> float:
        """Of one occurrence: what was measured of itself, else what is in force."""
        told = self._measured.get((event.id, resource), {}).get(int(start))
        if told is None or told.weight < effects.WHOLE:
            return self.factor(event, resource)
        return effects.known(event.factors.get(resource), told.factor)

    def seen(self, event: Event, resource: str | None = None) -> int:
        """Occurrences that were measured, at least in part."""
        mine = self.effects.get(event.id, ())
        return len({m.start for m in mine if m.weight > 0 and resource in (None, m.resource)})

    def influence(self, event: Event, occurrence: Occurrence) -> Influence:
        """One occurrence, with the factors to divide or multiply by."""
        factors = {r: self.own(event, r, occurrence.start) for r in WATCHED}
        return Influence(
            event=event.id,
            name=event.name,
            scope=event.scope,
            start=occurrence.start,
            end=occurrence.end,
            lead_s=event.lead_s,
            tail_s=event.tail_s,
            factors={r: f for r, f in factors.items() if f != 1},
            said={r: self._sentence(event, r, f, occurrence) for r, f in factors.items() if f != 1},
        )

    def _sentence(self, event: Event, resource: str, factor: float, occurrence: Occurrence) -> str:
        times, declared = self.seen(event, resource), event.factors.get(resource)
        how = f"learned from {times} occurrence{'s' if times > 1 else ''}" if times else "declared"
        before = f", {declared:.3g} declared" if times and declared is not None else ""
        at = datetime.fromtimestamp(occurrence.start, UTC).strftime("%d %b %H:%M UTC")
        return f"event '{event.name}' from {at}: ×{factor:.3g} {how}{before}"


class Calendar:
    """Events joined to forecasts; one instance for all cycles."""

    def __init__(self, events: EventStore) -> None:
        self._events = events
        self._expanded: dict[str, _Expanded] = {}
        self._usual: dict[str, dict[str, float]] = {}
        self.groups = Groups()
        """Of the newest scene."""

    def known(self) -> Known:
        """The calendar as it is now."""
        return Known(self._events.all(), self._events.effects())

    def occurrences(self, event: Event, since: float, until: float) -> tuple[Occurrence, ...]:
        """Those whose effect, ramps included, overlaps [since, until)."""
        since, until = since - event.tail_s, until + event.lead_s
        kept = self._expanded.get(event.id)
        if kept is None or not kept.holds(event, since, until):
            kept = self._expanded[event.id] = _Expanded.of(event, since, until + MARGIN_S)
        return tuple(o for o in kept.occurrences if o.start < until and o.end > since)

    def influences(self, known: Known, since: float, until: float) -> tuple[Influence, ...]:
        """Every occurrence in a span of time, and what it does."""
        return tuple(known.influence(e, o) for e in known.events for o in self.occurrences(e, since, until))

    def prepare(self, scene: Scene) -> History:
        """The history without the events in it; a Preparer."""
        history, self.groups = scene.history, scene.groups
        self._remember(history)
        told = self.influences(self.known(), history.start, history.until)
        found = self.neutral(history, scene.groups, told)
        self._remember(found)
        return found

    def neutral(self, history: History, groups: Groups, told: Sequence[Influence]) -> History:
        """A history without these influences."""
        grid: Grid = (float(history.start), history.bins, float(history.step_s))
        return effects.neutral(history, self._effect(told, self._shares(history.series, groups, history.resource), history.resource, grid))

    def adjust(self, forecast: Forecast, scene: Scene) -> Forecast:
        """The forecast with the events to come; an Adjuster."""
        span = BINS_PER_DAY * forecast.step_s
        told = self.influences(self.known(), forecast.origin, forecast.origin + span)
        shares = self._shares(forecast.series, scene.groups, forecast.resource)
        grid: Grid = (float(forecast.origin), BINS_PER_DAY, float(forecast.step_s))
        return effects.apply(forecast, self._effect(told, shares, forecast.resource, grid), _said(told, shares, forecast.resource))

    @staticmethod
    def _effect(told: Sequence[Influence], shares: "_Shares", resource: str, grid: Grid) -> Effect:
        return effects.effect(told, shares.of, resource, grid)

    def _shares(self, series: Sequence[str], groups: Groups, resource: str) -> "_Shares":
        return _Shares(series, groups, self._usual.get(resource, {}))

    def _remember(self, history: History) -> None:
        """What each series usually wants: by this an event on some of its servers moves a group."""
        lately = history.mean[:, -BINS_PER_DAY:]
        known = np.isfinite(lately)
        level = np.where(known, lately, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        self._usual.setdefault(history.resource, {}).update(zip(history.series, level.tolist(), strict=True))


@dataclass(frozen=True)
class _Expanded:
    """An event's occurrences in a span of time."""

    calendar: str
    since: float
    until: float
    occurrences: tuple[Occurrence, ...]

    @classmethod
    def of(cls, event: Event, since: float, until: float) -> "_Expanded":
        """None for an event that cannot be expanded: it was checked when it came, and must not stop the others."""
        try:
            found = expand(event, since, until)
        except BROKEN:
            found = ()
        return cls(event.calendar, since, until, found)

    def holds(self, event: Event, since: float, until: float) -> bool:
        return self.calendar == event.calendar and self.since <= since and until <= self.until


@dataclass
class _Shares:
    """How much of each series of a batch is in a scope: 0 or 1 for servers, the share of the usual demand for groups."""

    series: Sequence[str]
    groups: Groups
    usual: Mapping[str, float]
    _found: dict[str, Floats] = field(default_factory=dict)

    def of(self, scope: str) -> Floats:
        if scope not in self._found:
            self._found[scope] = self._work_out(scope)
        return self._found[scope]

    def _work_out(self, scope: str) -> Floats:
        if scope == "cloud":
            return np.ones(len(self.series), np.float32)
        members = inside(scope, self.groups)
        return np.asarray([1.0 if s == scope or s in members else self._of_group(s, members) for s in self.series], np.float32)

    def _of_group(self, group: str, members: frozenset[str]) -> float:
        """An empty scope costs nothing: most groups have nobody in it."""
        servers = self.groups.members.get(group, ())
        hit: npt.NDArray[np.bool_] = np.asarray([s in members for s in servers], bool)
        if not hit.any():
            return 0.0
        usual = np.asarray([self.usual.get(s, np.nan) for s in servers], np.float32)
        return effects.group_share(hit, usual, self.usual.get(group, 0.0))


def inside(scope: str, groups: Groups) -> frozenset[str]:
    """Ids of the servers in a scope."""
    kind, _, name = scope.partition(":")
    if kind == "cloud":
        return frozenset(groups.of)
    return frozenset([name]) if kind == "server" else frozenset(groups.members.get(scope, ()))


def _said(told: Sequence[Influence], shares: _Shares, resource: str) -> Mapping[int, str]:
    """By row: the events in its reason, the first to come first."""
    found: dict[int, list[str]] = {}
    for i in sorted(told, key=lambda i: i.start):
        if resource in i.said:
            for row in np.flatnonzero(shares.of(i.scope) > 0).tolist():
                found.setdefault(row, []).append(i.said[resource])
    return {row: "; ".join(said[:SAID_MOST]) for row, said in found.items()}
