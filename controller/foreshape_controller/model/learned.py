"""What is known of a learned model: its papers, how it did, and where it may speak."""

from collections.abc import Mapping

import msgspec

from foreshape_controller.model.forecast import LEVELS

STRATA = ("idle", "mid", "busy", "young", "group", "flow")
"""Kinds of series that are judged apart: by activity, or young (under 48 h), or a group, or disk and network."""

JUDGED = tuple(k for k, level in enumerate(LEVELS) if level >= 0.1)
"""Levels that wQL is the mean of: .1 … .9, .95, .99."""

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of a net in a blend with the baseline that a gate chooses from."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How forecasts of one resource, stratum and head did. Only sums, so that scores add up over origins and series."""

    resource: str
    stratum: str
    head: str
    predictor: str = ""
    count: int = 0
    """Observed values that a fan was held against."""
    windows: int = 0
    """Series × origins."""
    truth: float = 0.0
    """Sum of the values, cores or MiB."""
    pinball: tuple[float, ...] = (0.0,) * len(LEVELS)
    """Sum of pinball losses, by level."""
    below: tuple[int, ...] = (0,) * len(LEVELS)
    """Values at or under the level (within tolerance)."""
    above: tuple[int, ...] = (0,) * len(LEVELS)
    """Values at or over the level (within tolerance)."""
    scaled_error: float = 0.0
    """Sum over windows of mean |y − median| / daily seasonal-naive error of the series."""
    scaled_windows: int = 0

    def __add__(self, other: "Score") -> "Score":
        """Both together; resource, stratum, head and predictor stay this one's."""
        sums = {name: _sum(getattr(self, name), getattr(other, name)) for name in SUMMED}
        return msgspec.structs.replace(self, **sums)

    @property
    def wql(self) -> float:
        """Mean over levels of 2 Σ pinball / Σ y; NaN where nothing was used."""
        return 2 * sum(self.pinball[k] for k in JUDGED) / len(JUDGED) / self.truth if self.truth > 0 else float("nan")

    @property
    def mase(self) -> float:
        return self.scaled_error / self.scaled_windows if self.scaled_windows else float("nan")

    def under(self, level: float) -> float:
        """Share of values at or under a level: at least the level where the fan is honest."""
        return self.below[LEVELS.index(level)] / self.count if self.count else float("nan")

    def inside(self, share: float) -> float:
        """Share of values inside the central interval of 0.8, 0.9 or 0.98."""
        low = {0.8: 2, 0.9: 1, 0.98: 0}[share]
        outside = 2 * self.count - self.above[low] - self.below[-1 - low]
        return 1 - outside / self.count if self.count else float("nan")


SUMMED = ("count", "windows", "truth", "pinball", "below", "above", "scaled_error", "scaled_windows")


def _sum(a: float | tuple[float, ...], b: float | tuple[float, ...]) -> float | tuple[float, ...]:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return tuple(x + y for x, y in zip(a, b, strict=True))
    assert not isinstance(a, tuple)
    assert not isinstance(b, tuple)
    return a + b


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a net is heard for one resource, stratum and head, and why."""

    resource: str
    stratum: str
    head: str
    weight: float
    reason: str
    ratio: float | None = None
    """wQL of what was chosen (or of the best that was refused) by the baseline's, on the same windows."""
    net_ratio: float | None = None
    """wQL of the net alone by the baseline's."""
    sure: float | None = None
    """Share of resamples of the series in which it won."""
    windows: int = 0
    series: int = 0
    days: int = 0


class Gate(msgspec.Struct, frozen=True):
    """Every verdict of a model; what it does not name has weight 0."""

    verdicts: tuple[Verdict, ...] = ()

    def verdict(self, resource: str, stratum: str, head: str) -> Verdict:
        for v in self.verdicts:
            if (v.resource, v.stratum, v.head) == (resource, stratum, head):
                return v
        return Verdict(resource=resource, stratum=stratum, head=head, weight=0.0, reason="the net was never tried there")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The papers of a model folder."""

    format: int
    id: str
    made_at: float
    code_version: str
    step_s: int
    first: int
    """Epoch seconds: begin of the data it was taught with."""
    until: int
    """End of that data; held-back days included."""
    taught_until: int
    """End of the days that the examined weights were fitted on; gate and calibration come from the held-back days after it, and the
    weights that serve went on learning with those."""
    series: Mapping[str, int]
    """Series by resource."""
    seed: int
    encoder: str
    cpu_seconds: float
    scores: tuple[Score, ...] = ()
    """On the held-back days: predictors ``net``, ``baseline``, ``naive`` and ``model`` (what the chain will say)."""
    files: Mapping[str, str] = {}
    """sha256 of every file beside the manifest."""
    note: str = ""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Corrections of one kind of fan: how far to move each level, in widths of the fan itself."""

    voice: str
    """Whose fan: ``model`` (what the gate chose) or ``baseline``."""
    resource: str
    stratum: str
    """One of STRATA, or ``server`` (all of them that are servers)."""
    head: str
    shifts: tuple[float, ...]
    """By level."""
    series: int
    """Different series behind it."""
    values: int


class Corrections(msgspec.Struct, frozen=True):
    """A calibration, as it is stored."""

    cells: tuple[Cell, ...] = ()
    fitted_at: float = 0.0
    """Newest origin behind it, epoch seconds."""
