"""A trace decided again: the plan of the product, bin after bin, from what was known before each.

    bin b starts → forecasts (each half-hour) → headroom learns from the half-hour that is over → view → make_plan → bin b is met

Nothing here decides: sizes, floors, holds, steps and shares are those of ``decide.plan``. What differs from the product is said in
``Replayed`` and in the report: one plan a bin instead of one a minute, every order applied at once, demand not answering to it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from foreshape_controller.decide.downgrade import Held, Miss, MissRule, Past, held
from foreshape_controller.decide.headroom import HeadroomRule, Window, adapt, wanted
from foreshape_controller.decide.known import Known, Limits
from foreshape_controller.decide.plan import make_plan
from foreshape_controller.decide.tiers import BUILT_IN, Tiers
from foreshape_controller.errors import ConfigError, TraceError
from foreshape_controller.model.columns import CODE, Column, Flags, PlanTable, Rows
from foreshape_controller.model.forecast import Forecast, Predictor
from foreshape_controller.model.history import BINS_PER_DAY, RESOURCES, STEP_S, Floats, History
from foreshape_controller.model.tier import ResourceRules, Tier
from foreshape_controller.replay.backtest import before
from foreshape_controller.replay.stage import CENSORED_AT, Hosts, Stage

HALF_HOUR = 6
"""Bins that a peak is forecast for, and that headroom learns from."""

PLAN_S = 60.0
"""Seconds between two plans of the product: so many steps of a shrink fit into a bin."""

LEAST_PAST = BINS_PER_DAY
"""Bins before the first decision: less says too little about who is active, and what a day looks like."""

CUT_BY_HOST = tuple(CODE[name] for name in ("host_full", "host_short", "host_risk", "throttled"))
"""Codes of what a server got less than it should have for its host's sake."""

MISSES = MissRule()
"""When growth that was made ahead counts less, as in the product."""

Progress = Callable[[str, int, int], None]


