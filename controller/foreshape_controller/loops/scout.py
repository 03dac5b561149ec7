"""From the cloud's view, the agents' view and forecasts to the ground that migrations are planned on (``decide/room.py``).

What nobody measured is taken on the safe side: a server without forecast peaks at what it was sold, a host without forecast at the sum of
its servers' peaks, a host without agent has what Placement's inventory says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foreshape_controller.decide import ground as columns
from foreshape_controller.decide.aggregates import barriers
from foreshape_controller.decide.moves import Link, cost, worth
from foreshape_controller.decide.room import Ground, Numbers
from foreshape_controller.model.cloud import MEMORY, VCPU, CloudHost, CloudServer, CloudView
from foreshape_controller.model.forecast import LEVELS
from foreshape_controller.model.group import group_series
from foreshape_controller.model.history import RESOURCES, Floats
from foreshape_controller.model.server import ClusterView, Host, Server

LINK = "foreshape:link"
"""Key of host aggregates' metadata: hosts of one value share what connects them."""

ANY_LINK = "*"
"""What was learnt of all links together: for one that has no migration yet."""


class Peaks(Protocol):
    """The newest peaks of many series: [n, 13]."""

    @property
    def rows(self) -> Mapping[str, int]: ...

    @property
    def peak24h(self) -> Floats: ...

    @property
    def spoken(self) -> npt.NDArray[np.bool_]: ...


class Forecasts(Protocol):
    """The part of the store that forecasts are in."""

    def peaks(self, resource: str) -> Peaks: ...


@dataclass(frozen=True)
class Outlook:
    """What is known of a server beside the cloud's word."""

    used_mib: float
    """Memory that would be copied."""
    dirty_mib_s: float
    duration_s: float
    downtime_s: float
    factors: tuple[float, float] = (1.0, 1.0)
    """What both were corrected by."""


@dataclass(frozen=True)
class ScoutRule:
    """What the configuration says of costs."""

    quantile: float = 0.95
    mib_s: float = 100.0
    downtime_s: float = 0.5
    dirty_mib_s: float = 10.0
    memory_reserved_mib: float = 512.0


@dataclass(frozen=True)
class Terms:
    """What one ground is made with, beside the views."""

    weights: Mapping[str, float]
    """By server: its tier's weight; 1 where none is named."""
    closed: Mapping[str, str]
    """By host: why it is no target, beside the cloud's own reasons."""
    dirty: Mapping[str, float]
    """By server: MiB/s, learnt."""
    factors: Mapping[str, float]
    """By link, learnt."""
    stops: Mapping[str, float] = field(default_factory=dict)
    """By link, learnt of downtimes."""


