"""What a live migration costs and is worth, in which order migrations begin, and when a server has to be left alone.

Cost: iterative pre-copy (Clark et al., "Live Migration of Virtual Machines", NSDI 2005; closed form as in Akoush et al., "Predicting
the Performance of Virtual Machine Migration", MASCOTS 2010). With V MiB to send at first (memory in use, and the disk for a block
migration), a link of B MiB/s and D MiB dirtied per second, r = D/B: round i sends V·r^i MiB. The hypervisor stops the guest once what is
left fits into the allowed downtime d: V·r^n <= B·d, so that

    n        = ceil(ln(B·d / V) / ln r)                rounds after the first; 0 where V <= B·d
    duration = V/B · (1 - r^(n+1)) / (1 - r) + fixed   seconds
    downtime = V·r^n / B + stop                        seconds; the first part at most d

It does not converge where r >= 1 or n > ROUNDS. QEMU has no limit of rounds: ROUNDS says what is not worth its link. A guest that writes
the same small set again and again does better than this; the learnt factors (``learn``, ``learn_downtime``) take up what the formula
leaves out, of the copying and of the whole downtime.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.history import Floats

ROUNDS = 30
"""As Xen's libxl limits them; past that a migration gains nothing any more."""

FIXED_S = 3.0
"""What one takes in Nova beside the copying: 3.0 to 4.2 s for guests of 192 to 384 MiB, measured on Nova 34."""

STOP_S = 0.05
"""What stopping a guest and starting it elsewhere takes beside the last round: 0.03 to 0.08 s with libvirt 9.0 and QEMU 7.2, measured."""

LEAST_STOP_S = 0.001
"""libvirt counts downtime in milliseconds: none at all is less than one."""

SAFETY = 3.0
"""A migration is stuck only after this many times its predicted duration."""

LEAST_LIMIT_S = 300.0

COOLDOWN_S = 15 * 60.0
COOLDOWN_CAP_S = 6 * 3600.0

COPY_PRICE = 0.01
"""Weighted seconds of violation that a second of copying counts as: the link and both hosts' CPU serve others meanwhile."""

LEARN_RATE = 0.2

MOST_FACTOR, MOST_STOP_FACTOR = 4.0, 16.0
"""Learnt factors stay between these and one over them. What a last round takes is much less certain than a whole copy."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Link:
    """The way between two hosts, as one migration finds it."""

    mib_s: float
    downtime_s: float = 0.5
    """Nova's live_migration_downtime."""
    factor: float = 1.0
    """Learnt: measured duration over predicted (``learn``)."""
    stop_factor: float = 1.0
    """Learnt: measured downtime over predicted (``learn_downtime``)."""


@dataclass(frozen=True, eq=False)
class Cost:
    """What n migrations would take. All [n], seconds; infinite where it does not converge or something is not known."""

    duration_s: Numbers
    downtime_s: Numbers

    @property
    def converges(self) -> npt.NDArray[np.bool_]:
        """[n] whether it comes to an end by itself."""
        return np.isfinite(self.duration_s)


def cost(used_mib: Floats | Numbers, dirty_mib_s: Floats | Numbers, link: Link, disk_mib: Floats | Numbers | float = 0.0) -> Cost:
    """What migrating n servers one by one takes: memory in use [n], dirty rate [n], disk to copy too [n]."""
    volume = np.asarray(used_mib, np.float64) + disk_mib
    ratio = np.asarray(dirty_mib_s, np.float64) / link.mib_s if link.mib_s > 0 else np.full(volume.shape, np.inf)
    rounds = _rounds(volume, ratio, link)
    # A ratio that is not below 1 has no sum; what takes its place here is masked below.
    below = np.where((ratio >= 0) & (ratio < 1), ratio, 0.0)
    rate = max(link.mib_s, 1e-9)
    duration = volume / rate * (1 - below ** (rounds + 1)) / (1 - below) * link.factor + FIXED_S
    ends = np.isfinite(volume) & (volume >= 0) & (rounds <= ROUNDS)
    stop = (volume * below**rounds / rate + STOP_S) * link.stop_factor
    return Cost(np.where(ends, duration, np.inf), np.where(ends, stop, np.inf))


def _rounds(volume: Numbers, ratio: Numbers, link: Link) -> Numbers:
    """[n] rounds after the first; infinite where what is left never fits into the downtime."""
    goal = link.mib_s * link.downtime_s
    with np.errstate(divide="ignore", invalid="ignore"):
        # The small amount keeps an exact fit from one round more by rounding.
        needed = np.ceil(np.log(goal / volume) / np.log(ratio) - 1e-9)
    known = np.isfinite(ratio) & (ratio >= 0)
    slow = np.where(ratio < 1, np.where(ratio == 0, 1.0, needed), np.inf)
    return np.where(known & (volume <= goal), 0.0, np.where(known, slow, np.inf))


def time_limit_s(duration_s: float) -> float:
    """How long a migration may run before it counts as stuck; of one that does not converge nobody can say more than the least."""
    return max(LEAST_LIMIT_S, SAFETY * duration_s) if math.isfinite(duration_s) else LEAST_LIMIT_S


def learn(factor: float, predicted_s: float, measured_s: float, used: float) -> float:
    """The link's factor after a migration that arrived; ``predicted_s`` was made with the factor ``used``. Kept between a quarter and 4."""
    return _nearer(factor, used, predicted_s - FIXED_S, measured_s - FIXED_S, MOST_FACTOR)


def learn_downtime(factor: float, predicted_s: float, measured_s: float, used: float) -> float:
    """The link's factor of downtimes after a migration whose downtime was measured. Kept between a sixteenth and 16."""
    found = max(measured_s, LEAST_STOP_S) if measured_s >= 0 else math.nan
    return _nearer(factor, used, predicted_s, found, MOST_STOP_FACTOR)