def _silent(_what: str, _done: int, _all: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Setup:
    """What is replayed, and under which rules."""

    begin: int
    """Epoch seconds on the grid: from here on it counts."""
    end: int
    warm_up_s: int = 7 * 86400
    """Decided before that, so that servers begin as a cloud already under management has them."""
    tiers: Tiers = BUILT_IN
    hosts: Hosts | None = None
    """None: each VM for itself, as if hosts were never short."""
    headroom: HeadroomRule = field(default_factory=HeadroomRule)
    forecast_bins: int = HALF_HOUR
    """Bins between two forecasts."""


@dataclass(frozen=True, eq=False)
class Track:
    """One resource over the bins that count. Arrays [n, bins]; cores or MiB."""

    demand: Floats
    """NaN in gaps."""
    given: Floats
    sold: Floats
    """[n]"""
    unmet: Floats
    """What its host did not have for it, of what it should have got."""


@dataclass(frozen=True, eq=False)
class Replayed:
    """What would have been allocated."""

    setup: Setup
    names: tuple[str, ...]
    tiers: tuple[str, ...]
    """Each server's."""
    host: Rows
    hosts: tuple[str, ...]
    tracks: Mapping[str, Track]
    voices: Mapping[str, int]
    """Who spoke for how many half-hours of servers (``net``, ``baseline`` …)."""
    decisions: int
    changed_by_forecast: int
    cpu_s: float
    """Spent on deciding, forecasts left out."""
    forecast_cpu_s: float


def replay(histories: Mapping[str, History], predictor: Predictor, setup: Setup, progress: Progress = _silent) -> Replayed:
    """Decide every bin from ``begin − warm_up_s`` on. TraceError, ConfigError: the window, the past or the hosts make no sense."""
    some = next(iter(histories.values()))
    first, start, end = _bins(some, setup)
    run = _Run(histories, predictor, setup, start, end)
    for b in range(first, end):
        run.decide(b)
        progress("decided, bins", b - first + 1, end - first)
    return run.result()


def _bins(some: History, setup: Setup) -> tuple[int, int, int]:
    """First bin that is decided, first that counts, and the end."""
    step = some.step_s
    if setup.begin >= setup.end:
        raise TraceError(f"--from {setup.begin} is not before --to {setup.end}: nothing lies between")
    start, end = (setup.begin - some.start) // step, (setup.end - some.start) // step
    if start < 0 or end > some.bins or start >= end:
        raise TraceError(
            f"the trace lasts from {some.start} to {some.until}: --from {setup.begin} to --to {setup.end} is not inside: choose a part"
        )
    if start < LEAST_PAST:
        raise TraceError(
            f"only {start * step / 3600:.1f} h of the trace lie before --from {setup.begin}; a day is needed to look back on: "
            f"choose --from {some.start + LEAST_PAST * step} or later"
        )
    return max(LEAST_PAST, start - setup.warm_up_s // step), start, end


class _Run:
    """The state that one bin hands to the next."""

    def __init__(self, histories: Mapping[str, History], predictor: Predictor, setup: Setup, start: int, end: int) -> None:
        self._histories, self._predictor, self._setup = histories, predictor, setup
        self._start, self._end = start, end
        self._stage = Stage.of(histories, setup.hosts)
        self._tiers = per_bin(setup.tiers)
        self._each = [self._tiers.of(s) for s in self._stage.base]
        n, bins = len(self._stage.names), next(iter(histories.values())).bins
        self._have = {r: self._stage.sold[r].copy() for r in RESOURCES}
        self._wanted = {r: np.full((n, bins), np.nan, np.float32) for r in histories}
        self._ahead = {r: np.zeros((n, bins), np.bool_) for r in histories}
        self._given = {r: np.full((n, bins), np.nan, np.float32) for r in histories}
        self._unmet = {r: np.zeros((n, end - start), np.float32) for r in histories}
        self._censored = {r: np.zeros((n, bins), np.float32) for r in histories}
        self._shrunk = {r: np.full(n, np.nan) for r in histories}
        self._factors = {r: np.ones(n, np.float32) for r in histories}
        self._asked: dict[str, tuple[int, Floats]] = {}
        self._forecasts: dict[str, Forecast] = {}
        self._voices: dict[str, int] = {}
        self._plans = self._decisions = self._changed = 0
        self._cpu_s = self._forecast_cpu_s = 0.0

    # -- one bin ----------------------------------------------------------------------------------------------------

    def decide(self, b: int) -> None:
        """What is allocated in bin ``b``, from the bins before it."""
        now = float(self._time(b))
        if not self._forecasts or b % self._setup.forecast_bins == 0:
            self._look_ahead(b)
        began = time.process_time()
        view = self._stage.view(b, now, self._have)
        plan = make_plan(view, self._known(b), now, self._id)
        if not self._plans:
            self._check_floors(plan.table)
        self._plans += 1
        self._apply(plan.table, b, now)
        self._cpu_s += time.process_time() - began

    def _time(self, b: int) -> int:
        some = next(iter(self._histories.values()))
        return some.start + b * some.step_s

    def _id(self, kind: str) -> str:
        return f"{kind}-{self._plans}"

    def _look_ahead(self, b: int) -> None:
        began = time.process_time()
        for r, history in self._histories.items():
            origin = self._time(b)
            self._forecasts[r] = self._predictor.predict(before(history, origin), origin)
            self._learn(r, b)
            for source in self._forecasts[r].source:
                self._voices[source] = self._voices.get(source, 0) + 1
        self._forecast_cpu_s += time.process_time() - began

    def _learn(self, r: str, b: int) -> None:
        """Each server's headroom, from the half-hour that is over; then what is asked for in the next one."""
        if r in self._asked and b - self._asked[r][0] < HALF_HOUR:
            return
        quantiles = np.asarray([_rules(t, r).quantile for t in self._each], np.float32)
        if r in self._asked:
            begun, asked = self._asked[r]
            span = slice(begun, b)
            window = Window(
                wanted=asked,
                peak=np.fmax.reduce(self._histories[r].max[:, span], axis=1, initial=np.nan),
                censored=np.asarray((self._censored[r][:, span] > 0).any(axis=1)),
                odd=np.zeros(len(asked), np.bool_),
            )
            self._factors[r] = adapt(self._factors[r], window, quantiles, self._setup.headroom.of(r))
        tier = np.asarray([_rules(t, r).headroom for t in self._each], np.float32)
        self._asked[r] = (b, wanted(self._forecasts[r].peak30m, quantiles, self._factors[r] * tier))

    def _known(self, b: int) -> Known:
        names = self._stage.names
        found = {r: self._held(r, b) for r in self._histories}
        return Known(
            forecasts=self._forecasts,
            histories={r: self._seen(r, b) for r in self._histories},
            tiers=self._tiers,
            held={r: _named(names, h.amount) for r, h in found.items()},
            missed={r: _misses(names, h) for r, h in found.items()},
            headroom={r: _named(names, f) for r, f in self._factors.items()},
            limits=Limits(stale_after_s=PLAN_S, cpu_ratio=1.0, memory_reserved_mib=0.0),
            last_shrunk={r: _named(names, at) for r, at in self._shrunk.items()},
        )

    def _seen(self, r: str, b: int) -> History:
        """What was measured lately: as far back as the longest hold time."""
        back = max(HALF_HOUR, *(int(_rules(t, r).hold_s // STEP_S) + 1 for t in self._tiers.tiers.values()))
        past = before(self._histories[r], self._time(b), back)
        return replace(past, censored=self._censored[r][:, b - past.bins : b])

    def _held(self, r: str, b: int) -> Held:
        """What the wishes of each server's hold time count, less what did not come true: the product's graceful downgrade."""
        holds = np.asarray([max(1, int(_rules(t, r).hold_s // STEP_S)) for t in self._each], np.intp)
        span = slice(max(0, b - int(holds.max())), b)
        censored = self._censored[r][:, span] > 0
        past = Past(
            wanted=self._wanted[r][:, span].astype(np.float64),
            ahead=self._ahead[r][:, span],
            measured=np.where(censored, np.float32(np.nan), self._histories[r].max[:, span]),
            overhead=np.zeros(len(holds)),
        )
        return held(past, holds, MISSES)

    # -- what comes of it -------------------------------------------------------------------------------------------

    def _apply(self, table: PlanTable, b: int, now: float) -> None:
        at = {name: i for i, name in enumerate(self._stage.names)}
        rows = np.asarray([at[s] for s in table.servers], np.intp)
        for r, history in self._histories.items():
            sizes = table.sizes(r)
            self._shrunk[r][rows] = np.where(sizes.target < sizes.allocation, now, self._shrunk[r][rows])
            self._wanted[r][rows, b] = sizes.wanted
            self._ahead[r][rows, b] = sizes.ahead
            self._have[r][rows] = sizes.target
            self._given[r][:, b] = self._have[r]
            demand = history.mean[:, b]
            self._censored[r][:, b] = np.nan_to_num(demand) >= CENSORED_AT * self._have[r]
            if b >= self._start:
                cut = np.isin(sizes.code, CUT_BY_HOST)
                goal = sizes.inputs.get("goal", sizes.target)
                self._unmet[r][rows, b - self._start] = np.where(cut, np.maximum(0.0, goal - sizes.target), 0.0)
                self._decisions += len(rows)
                self._changed += int(sizes.changed_by_forecast.sum())

    def _check_floors(self, table: PlanTable) -> None:
        """Hosts that cannot hold what the tiers promise to everybody on them."""
        if self._setup.hosts is None:
            return
        number: dict[str, int] = {h.name: k for k, h in enumerate(self._stage.hosts)}
        on = np.asarray([number[h] for h in table.hosts], np.intp)
        room = {"cpu": float(self._setup.hosts.cpus), "memory": self._setup.hosts.memory_mib}
        for r in self._histories:
            floors = np.bincount(on, table.sizes(r).floor, len(number))
            worst = int(floors.argmax())
            if floors[worst] > room[r] * (1 + 1e-9):
                unit = "cores" if r == "cpu" else "MiB"
                raise ConfigError(
                    f"{self._stage.hosts[worst].name} would have to hold floors of {floors[worst]:.1f} {unit} and has {room[r]:g}: "
                    f"give --host-{'cpus' if r == 'cpu' else 'memory'} or --hosts more, take fewer --vms, or lower floor_share in the tiers"
                )

    def result(self) -> Replayed:
        span = slice(self._start, self._end)
        there: Flags = np.stack([self._stage.there(b) for b in range(self._start, self._end)], axis=1)
        tracks = {
            r: Track(
                demand=h.mean[:, span],
                given=np.where(there, self._given[r][:, span], h.entitlement[:, None]).astype(np.float32),
                sold=h.entitlement,
                unmet=self._unmet[r],
            )
            for r, h in self._histories.items()
        }
        return Replayed(
            setup=self._setup,
            names=self._stage.names,
            tiers=tuple(t.name for t in self._each),
            host=self._stage.host,
            hosts=tuple(h.name for h in self._stage.hosts),
            tracks=tracks,
            voices=self._voices,
            decisions=self._decisions,
            changed_by_forecast=self._changed,
            cpu_s=self._cpu_s,
            forecast_cpu_s=self._forecast_cpu_s,
        )


def per_bin(tiers: Tiers, bin_s: float = STEP_S) -> Tiers:
    """The same tiers for one plan a bin: a shrink takes what the plans of a bin's minutes take, step after step."""
    return msgspec.structs.replace(tiers, tiers={name: _per_bin(t, bin_s) for name, t in tiers.tiers.items()})


def _per_bin(tier: Tier, bin_s: float) -> Tier:
    return msgspec.structs.replace(tier, cpu=_steps(tier.cpu, bin_s), memory=_steps(tier.memory, bin_s))


def _steps(rules: ResourceRules, bin_s: float) -> ResourceRules:
    """A share s of each plan becomes 1 − (1 − s)^k of each bin, where k plans fit into it."""
    count = max(1, int(bin_s // max(PLAN_S, rules.step_s)))
    return msgspec.structs.replace(rules, shrink_step_share=1 - (1 - rules.shrink_step_share) ** count)


def _rules(tier: Tier, resource: str) -> ResourceRules:
    return tier.cpu if resource == "cpu" else tier.memory


def _misses(names: tuple[str, ...], h: Held) -> Mapping[str, Miss]:
    """Those whose growth ahead is being taken back."""
    rows = np.flatnonzero(np.isfinite(h.missed)).tolist()
    return {names[i]: Miss(float(h.amount[i]), float(h.missed[i]), float(h.came[i])) for i in rows}


def _named(names: tuple[str, ...], values: Column | Floats) -> Mapping[str, float]:
    return {name: v for name, v in zip(names, values.tolist(), strict=True) if v == v}  # noqa: PLR0124 - NaN is not itself