class Scout:
    """``ground`` for plans and checks; ``outlook`` for the prediction of one migration."""

    def __init__(self, forecasts: Forecasts, rule: ScoutRule) -> None:
        self._forecasts, self._rule = forecasts, rule
        self._level = min(range(len(LEVELS)), key=lambda i: abs(LEVELS[i] - rule.quantile))

    def ground(self, cloud: CloudView, agents: ClusterView, terms: Terms) -> Ground:
        """The table of contents: hosts, what they have and will use; servers, what they will use and cost; groups. No promises yet."""
        hosts = [cloud.hosts[name] for name in sorted(cloud.hosts)]
        servers = [cloud.servers[name] for name in sorted(cloud.servers) if cloud.servers[name].host]
        known, seen = {str(h.name): h for h in agents.hosts}, {str(s.id): s for s in agents.servers}
        peaks = {r: self._forecasts.peaks(r) for r in RESOURCES}
        peak = self._peaks(servers, seen, peaks)
        forecast = self._host_forecasts(hosts, servers, peak, peaks)
        physical = np.array([self._physical(h, known.get(h.name)) for h in hosts]).reshape(-1, 2)
        made = columns.hosts(hosts, physical, forecast)
        made = replace(made, closed=tuple(why or terms.closed.get(h.name, "") for why, h in zip(made.closed, hosts, strict=True)))
        price = self._prices(servers, seen, terms)
        kinds, barred = barriers(hosts, servers)
        rests = {s.id: f"the agent of {seen[s.id].host} reports it, and Nova has it on {s.host}" for s in servers if _astray(s, seen)}
        return Ground(
            made,
            columns.servers(servers, made, peak, price, rests, kinds=kinds),
            columns.groups(tuple(cloud.groups.values())),
            barred=barred,
        )

    def outlook(self, server: CloudServer, seen: Server | None, link: str, terms: Terms) -> Outlook:
        """What moving one server is predicted to take on a link."""
        used, dirty = _used(server, seen), terms.dirty.get(server.id, self._rule.dirty_mib_s)
        way = self._link(link, terms)
        found = cost(np.array([used]), np.array([dirty]), way)
        return Outlook(used, dirty, float(found.duration_s[0]), float(found.downtime_s[0]), (way.factor, way.stop_factor))

    def _link(self, name: str, terms: Terms) -> Link:
        factor, stop = (known.get(name, known.get(ANY_LINK, 1.0)) for known in (terms.factors, terms.stops))
        return Link(self._rule.mib_s, self._rule.downtime_s, factor, stop)

    def _prices(self, servers: Sequence[CloudServer], seen: Mapping[str, Server], terms: Terms) -> Numbers:
        """[m] by what is known of all links: which one it will be is not decided yet."""
        used = np.array([_used(s, seen.get(s.id)) for s in servers], np.float64)
        dirty = np.array([terms.dirty.get(s.id, self._rule.dirty_mib_s) for s in servers], np.float64)
        weight = np.array([terms.weights.get(s.id, 1.0) for s in servers], np.float64)
        return -worth(0.0, weight, cost(used, dirty, self._link(ANY_LINK, terms)))

    def _physical(self, host: CloudHost, agent: Host | None) -> tuple[float, float]:
        """Cores and MiB that guests can really use."""
        if agent is not None:
            return float(agent.cpus), agent.memory_total.mib - self._rule.memory_reserved_mib
        return _own(host, VCPU), _own(host, MEMORY)

    def _peaks(self, servers: Sequence[CloudServer], seen: Mapping[str, Server], peaks: Mapping[str, Peaks]) -> Numbers:
        """[m, 2] at the agreed quantile; where there is no forecast, what it was sold as.

        A guest uses no more than its ceiling anywhere, whatever it will want: an event's factor knows no vCPUs.
        """
        sold = np.array([(s.flavor.vcpus, s.flavor.ram) for s in servers], np.float64).reshape(-1, 2)
        told = np.column_stack([self._series(peaks[r], [s.id for s in servers]) for r in RESOURCES])
        for row, s in enumerate(servers):
            if s.id not in seen:
                told[row] = np.nan  # a forecast of a server that no agent reports is of the past
            else:
                most = seen[s.id].ceiling
                told[row] = np.minimum(told[row], (most.cpu.cores, most.memory.mib))
        return np.where(np.isfinite(told), told, sold)

    def _host_forecasts(
        self, hosts: Sequence[CloudHost], servers: Sequence[CloudServer], peak: Numbers, peaks: Mapping[str, Peaks]
    ) -> Numbers:
        """[n, 2] each host's own; where its history is too short for one, the sum of its servers' (more than will be: peaks do not meet).

        What is said of a host without history is "anything up to all it has": no new host would be a target in its first hours.
        """
        names = [group_series("host", h.name) for h in hosts]
        own = np.column_stack([self._series(peaks[r], names, itself=True) for r in RESOURCES])
        index = {h.name: i for i, h in enumerate(hosts)}
        total = np.zeros((len(hosts), 2))
        for row, s in enumerate(servers):
            if s.host in index:
                total[index[s.host]] += peak[row]
        return np.where(np.isfinite(own), own, total)

    def _series(self, peaks: Peaks, names: Sequence[str], *, itself: bool = False) -> Numbers:
        """[n] peaks of a day; NaN where there is no forecast. ``itself``: only those that follow from the series' own history."""
        rows = np.array([peaks.rows.get(name, -1) for name in names], np.int64)
        if itself and len(peaks.rows):
            rows = np.where(peaks.spoken[rows], rows, -1)
        found = np.full(rows.size, np.nan)
        if rows.size and len(peaks.rows):
            found[rows >= 0] = peaks.peak24h[rows[rows >= 0], self._level]
        return found


def link_of(cloud: CloudView, source: str, target: str) -> str:
    """The name of what connects two hosts: their aggregates' word, else the pair itself."""
    ends = [cloud.hosts[h].aggregate_metadata.get(LINK, "") if h in cloud.hosts else "" for h in (source, target)]
    return "|".join(sorted({e or h for e, h in zip(ends, (source, target), strict=True)}))


def claim(server: CloudServer) -> dict[str, int]:
    """What Nova claims for it in Placement, without what is none."""
    return {name: amount for name, amount in columns.claim(server).items() if amount}


def _astray(server: CloudServer, seen: Mapping[str, Server]) -> bool:
    return server.id in seen and str(seen[server.id].host) != server.host


def _own(host: CloudHost, resource: str) -> float:
    inventory = host.inventories.get(resource)
    return float(inventory.total - inventory.reserved) if inventory else float("nan")


def _used(server: CloudServer, seen: Server | None) -> float:
    """Memory that is copied at first: what is resident, as its agent measured it; else all it was sold."""
    memory = seen.last.memory if seen is not None and seen.last is not None else None
    if memory is None:
        return float(server.flavor.ram)
    return memory.rss.mib if memory.rss is not None else memory.allocation.mib
