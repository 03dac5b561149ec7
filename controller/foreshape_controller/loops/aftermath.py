"""What an event really did, once it is over: measured demand against what the time before it let expect.

The expectation is made anew: the same predictor, on the neutral history up to the occurrence's beginning. So nothing has to be
kept while it lasts, and an event that is imported today is measured on the occurrences that history still holds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import structlog

from foreshape_controller.forecast import events as effects
from foreshape_controller.loops.calendar import Calendar, EventStore, Known, inside
from foreshape_controller.loops.round import Histories
from foreshape_controller.model.event import Event, Measured, Occurrence
from foreshape_controller.model.forecast import LEVELS, Forecast, Predictor
from foreshape_controller.model.group import Groups
from foreshape_controller.model.history import BINS_PER_DAY, WATCHED, Floats, History

_log = structlog.get_logger("foreshape.events")

SAMPLE = 200
"""Servers of a scope that an occurrence is measured on, at most."""

A_RUN = 4
"""Occurrences measured in one run, at most: the others wait for the next."""

LATE_BINS = 2
"""Bins after the end of an occurrence until reports of it have come."""

LEAST_BINS = 24
"""Bins with data before an occurrence that a server needs to be measured on."""

MEDIAN = LEVELS.index(0.5)


class Aftermath:
    """Measures occurrences that are over, each once."""

    def __init__(
        self, calendar: Calendar, events: EventStore, histories: Histories, look: Callable[[], Predictor], bins: int = 2016
    ) -> None:
        self._calendar = calendar
        self._events = events
        self._histories = histories
        self._look = look
        self._bins = bins

    def run_once(self, now: float) -> int:
        """Measure what is due, among the servers that were forecast last; how many occurrences were."""
        groups, step_s = self._calendar.groups, self._histories.step_s
        if not groups.of:
            return 0
        known = self._calendar.known()
        due = self._due(known, now, step_s)[:A_RUN]
        for event, occurrence in due:
            known = self._calendar.known()  # the one before may have changed what is divided out
            case = _Case(known, event, occurrence, groups, _some(sorted(inside(event.scope, groups))), step_s)
            measured = [self._measured(case, resource) for resource in WATCHED]
            self._events.learn(measured)
            said = {m.resource: round(m.factor, 3) for m in measured if m.weight > 0}
            _log.info("event measured", name=event.name, start=occurrence.start, factors=said)
        return len(due)

    def _due(self, known: Known, now: float, step_s: float) -> list[tuple[Event, Occurrence]]:
        """Over, in the younger half of the history, not measured yet. The oldest first: a later one is measured without the earlier."""
        over, since = now - LATE_BINS * step_s, now - self._bins * step_s / 2
        found = []
        for event in known.events:
            told = {m.start for m in known.effects.get(event.id, ())}
            ended = self._calendar.occurrences(event, since, over)
            found += [(event, o) for o in ended if o.end + event.tail_s <= over and o.start >= since and int(o.start) not in told]
        return sorted(found, key=lambda f: f[1].end)

    def _measured(self, case: "_Case", resource: str) -> Measured:
        factor, weight = self._ratio(case, resource) if case.servers else (1.0, 0.0)
        return Measured(event=case.event.id, resource=resource, start=int(case.occurrence.start), factor=factor, weight=weight)

    def _ratio(self, case: "_Case", resource: str) -> tuple[float, float]:
        """Factor and weight of one occurrence; of one that lasts longer than a day, its first day."""
        history = self._without_others(self._histories.read(resource, case.servers, case.until, self._bins), case)
        first = max(0, (case.origin - history.start) // history.step_s)
        told = np.isfinite(history.mean[:, :first]).sum(axis=1) >= LEAST_BINS
        if first >= history.bins or not told.any():
            return 1.0, 0.0
        expected = _medians(self._look().predict(_upto(history, first), case.origin))[:, : history.bins - first]
        expected[~told] = np.nan
        promised = expected * np.float32(case.known.factor(case.event, resource))
        observed = effects.uncapped(history.mean[:, first:], history.censored[:, first:], promised)
        return effects.measure(observed, expected, history.coverage[:, first:], case.share(history.bins - first))

    def _without_others(self, history: History, case: "_Case") -> History:
        """The history with only this occurrence in it."""
        this = (case.event.id, case.occurrence.start)
        others = [i for i in self._calendar.influences(case.known, history.start, history.until) if (i.event, i.start) != this]
        return self._calendar.neutral(history, case.groups, others)


@dataclass(frozen=True)
class _Case:
    """One occurrence to be measured, and on whom."""

    known: Known
    event: Event
    occurrence: Occurrence
    groups: Groups
    servers: tuple[str, ...]
    step_s: float

    @property
    def origin(self) -> int:
        """Before it: a bin's start."""
        return int((self.occurrence.start - self.event.lead_s) // self.step_s * self.step_s)

    @property
    def until(self) -> float:
        return min(self.occurrence.end, self.origin + BINS_PER_DAY * self.step_s)

    def share(self, bins: int) -> Floats:
        """[bins] from the origin on, how much of each it covers."""
        starts = self.origin + self.step_s * np.arange(bins, dtype=np.float64)
        return effects.covered(self.known.influence(self.event, self.occurrence), starts, self.step_s)


def _some(servers: Sequence[str]) -> tuple[str, ...]:
    """Evenly chosen, always the same ones."""
    stride = -(-len(servers) // SAMPLE) if servers else 1
    return tuple(servers[::stride])


def _upto(history: History, bins: int) -> History:
    cut = {name: getattr(history, name)[:, :bins] for name in ("mean", "max", "coverage", "censored")}
    return replace(history, **cut, doubtful=None if history.doubtful is None else history.doubtful[:, :bins])


def _medians(forecast: Forecast) -> Floats:
    """[n, 288]: the expected 5-minute means of the next day: its first half-hour step by step, then half-hours."""
    day = np.repeat(forecast.half_hours[:, :, MEDIAN], BINS_PER_DAY // forecast.half_hours.shape[1], axis=1)
    near = forecast.steps.shape[1]
    return np.concatenate([forecast.steps[:, :, MEDIAN], day[:, near:]], axis=1)
