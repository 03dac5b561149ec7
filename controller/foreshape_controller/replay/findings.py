"""What a replay shows: Foreshape and its rivals side by side, per day, per host, and in money. Numbers only; ``report`` draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from foreshape_controller.model.history import BINS_PER_DAY, STEP_S, Floats, History
from foreshape_controller.replay.compare import WINDOWS, Row, Scene, compare
from foreshape_controller.replay.engine import Replayed, Track
from foreshape_controller.replay.measure import Flags, Measures, active, violated
from foreshape_controller.replay.policies import TERMS

NAME = "Foreshape"

MULTIPLIERS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0)
"""Of the rivals, where their frontier is drawn."""

HOURS = STEP_S / 3600


@dataclass(frozen=True)
class Line:
    """One row of the table, as it is printed."""

    resource: str
    row: Row
    saved: float | None
    """Money against static flavors, in the tiers' unit; None: the tiers name no price."""
    share: float
    """Foreshape's allocation divided by this policy's."""


@dataclass(frozen=True, eq=False)
class Held:
    """A server whose host did not have what it should have got."""

    name: str
    tier: str
    host: str
    resource: str
    bins: int
    missing: float
    """Core-hours or MiB-hours."""
    wanted_more: int
    """Bins in which it also wanted more than it had."""


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that the report says."""

    replayed: Replayed
    busy: Flags
    """[n]: which servers are active; all where none is (``none_active``)."""
    lines: tuple[Line, ...]
    none_active: bool = False
    """No server is: what is said of active servers is said of all."""
    frontiers: Mapping[str, Mapping[str, tuple[tuple[float, float], ...]]] = field(default_factory=dict)
    """By resource and rival: violations of active servers and allocated share, at several multipliers."""

    def of(self, resource: str) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.resource == resource)

    @property
    def forecast_changed(self) -> float:
        """Share of decisions that the same rules would have taken otherwise without a forecast."""
        return self.replayed.changed_by_forecast / max(1, self.replayed.decisions)


def find(histories: Mapping[str, History], replayed: Replayed, *, frontier: bool = False) -> Findings:
    """Compare what was allocated with what the rivals would have allocated over the same bins."""
    found = _busy(histories, replayed)
    busy = found if found.any() else np.ones(len(found), np.bool_)
    lines = []
    frontiers = {}
    for r, track in replayed.tracks.items():
        demand = _until(histories[r], replayed)
        rows = compare(demand, track.given, track.sold, resource=r, name=NAME, busy=busy)
        mine = rows[0].measures.allocation_share
        lines += [Line(r, row, _saved(row, track, replayed, r), mine / max(row.measures.allocation_share, 1e-12)) for row in rows]
        if frontier:
            frontiers[r] = _frontier(demand, track, r, busy)
    return Findings(replayed, busy, tuple(lines), not found.any(), frontiers)


def _busy(histories: Mapping[str, History], replayed: Replayed) -> Flags:
    """By CPU where the trace has it, for every resource alike."""
    some = histories.get("cpu") or next(iter(histories.values()))
    past = (replayed.setup.begin - some.start) // some.step_s
    return active(some.mean[:, :past], some.entitlement)


def _until(history: History, replayed: Replayed) -> Floats:
    """[n, bins]: demand up to the end, cut at what was sold: nobody can want more, and rivals multiply it."""
    mean = history.mean[:, : (replayed.setup.end - history.start) // history.step_s]
    cut: Floats = np.where(history.entitlement[:, None] > 0, np.minimum(mean, history.entitlement[:, None]), mean)
    return cut


def _frontier(demand: Floats, track: Track, resource: str, busy: Flags) -> Mapping[str, tuple[tuple[float, float], ...]]:
    scene = Scene(demand, track.sold, demand.shape[1] - track.given.shape[1], TERMS[resource], busy)
    return {label: tuple(_point(scene.measured(m * wanted)) for m in MULTIPLIERS) for label, wanted in scene.wishes().items()}


def _point(m: Measures) -> tuple[float, float]:
    return m.violations_active, m.allocation_share


# -- money --------------------------------------------------------------------------------------------------------------


def _saved(row: Row, track: Track, replayed: Replayed, resource: str) -> float | None:
    """What was not allocated, at what the tiers ask for it."""
    prices = price_per_unit(replayed, resource)
    if row.allocation is None or not prices.any():
        return None
    known = np.isfinite(track.demand)  # as every other figure: a server that is not there, or is not heard of, saves nothing
    free = np.where(known, track.sold[:, None] - row.allocation, 0).sum(axis=1, dtype=np.float64)
    return float((free * prices).sum() * HOURS)


def price_per_unit(replayed: Replayed, resource: str) -> Floats:
    """[n]: of a core or a MiB, an hour."""
    tiers = replayed.setup.tiers.tiers
    if resource == "cpu":
        return np.asarray([tiers[t].price.cpu_core for t in replayed.tiers], np.float64)
    return np.asarray([tiers[t].price.memory_gib / 1024 for t in replayed.tiers], np.float64)


# -- days ---------------------------------------------------------------------------------------------------------------


def daily_violations(track: Track, allocation: Floats, busy: Flags) -> list[float]:
    """Share of the active servers' known bins that were violated, day by day."""
    over, known = violated(track.demand, allocation, track.sold)[busy], np.isfinite(track.demand)[busy]
    return [float(over[:, d].sum()) / max(1, int(known[:, d].sum())) for d in _days(track)]


