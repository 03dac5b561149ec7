"""What a record of one guest shows: how soon capacity was there, what was given back, and whether a floor was ever broken. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from foreshape_lab.console import Seen

Points = Sequence[tuple[float, float]]
"""(when, how much), in order of time."""

BACK_SHARE = 0.9
"""Given back: at most this share of the most it had."""


@dataclass(frozen=True)
class Step:
    """One planned change of a guest's load: from ``at`` to ``until`` it wants ``high``. Cores or MiB."""

    at: float
    until: float
    high: float


def seconds_until(points: Points, since: float, enough: float, until: float) -> float | None:
    """How long after ``since`` there was enough; 0 when it was there before; None when it never was while wanted."""
    before = [amount for at, amount in points if at <= since]
    if before and before[-1] >= enough:
        return 0.0
    return next((at - since for at, amount in points if since < at <= until and amount >= enough), None)


def seconds_until_less(points: Points, step: Step) -> float | None:
    """How long after the fall a tenth of the most it had during the step was taken back; None: not seen."""
    had = max((amount for at, amount in points if step.at <= at <= step.until), default=0.0)
    return next((at - step.until for at, amount in points if at > step.until and amount <= BACK_SHARE * had), None)


def memory_served(said: Sequence[Seen], step: Step) -> float | None:
    """Seconds until the guest itself held all the memory it wanted."""
    return seconds_until([(s.at, float(s.memory_held)) for s in said], step.at, step.high, step.until)


def fed_share(said: Sequence[Seen], step: Step, grace_s: float) -> float:
    """Part of its wanted CPU work that the guest got done, from ``grace_s`` after the rise on; 1 when it wanted nothing."""
    during = [s for s in said if step.at + grace_s <= s.at <= step.until - 1 and s.want > 0]
    wanted = sum(s.want for s in during)
    return sum(min(s.got, s.want) for s in during) / wanted if wanted else 1.0


def breaches(points: Points, floor: float) -> int:
    """Looks at which less than the floor was given. A tenth of a percent is rounding."""
    return sum(amount < 0.999 * floor for _, amount in points)


def spread(values: Sequence[float]) -> tuple[float, float]:
    return (min(values), max(values)) if values else (0.0, 0.0)


@dataclass(frozen=True)
class Ahead:
    """How a guest's capacity met one recurrence of its load."""

    rise: float
    small_s: float
    """For how long there was little before the rise: nothing is ahead of a load that never had less."""
    lead_s: float | None
    """How long before the rise there was enough, for good; negative: after it. None: there never was, or never too little."""
    late_s: float
    """How long there was too little while it was wanted."""


def ahead(points: Points, span: tuple[float, float, float], small: float, enough: float) -> Ahead:
    """``span``: since when to look, the rise, and its end. ``small`` and ``enough``: at most, and at least, so much."""
    since, rise, until = span
    looks = [(at, amount) for at, amount in points if since <= at <= until]
    lasts = [(at, amount, after - at) for (at, amount), (after, _) in pairwise(looks)]
    little = [at for at, amount in looks if amount < enough]
    first_enough = next((at for at, _ in looks if little and at > little[-1]), None)
    return Ahead(
        rise,
        small_s=sum(s for at, amount, s in lasts if at < rise and amount <= small),
        lead_s=None if first_enough is None else rise - first_enough,
        late_s=sum(s for at, amount, s in lasts if at >= rise and amount < enough),
    )
