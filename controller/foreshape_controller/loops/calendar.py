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
from foreshape_controller.forecast.events import Curve, Grid
from foreshape_controller.loops.ical import BROKEN, expand
from foreshape_controller.loops.scene import Scene
from foreshape_controller.model.event import Event, Influence, Measured, Occurrence
from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.group import Groups
from foreshape_controller.model.history import BINS_PER_DAY, WATCHED, Floats, History

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
        self._usual: dict[str, dict[str, float]] = {}
        self._round = _Round(0.0, Known((), {}))
        self._scopes = _Scopes(Groups())

    @property
    def groups(self) -> Groups:
        """Who belonged where when forecasts were made last."""
        return self._scopes.groups

    def known(self) -> Known:
        """The calendar as it is now."""
        return Known(self._events.all(), self._events.effects())

    @staticmethod
    def occurrences(event: Event, since: float, until: float) -> tuple[Occurrence, ...]:
        """Those whose effect, ramps included, overlaps [since, until). None for an event that cannot be expanded.

        That was checked when it came; should it happen all the same, it must not stop the others.
        """
        try:
            return expand(event, since - event.tail_s, until + event.lead_s)
        except BROKEN:
            return ()

    def influences(self, known: Known, since: float, until: float) -> tuple[Influence, ...]:
        """Every occurrence in a span of time, and what it does."""
        return tuple(known.influence(e, o) for e in known.events for o in self.occurrences(e, since, until))

    def prepare(self, scene: Scene) -> History:
        """The history without the events in it; a Preparer."""
        history = scene.history
        self._remember(history)
        neutral = self._without(history, scene.groups, self._told(scene.now, (float(history.start), history.bins, float(history.step_s))))
        self._remember(neutral)
        return neutral

    def neutral(self, history: History, groups: Groups, told: Sequence[Influence]) -> History:
        """A history without these influences."""
        return self._without(history, groups, effects.curves(told, (float(history.start), history.bins, float(history.step_s))))

    def _without(self, history: History, groups: Groups, told: Sequence[Curve]) -> History:
        shares = self._shares(history.series, groups, history.resource)
        return effects.neutral(history, effects.effect(told, shares.of, history.resource, history.bins))

    def adjust(self, forecast: Forecast, scene: Scene) -> Forecast:
        """The forecast with the events to come; an Adjuster."""
        told = self._told(scene.now, (float(forecast.origin), BINS_PER_DAY, float(forecast.step_s)))
        shares = self._shares(forecast.series, scene.groups, forecast.resource)
        found = effects.effect(told, shares.of, forecast.resource, BINS_PER_DAY)
        return effects.apply(forecast, found, _said([c.influence for c in told], shares, forecast.resource))

    def _told(self, now: float, grid: Grid) -> tuple[Curve, ...]:
        """The same for all batches of one round: they share their instant."""
        if self._round.now != now:
            self._round = _Round(now, self.known())
        spans = self._round.spans
        if grid not in spans:
            start, bins, step_s = grid
            spans[grid] = effects.curves(self.influences(self._round.known, start, start + bins * step_s), grid)
        return spans[grid]

    def _shares(self, series: Sequence[str], groups: Groups, resource: str) -> "_Shares":
        if self._scopes.groups is not groups:
            self._scopes = _Scopes(groups)
        return _Shares(series, self._scopes, self._usual.get(resource, {}))

    def _remember(self, history: History) -> None:
        """What each series usually wants: by this an event on some of its servers moves a group."""
        lately = history.mean[:, -BINS_PER_DAY:]
        known = np.isfinite(lately)
        level = np.where(known, lately, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        self._usual.setdefault(history.resource, {}).update(zip(history.series, level.tolist(), strict=True))


@dataclass
class _Round:
    """What is known while one round of forecasts is made."""

    now: float
    known: Known
    spans: dict[Grid, tuple[Curve, ...]] = field(default_factory=dict)


class _Scopes:
    """Who is in which scope, worked out once for everybody."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self._inside: dict[str, frozenset[str]] = {}
        self._touched: dict[str, frozenset[str]] = {}

    def inside(self, scope: str) -> frozenset[str]:
        """Ids of its servers."""
        if scope not in self._inside:
            self._inside[scope] = inside(scope, self.groups)
        return self._inside[scope]

    def touched(self, scope: str) -> frozenset[str]:
        """Groups with a server in it."""
        if scope not in self._touched:
            self._touched[scope] = frozenset(g for s in self.inside(scope) for g in self.groups.of.get(s, ()))
        return self._touched[scope]


class _Shares:
    """How much of each series of a batch is in a scope: 0 or 1 for servers, the share of the usual demand for groups."""

    def __init__(self, series: Sequence[str], scopes: _Scopes, usual: Mapping[str, float]) -> None:
        self._row = {name: k for k, name in enumerate(series)}
        self._scopes = scopes
        self._usual = usual
        self._found: dict[str, Floats] = {}

    def of(self, scope: str) -> Floats:
        if scope not in self._found:
            self._found[scope] = self._work_out(scope)
        return self._found[scope]

    def _work_out(self, scope: str) -> Floats:
        if scope == "cloud":
            return np.ones(len(self._row), np.float32)
        share = np.zeros(len(self._row), np.float32)
        for name in self._scopes.inside(scope) & self._row.keys():
            share[self._row[name]] = 1
        for name in self._scopes.touched(scope) & self._row.keys():
            share[self._row[name]] = 1 if name == scope else self._of_group(name, scope)
        return share

    def _of_group(self, group: str, scope: str) -> float:
        servers = self._scopes.groups.members[group]
        hit: npt.NDArray[np.bool_] = np.asarray([s in self._scopes.inside(scope) for s in servers], bool)
        usual = np.asarray([self._usual.get(s, np.nan) for s in servers], np.float32)
        return effects.group_share(hit, usual, self._usual.get(group, 0.0))


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
