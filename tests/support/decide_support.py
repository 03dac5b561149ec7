"""Servers, histories and an in-memory store for tests of deciding."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from foreshape_controller.decide.orders import Ordering
from foreshape_controller.model.brakes import Brakes, Budget
from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.group import Member
from foreshape_controller.model.history import STEP_S, History
from foreshape_controller.model.plan import PeakRange, Plan
from foreshape_controller.model.server import ClusterView, Host, Server
from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.order import Mode, Order
from foreshape_wire.quantity import NO_CORES, Cores, Memory, Size
from foreshape_wire.reading import Capability, DomainState, LeverName
from foreshape_wire.sample import CpuSample, MemorySample, VmSample

HOUR = 3600.0
NOW = 1_700_000_100.0
"""On the 5-minute grid."""

QUOTA = Capability(lever=LeverName.CPU_QUOTA, lowest=0.1, highest=4.0, granule=0.01)
HOTPLUG = Capability(lever=LeverName.CPU_HOTPLUG, lowest=1.0, highest=8.0, granule=1.0)
BALLOON = Capability(lever=LeverName.MEM_BALLOON, lowest=256.0, highest=4096.0, granule=1.0)


def size_of(cpu: float, memory: float) -> Size:
    return Size(Cores(cpu), Memory(memory))


def sample(server: str, cpu: float = 1.0, memory: float = 1000.0, *, censored: bool = False, confidence: float = 0.9) -> VmSample:
    return VmSample(
        server=ServerId(server),
        state=DomainState.RUNNING,
        window_s=10,
        cpu=CpuSample(
            used=Cores(cpu),
            waiting=NO_CORES,
            throttled=NO_CORES,
            demand=Cores(cpu),
            allocation=Cores(4.0),
            censored=censored,
            confidence=1.0,
        ),
        memory=MemorySample(demand=Memory(memory), allocation=Memory(4096), censored=False, confidence=confidence),
    )


def server(name: str = "vm1", **changes: object) -> Server:
    """A running server of 4 cores and 4096 MiB that has all it was sold."""
    words: dict[str, object] = {
        "id": ServerId(name),
        "host": HostName("hv1"),
        "name": name,
        "project": "p1",
        "flavor": "m1",
        "image": "",
        "tier": "",
        "mode": Mode.ACT,
        "entitlement": size_of(4, 4096),
        "ceiling": size_of(4, 4096),
        "allocation": size_of(4, 4096),
        "capabilities": (QUOTA, BALLOON),
        "state": DomainState.RUNNING,
        "first_seen": NOW - 72 * HOUR,
        "last_seen": NOW - 5,
        "last": sample(name),
    }
    return Server(**(words | changes))  # type: ignore[arg-type]


def host(name: str = "hv1", cpus: int = 16, memory: float = 65536, **changes: object) -> Host:
    words: dict[str, object] = {
        "name": HostName(name),
        "cpus": cpus,
        "memory_total": Memory(memory),
        "memory_available": Memory(memory / 2),
        "last_seen": NOW - 5,
        "safe_mode": "",
        "mode": Mode.ACT,
    }
    return Host(**(words | changes))  # type: ignore[arg-type]


def peak(wanted: float, median: float | None = None) -> PeakRange:
    median = wanted * 0.6 if median is None else median
    return PeakRange(median=median, wanted=wanted, quantile=0.95, source="baseline", reason="own history", age_s=72 * HOUR)


def history(
    rows: Sequence[Sequence[float]],
    *,
    resource: str = "cpu",
    names: Sequence[str] | None = None,
    until: float = NOW,
    entitlement: float = 4.0,
    peaks: Sequence[Sequence[float]] | None = None,
    step_s: int = STEP_S,
) -> History:
    """A history that ends at ``until``; every bin fully covered, nothing censored."""
    mean = np.atleast_2d(np.asarray(rows, np.float32))
    n, bins = mean.shape
    start = int(until) - bins * step_s
    return History(
        resource=resource,
        series=tuple(names or (f"vm{i + 1}" for i in range(n))),
        start=start,
        mean=mean,
        max=mean if peaks is None else np.asarray(peaks, np.float32),
        coverage=np.isfinite(mean).astype(np.float32),
        censored=np.zeros_like(mean),
        entitlement=np.full(n, entitlement, np.float32),
        first_seen=np.full(n, float(start)),
        step_s=step_s,
    )


def ordering(servers: Sequence[Server], brakes: Brakes | None = None, **budget: float) -> Ordering:
    """Orders made for these servers, every tier weighing the same."""
    return Ordering({s.id: s for s in servers}, {}, brakes or Brakes(Budget(**budget)))  # type: ignore[arg-type]


def numbered():
    """An id source that counts: "cause-1", "cause-2"."""
    numbers = count(1)
    return lambda kind: f"{kind}-{next(numbers)}"


def _nothing(resource: str, like: History) -> History:
    gaps = np.full((0, like.bins), np.nan, np.float32)
    return replace(
        like,
        resource=resource,
        series=(),
        mean=gaps,
        max=gaps,
        coverage=gaps,
        censored=gaps,
        entitlement=np.zeros(0, np.float32),
        first_seen=np.zeros(0),
        used=None,
    )


@dataclass
class MemoryStore:
    """The store's words that the plan loop uses, in memory, with what was written."""

    cluster: ClusterView
    histories: dict[str, History]
    wanted: dict[str, dict[str, float]] = field(default_factory=dict)
    wanted_at: float = NOW
    known_from: float = 0.0
    saved: list[Forecast] = field(default_factory=list)
    recorded: list[tuple[Plan, tuple[Order, ...]]] = field(default_factory=list)
    left: list[Member] = field(default_factory=list)
    """Servers that are no longer there."""

    @property
    def inventory(self) -> "MemoryStore":
        return self

    history = recent = forecasts = journal = groups = inventory

    @property
    def step_s(self) -> int:
        return next((h.step_s for h in self.histories.values()), STEP_S)

    def view(self, now: float) -> ClusterView:
        return self.cluster

    def departed(self, now: float, since: float) -> tuple[Member, ...]:
        return tuple(m for m in self.left if m.until is not None and m.until > since)

    def read(self, resource: str, names: Sequence[str], until: float, count: int) -> History:
        """The last bins of what is there; a resource or series that is not has no data."""
        h = self.histories.get(resource) or _nothing(resource, next(iter(self.histories.values())))
        row = {name: i for i, name in enumerate(h.series)}
        short = max(0, count - h.bins)
        at = [row.get(n, -1) for n in names]

        def part(values: np.ndarray, otherwise: float) -> np.ndarray:
            kept = np.pad(values[:, max(0, h.bins - count) :], ((0, 1), (short, 0)), constant_values=otherwise)
            kept[-1] = otherwise
            return kept[at].astype(np.float32)

        return History(
            resource=resource,
            series=tuple(names),
            start=h.until - count * h.step_s,
            mean=part(h.mean, np.nan),
            max=part(h.max, np.nan),
            coverage=part(h.coverage, 0),
            censored=part(h.censored, 0),
            entitlement=np.append(h.entitlement, np.float32(np.nan))[at],
            first_seen=np.append(h.first_seen, float(h.until))[at],
            step_s=h.step_s,
            used=part(h.mean if h.used is None else h.used, np.nan),
        )

    def save(self, forecast: Forecast) -> None:
        self.saved.append(forecast)

    def record(self, plan: Plan, orders: Sequence[Order]) -> None:
        self.recorded.append((plan, tuple(orders)))

    def recent_wanted(self, resource: str, since: float) -> dict[str, float]:
        return self.wanted.get(resource, {}) if self.wanted_at > since else {}

    def wanted_since(self) -> float:
        return self.known_from
