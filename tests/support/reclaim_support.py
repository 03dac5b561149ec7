"""Rows, facts and figures for tests of reclamation."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from foreshape_controller.config import ReclaimSettings
from foreshape_controller.decide.idle import Standing, Use
from foreshape_controller.decide.reclaim import Facts
from foreshape_controller.decide.tiers import BUILT_IN
from foreshape_controller.loops.calendar import Calendar
from foreshape_controller.loops.leads import LeadTimes
from foreshape_controller.loops.looking import Terms
from foreshape_controller.loops.reclaim import ReclaimLoop
from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.reclaim import Finding, Reclaim, State
from foreshape_controller.store import Store
from foreshape_wire.reading import Capability, LeverName
from foreshape_wire.sample import DomainCard, VmSample
from store_support import T0, card, report, sample, size

NOW = 1_767_571_200.0
DAY = 86400.0


def finding(goal: float = 0.1, **changes: object) -> Finding:
    """Idle, sold 8 cores; 0.07 cores and 30 % are 0.091."""
    words: dict[str, object] = {
        "kind": "idle",
        "entitlement": 8.0,
        "p99": 0.05,
        "top": 0.03,
        "day_peak": 0.07,
        "needed": 0.091,
        "goal": goal,
        "days": 7.0,
        "covered": 1.0,
    }
    return Finding(**(words | changes))  # type: ignore[arg-type]


def row(state: State = State.FOUND, **changes: object) -> Reclaim:
    """The CPU of vm-1, whose tier guarantees 0.4 cores."""
    words: dict[str, object] = {
        "server": "vm-1",
        "resource": "cpu",
        "state": state,
        "at": NOW,
        "why": "a test",
        "cause": "cause-1",
        "name": "web-1",
        "project": "p1",
        "tier": "economy",
        "tier_floor": 0.4,
        "floor": 0.4,
        "goal": 0.1,
        "finding": finding(),
    }
    return Reclaim(**(words | changes))  # type: ignore[arg-type]


def facts(**changes: object) -> Facts:
    """Found by a fresh look, nothing in the way, a give-back takes 80 s."""
    words: dict[str, object] = {
        "tier_floor": 0.4,
        "looked": True,
        "finding": finding(),
        "stated_s": 80.0,
        "stated_how": "60 s until the next plan, 20 s as measured",
    }
    return Facts(**(words | changes))  # type: ignore[arg-type]


def use(**changes: object) -> Use:
    """One server that used 0.05 of its cores in a whole week."""
    words = {"p99": 0.05, "top": 0.03, "covered": 1.0, "capped": 0.0, "doubtful": 0.0, "age_s": 30 * DAY} | changes
    return Use(**{k: np.atleast_1d(np.asarray(v, np.float64)) for k, v in words.items()})


def standing(**changes: object) -> Standing:
    """It was sold 8 cores, its day's peak is forecast at 0.07, and nothing speaks against it."""
    numbers = {"entitlement": 8.0, "day_peak": 0.07, "overhead": 0.0, "in_use": 0.0, "margin_share": 0.0}
    flags = {"odd": False, "event": False, "declared": False}
    columns = {k: np.atleast_1d(np.asarray(changes.get(k, v), np.float64)) for k, v in numbers.items()}
    bits = {k: np.atleast_1d(np.asarray(changes.get(k, v), bool)) for k, v in flags.items()}
    return Standing(**columns, **bits)


# -- on a real database -------------------------------------------------------------------------------------------------

SOLD = size(8.0, 8192.0)
"""Economy guarantees 5 % of the cores, 0.4, and 10 % of the memory, 819 MiB."""


class Told:
    """A controller's store that is told of servers on hv1, a report of five minutes at a time. Its clock is ``now``."""

    def __init__(self, path: Path, names: Sequence[str] = ("vm-1",), cores: float = 0.02, mib: float = 100.0) -> None:
        self.now = T0
        self.store = Store.open(f"sqlite:///{path}", synchronous="normal")
        self.names = names
        self.cores = dict.fromkeys(names, cores)
        self.mib = dict.fromkeys(names, mib)
        self.has = dict.fromkeys(names, SOLD)
        self.sold = dict.fromkeys(names, SOLD)
        self.project = "p1"
        self._sequence = 0

    def hours(self, hours: float) -> "Told":
        for _ in range(round(hours * 12)):
            self.report()
        return self

    def report(self, seconds: float = 300.0) -> None:
        """Time passes, and hv1 tells what its servers did meanwhile."""
        self.now += seconds
        self._sequence += 1
        samples = [self._sample(n, seconds) for n in self.names]
        at = self.now - 1  # inside the bin that ends now
        self.store.history.append(report(self._sequence, at=at, samples=samples, cards=tuple(self._card(n) for n in self.names)), at)
        if self._sequence == 1:
            for n in self.names:
                self.store.inventory.set_tier(n, "economy")

    def forecast(self, *, cpu: float = 0.03, memory: float = 110.0, soon: float | None = None) -> None:
        """The day's peak of everybody at its 95 % quantile, and the half-hour's."""
        for resource, peak in (("cpu", cpu), ("memory", memory)):
            self.store.forecasts.save(flat(resource, self.names, peak, peak if soon is None else soon, int(self.now)))

    def _sample(self, name: str, seconds: float) -> VmSample:
        told = sample(name, self.cores[name], self.mib[name], window_s=seconds)
        assert told.cpu
        assert told.memory
        has = self.has[name]
        return msgspec.structs.replace(
            told,
            cpu=msgspec.structs.replace(told.cpu, allocation=has.cpu),
            memory=msgspec.structs.replace(told.memory, allocation=has.memory),
        )

    def _card(self, name: str) -> DomainCard:
        levers = (
            Capability(lever=LeverName.CPU_QUOTA, lowest=0.01, highest=8.0, granule=0.01),
            Capability(lever=LeverName.MEM_BALLOON, lowest=64.0, highest=8192.0, granule=1.0),
        )
        made = card(name, project=self.project, cores=8.0, mib=8192.0)
        return msgspec.structs.replace(made, allocation=self.has[name], entitlement=self.sold[name], capabilities=levers)


def flat(resource: str, names: Sequence[str], day: float, soon: float, origin: int) -> Forecast:
    """The same value at every quantile and instant."""
    n, q = len(names), len(LEVELS)
    return Forecast(
        resource=resource,
        series=tuple(names),
        origin=origin,
        steps=np.full((n, 6, q), soon, np.float32),
        half_hours=np.full((n, 48, q), day, np.float32),
        peak30m=np.full((n, q), soon, np.float32),
        peak24h=np.full((n, q), day, np.float32),
        source=("baseline",) * n,
        reason=("a test",) * n,
        age_s=np.full(n, 1e6),
    )


def terms(**options: object) -> Terms:
    """Six hours of history, an hour's notice, a step an hour; a look each time."""
    words: dict[str, object] = {"enabled": True, "days": 0.25, "notice_s": 3600.0, "step_s": 3600.0, "find_every_s": 1.0, "rest_days": 1.0}
    return Terms(ReclaimSettings(**(words | options)), stale_after_s=600.0)  # type: ignore[arg-type]


def loop(store: Store, **options: object) -> ReclaimLoop:
    return ReclaimLoop(store, lambda: BUILT_IN, Calendar(store.events), LeadTimes(store.levers), terms(**options))
