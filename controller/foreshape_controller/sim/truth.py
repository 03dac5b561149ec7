"""What really happened to every simulated server, whatever anybody measured: the judge of every claim.

Per 5-minute bin: mean and largest unthrottled need, mean allocation, and the share of the bin in which the need was larger.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from foreshape_wire.ids import ServerId

STEP_S = 300
Matrix = npt.NDArray[np.float64]
RESOURCES = ("cpu", "memory")
_EPSILON = 1e-6


@dataclass
class _Bin:
    seconds: float = 0.0
    need: float = 0.0
    most: float = 0.0
    had: float = 0.0
    short_s: float = 0.0
    short: float = 0.0


@dataclass(frozen=True, eq=False)
class Record:
    """One resource of all servers: [n, T]; NaN where a server did not live. Cores or MiB."""

    resource: str
    servers: tuple[ServerId, ...]
    start: int
    need: Matrix
    most: Matrix
    had: Matrix
    short_share: Matrix
    """Share of the bin in which it needed more than it had."""
    short: Matrix
    """Mean of what was missing."""
    sold: npt.NDArray[np.float64]

    @property
    def violated(self) -> Matrix:
        """1 where the bin's mean need was above its mean allocation, 0 where not, NaN where it did not live."""
        return np.where(np.isnan(self.need), np.nan, (self.need > self.had * (1 + _EPSILON)).astype(float))


@dataclass
class Truth:
    """Filled by the world as time passes."""

    start: float
    tally: dict[str, tuple[float, float]] = field(default_factory=lambda: dict.fromkeys(RESOURCES, (0.0, 0.0)))
    """By resource: server-seconds in which more was needed than there was, and all server-seconds."""
    _bins: dict[tuple[str, ServerId], dict[int, _Bin]] = field(default_factory=dict)
    _sold: dict[tuple[str, ServerId], float] = field(default_factory=dict)

    def sold(self, server: ServerId, cores: float, mib: float) -> None:
        self._sold["cpu", server] = cores
        self._sold["memory", server] = mib

    def add(self, resource: str, server: ServerId, at: float, dt: float, need: float, had: float) -> None:
        """``dt`` seconds in which a server needed this much and had that much."""
        number = int(at // STEP_S)
        bins = self._bins.setdefault((resource, server), {})
        b = bins.get(number)
        if b is None:
            b = bins[number] = _Bin()
        b.seconds += dt
        b.need += need * dt
        b.had += had * dt
        b.most = max(b.most, need)
        missed, all_ = self.tally[resource]
        if need > had * (1 + _EPSILON):
            b.short_s += dt
            b.short += (need - had) * dt
            missed += dt
        self.tally[resource] = missed, all_ + dt

    def record(self, resource: str, since: float = 0.0) -> Record:
        """Everything about one resource from ``since`` on; the bin that is still filling is left out."""
        keys = sorted(k for k in self._bins if k[0] == resource)
        numbers = sorted({n for k in keys for n in self._bins[k] if n * STEP_S >= since})[:-1]
        if not numbers:
            raise ValueError("no full bin has passed yet")
        first, shape = numbers[0], (len(keys), numbers[-1] - numbers[0] + 1)
        out = {name: np.full(shape, np.nan) for name in ("need", "most", "had", "short_share", "short")}
        for row, key in enumerate(keys):
            for number, b in self._bins[key].items():
                if first <= number <= numbers[-1] and b.seconds > 0:
                    values = (b.need / b.seconds, b.most, b.had / b.seconds, b.short_s / b.seconds, b.short / b.seconds)
                    for matrix, value in zip(out.values(), values, strict=True):
                        matrix[row, number - first] = value
        return Record(
            resource=resource,
            servers=tuple(k[1] for k in keys),
            start=first * STEP_S,
            sold=np.array([self._sold[k] for k in keys]),
            **out,
        )
