"""One round of forecasts: who is there, in which groups, and their histories, a batch of whole hosts at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from foreshape_controller.decide.segments import Segments, grouped
from foreshape_controller.forecast.totals import Lives, Totals, with_overhead
from foreshape_controller.model.group import Groups, Member, group_series
from foreshape_controller.model.history import RESOURCES, History
from foreshape_controller.model.kinds import kind_of
from foreshape_controller.model.server import ClusterView


class Histories(Protocol):
    """The part of the store's history that forecasts need."""

    step_s: int

    def read(self, resource: str, names: Sequence[str], until: float, count: int) -> History: ...


@dataclass(frozen=True)
class Batch:
    """Whole hosts, with everybody who is or was on them."""

    hosts: tuple[str, ...]
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Round:
    """Everybody at one instant."""

    view: ClusterView
    now: float
    present: Groups
    """Of the servers in the view."""
    groups: Groups
    """Of those that have left, too."""
    batches: tuple[Batch, ...]

    @classmethod
    def of(cls, view: ClusterView, now: float, left: Sequence[Member], rules: Segments, classes: Mapping[str, str], size: int) -> "Round":
        here = [Member.of(s) for s in view.servers]
        ids = {m.id for m in here}
        gone = [m for m in left if m.id not in ids]
        present = grouped(here, rules, classes)
        groups = Groups({**present.of, **grouped(gone, rules, classes).of})
        return cls(view, now, present, groups, tuple(_batches(view, [*here, *gone], size)))

    def group_names(self) -> tuple[str, ...]:
        """Projects, segments and zones that have members now; hosts go with their servers' batch."""
        return tuple(sorted(n for n in self.present.members if kind_of(n) != "host"))

    def lives(self) -> dict[str, list[tuple[float, float]]]:
        """By group that has members now, hosts too: when each member came and left."""
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in sorted(self.present.members)}
        for m in (m for b in self.batches for m in b.members):
            for name in self.groups.of[m.id]:
                if name in found:
                    found[name].append((m.first_seen, float("inf") if m.until is None else m.until))
        return found


def _batches(view: ClusterView, members: Sequence[Member], size: int) -> Iterator[Batch]:
    """Hosts in order of their names, as many at a time as make ``size`` members."""
    on: dict[str, list[Member]] = {h.name: [] for h in view.hosts}
    for m in members:
        on.setdefault(m.host, []).append(m)
    hosts: list[str] = []
    gathered: list[Member] = []
    for host in sorted(on):
        if gathered and len(gathered) + len(on[host]) > size:
            yield Batch(tuple(hosts), tuple(gathered))
            hosts, gathered = [], []
        hosts.append(host)
        gathered += on[host]
    if hosts:
        yield Batch(tuple(hosts), tuple(gathered))


@dataclass(frozen=True, eq=False)
class Known:
    """Histories of one batch and one resource."""

    members: History
    lives: Lives
    servers: History
    """Those of the members that are there."""
    hosts: History
    overheads: History
    """Of hosts that measure themselves, in series ``overhead:NAME``."""
    overhead_of: tuple[int, ...]
    """Row of each overhead's host."""


def read(histories: Histories, batch: Batch, groups: Groups, resource: str, span: tuple[float, int]) -> Known:
    """Read a batch's histories; ``span``: until when, how many bins."""
    names = [m.id for m in batch.members]
    own = [group_series("host", h) for h in batch.hosts]
    found = histories.read(resource, [*names, *own], *span)
    members, measured = found.pick(range(len(names))), found.pick(range(len(names), len(names) + len(own)))
    heard = measured if resource in RESOURCES else histories.read(RESOURCES[0], own, *span)
    row = {h: i for i, h in enumerate(batch.hosts)}
    at = [row[m.host] for m in batch.members]
    lives = Lives(
        since=np.array([m.first_seen for m in batch.members], np.float64),
        until=np.array([np.inf if m.until is None else m.until for m in batch.members], np.float64),
        heard=np.isfinite(heard.mean)[at],
    )
    total = Totals(resource, own, (members.start, members.bins, members.step_s))
    total.add(members, lives, groups.of)
    hosts, over = with_overhead(total.history(), measured)
    measures = np.flatnonzero(np.isfinite(over.mean).any(axis=1)).tolist()
    overheads = replace(over, series=tuple(f"overhead:{h}" for h in batch.hosts)).pick(measures)
    here = [i for i, m in enumerate(batch.members) if m.until is None]
    return Known(members, lives, members.pick(here), hosts, overheads, tuple(measures))
