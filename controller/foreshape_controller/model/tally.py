"""How often something took how long: counts per bucket, as a histogram wants them. Pure; whoever adds guards it."""

from bisect import bisect_left
from dataclasses import dataclass, field

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets: from a write to a fast disk to a request that somebody gave up on."""


@dataclass
class Tally:
    """Durations in seconds. One thread at a time may add; anybody may read."""

    bounds: tuple[float, ...] = SECONDS
    counts: list[int] = field(default_factory=list)
    """By bucket, not added up; the last is of what lies above all bounds."""
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        return sum(self.counts)