def _nearer(factor: float, used: float, expected_s: float, found_s: float, most: float) -> float:
    """A step from a factor towards the one that would have been right.

    That one follows from the factor the prediction was ``used`` with, not from today's: many that were predicted at once, and all took
    twice as long, make the factor 2, never 4.
    """
    if not all(0 < x < math.inf for x in (factor, used, expected_s, found_s)):
        return factor
    right = used * (found_s / expected_s)
    if not 0 < right < math.inf:
        return factor
    return min(most, max(1 / most, factor * math.pow(right / factor, LEARN_RATE)))


def worth(avoided_s: Numbers | float, weight: Numbers | float, costs: Cost) -> Numbers:
    """[n] weighted seconds: violation avoided times the tier's weight, less the downtime and the copying. -inf: never ends."""
    gained: Numbers = np.asarray(avoided_s * np.asarray(weight) - weight * costs.downtime_s - COPY_PRICE * costs.duration_s)
    return gained


@dataclass(frozen=True)
class Queued:
    """One migration that waits to begin."""

    id: str
    server: str
    source: str
    target: str
    link: str
    worth: float
    duration_s: float
    deadline: float
    """When the violation begins that it avoids; infinite: none."""


@dataclass(frozen=True)
class Limits:
    """How many migrations may be under way at once. Nova's own default is one per source host."""

    out: int = 1
    into: int = 1
    cluster: int = 4
    link: int = 2


@dataclass(frozen=True)
class Admission:
    """Which begin now, in this order, and why each of the others waits."""

    begin: tuple[Queued, ...]
    waits: Mapping[str, str]
    """By id."""


def in_order(queue: Sequence[Queued], now: float) -> list[Queued]:
    """Those that must begin soon to keep their deadline first, by their latest start; the rest by worth per second on the link.

    Soon: before the longest of the queue would be over. One that cannot keep its deadline any more is not urgent, only worth what it is.
    """
    longest = max((q.duration_s for q in queue if math.isfinite(q.duration_s)), default=0.0)

    def key(queued: Queued) -> tuple[int, float, str]:
        slack = queued.deadline - queued.duration_s - now
        if 0 <= slack <= longest:
            return 0, slack, queued.id
        return 1, -queued.worth / max(queued.duration_s, 1.0), queued.id

    return sorted(queue, key=key)


def admit(queue: Sequence[Queued], under_way: Sequence[Queued], limits: Limits, now: float) -> Admission:
    """Who may begin. Whatever is not known to be over is under way; an operator's own migrations belong in there too."""
    counts = _Counts(limits)
    for queued in under_way:
        counts.take(queued)
    begin, waits = [], {}
    for queued in in_order(queue, now):
        why = counts.obstacle(queued)
        if why:
            waits[queued.id] = why
            continue
        counts.take(queued)
        begin.append(queued)
    return Admission(tuple(begin), waits)


class _Counts:
    """Migrations under way by host, link, server and altogether, the ones just admitted included."""

    def __init__(self, limits: Limits) -> None:
        self._most = {"out": limits.out, "into": limits.into, "link": limits.link, "cluster": limits.cluster}
        self._taken: dict[tuple[str, str], int] = {}
        self._servers: set[str] = set()

    def take(self, queued: Queued) -> None:
        self._servers.add(queued.server)
        for key in _places(queued):
            self._taken[key] = self._taken.get(key, 0) + 1

    def obstacle(self, queued: Queued) -> str:
        """Why it waits; empty: it need not."""
        if queued.server in self._servers:
            return "a migration of the same server is under way"
        for kind, name in _places(queued):
            if self._taken.get((kind, name), 0) >= self._most[kind]:
                return f"{self._most[kind]} {_LIMIT_WORDS[kind].format(name)}: the limit"
        return ""


_LIMIT_WORDS = {
    "out": "under way out of {}",
    "into": "under way into {}",
    "link": "under way on link {}",
    "cluster": "under way altogether",
}


def _places(queued: Queued) -> tuple[tuple[str, str], ...]:
    return ("cluster", ""), ("out", queued.source), ("into", queued.target), ("link", queued.link)


def cooldown_s(duration_s: float, moves: int) -> float:
    """How long a server stays after its ``moves``-th migration in a row: max(15 min, duration) · 2^(moves - 1), at most 6 h.

    OpenShift's proposal (descheduler #591). In a row: each within a day of the one before.
    """
    if moves < 1:
        return 0.0
    doubled = max(COOLDOWN_S, duration_s) * 2.0 ** min(moves - 1, 30)
    return min(COOLDOWN_CAP_S, doubled)


@dataclass(frozen=True)
class Past:
    """A server's last migrations: when the last ended, what it took, how many there were in a row."""

    ended: float
    duration_s: float
    moves: int


def rests(past: Past | None, now: float, hold_s: float = 0.0, seen_since: float = -math.inf) -> str:
    """Why a server is left where it is for now; empty: it may be moved. ``hold_s``: the least time on a host, whoever put it there."""
    if past is not None and now < past.ended + cooldown_s(past.duration_s, past.moves):
        left = past.ended + cooldown_s(past.duration_s, past.moves) - now
        return f"it was moved {past.moves} times in a row: rests for {left / 60:.0f} more minutes"
    arrived = max(seen_since, past.ended if past else -math.inf)
    if now < arrived + hold_s:
        return f"it came to its host {(now - arrived) / 60:.0f} minutes ago: stays for at least {hold_s / 60:.0f}"
    return ""