def daily_slack(track: Track, allocation: Floats) -> list[float]:
    """Share of what was allocated that nobody used, day by day."""
    known = np.isfinite(track.demand)
    used, given = np.where(known, np.minimum(track.demand, allocation), 0), np.where(known, allocation, 0)
    return [1 - float(used[:, d].sum()) / max(1e-9, float(given[:, d].sum())) for d in _days(track)]


def _days(track: Track) -> list[slice]:
    return [slice(b, b + BINS_PER_DAY) for b in range(0, track.given.shape[1], BINS_PER_DAY)]


# -- hosts --------------------------------------------------------------------------------------------------------------


def held_back(replayed: Replayed, most: int = 20) -> list[Held]:
    """Servers that their hosts cut short, those that miss most first."""
    found = []
    for r, track in replayed.tracks.items():
        over = violated(track.demand, track.given, track.sold)
        for i in np.flatnonzero(track.unmet.any(axis=1)).tolist():
            cut = track.unmet[i] > 0
            missing = float(track.unmet[i].sum(dtype=np.float64) * HOURS)
            host = replayed.hosts[int(replayed.host[i])]
            found.append(Held(replayed.names[i], replayed.tiers[i], host, r, int(cut.sum()), missing, int((over[i] & cut).sum())))
    return sorted(found, key=lambda h: (h.resource, -h.missing))[: most * len(replayed.tracks)]


def tightest(replayed: Replayed, resource: str) -> int:
    """The host on which most was missing; where nothing was, the one that handed out most."""
    track = replayed.tracks[resource]
    count = len(replayed.hosts)
    missing = np.bincount(replayed.host, track.unmet.sum(axis=1), count)
    given = np.bincount(replayed.host, np.nan_to_num(track.given).sum(axis=1), count)
    return int((missing if missing.any() else given).argmax())


# -- servers worth a look -------------------------------------------------------------------------------------------------


def chosen(findings: Findings, resource: str, asked: Sequence[str] = ()) -> list[tuple[int, str]]:
    """Rows of servers to draw and why each: those asked for, else the largest, the most violated, the most freed and a typical one."""
    names, track = findings.replayed.names, findings.replayed.tracks[resource]
    if asked:
        return [(names.index(name), "asked for") for name in asked if name in names]
    used = np.nan_to_num(track.demand).sum(axis=1)
    over = violated(track.demand, track.given, track.sold).sum(axis=1)
    freed = (track.sold[:, None] - track.given).sum(axis=1)
    active_ = np.flatnonzero(findings.busy)
    middle = int(active_[np.argsort(used[active_])[len(active_) // 2]])
    picks = [
        (int(used.argmax()), "uses most"),
        (int(over.argmax()), "most bins above its allocation"),
        (int(freed.argmax()), "gave most back"),
        (middle, "typical of the active ones"),
    ]
    return list({row: (row, why) for row, why in reversed(picks)}.values())[::-1]


def rivals_drawn() -> tuple[str, ...]:
    """Rivals whose days are drawn beside Foreshape's."""
    return tuple(WINDOWS)
