"""A tier whose forecasts are too narrow: it is short too often, learns a day at a time, and ends near its target.

The product's own plan, feedback and store over a SIMULATED cloud of one made-up demand: every server wants its daily curve and noise
around it, five minutes by five minutes. The forecast knows the curve and says four tenths of the noise.
"""

import logging
from itertools import pairwise

import numpy as np
import pytest
import structlog

from decide_support import NOW, host, numbered, server, size_of
from feedback_support import FakeDecided
from foreshape_controller.decide.feedback import FeedbackRule
from foreshape_controller.decide.known import Known
from foreshape_controller.decide.plan import make_plan
from foreshape_controller.decide.tiers import BUILT_IN
from foreshape_controller.loops.feedback import Feedback, FeedbackSettings, adapting
from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.history import History
from foreshape_controller.model.server import ClusterView
from foreshape_wire.reading import Capability, LeverName
from store_support import open_store

pytestmark = pytest.mark.simulation

QUOTA_8 = Capability(lever=LeverName.CPU_QUOTA, lowest=0.1, highest=8.0, granule=0.01)
SERVERS, STEP, HALF, DAY = 60, 300, 1800, 86400
NOISE, SAID = 0.15, 0.4
START = int(NOW // HALF + 1) * HALF
TARGET = BUILT_IN.tiers["economy"].violation_target


class Life:
    """Servers of tier economy, half-hour by half-hour; what is decided is there at once."""

    def __init__(self, rule: FeedbackRule | None, days: int, seed: int = 5) -> None:
        self.store, self.rule = open_store(), rule
        rng = np.random.default_rng(seed)
        bins = (days + 1) * 288
        hour = (START + STEP * (np.arange(bins) - 288)) / 3600
        curve = 1 + 0.5 * np.sin(2 * np.pi * hour / 24)
        self.middle = rng.uniform(1, 3, (SERVERS, 1)) * curve
        self.demand = np.maximum(0.05, self.middle * (1 + NOISE * rng.standard_normal((SERVERS, bins)))).astype(np.float32)
        self.had = np.full((SERVERS, bins), 8, np.float32)
        self.names = tuple(f"vm{i:02d}" for i in range(SERVERS))
        peaks = np.sort(rng.standard_normal((20_000, 6)).max(axis=1))
        fan = np.quantile(peaks, LEVELS)
        self.fan = 1 + NOISE * (fan[6] + SAID * (fan - fan[6]))
        self.tables = []
        self.store.decided = FakeDecided()
        self.store.history = self
        self.adapt = adapting(self.store.tier_factors, rule)
        self.feedback = Feedback(self.store, self, FeedbackSettings(rule))
        self.store.marks.settle({}, START)
        self.ids, self.headroom = numbered(), []
        for k in range(days * 48):
            self.live(START + k * HALF)

    step_s = STEP

    def current(self):
        return self.adapt(BUILT_IN)

    def at(self, t: float) -> int:
        return int(t - START) // STEP + 288

    def live(self, now: int) -> None:
        first = self.at(now)
        plan = make_plan(
            self.view(now),
            Known(forecasts={"cpu": self.forecast(now)}, histories={"cpu": self.past(now)}, tiers=self.current()),
            now,
            self.ids,
        )
        self.had[:, first : first + 6] = plan.table.cpu.target[:, None]
        self.store.decided = FakeDecided(plan.table)
        assert self.feedback.run_once(now + HALF + 2 * STEP) == 1
        found = self.store.tier_factors.all().get(("economy", "cpu"))
        self.headroom.append(found.headroom if found else 1.0)

    def view(self, now: int) -> ClusterView:
        has = self.had[:, self.at(now) - 1]
        quiet = {"tier": "economy", "entitlement": size_of(8, 4096), "ceiling": size_of(8, 4096), "last": None, "last_seen": now}
        servers = tuple(
            server(n, allocation=size_of(float(has[i]), 4096.0), capabilities=(QUOTA_8,), **quiet) for i, n in enumerate(self.names)
        )
        return ClusterView(at=now, hosts=(host(cpus=400, memory=1e6, last_seen=now),), servers=servers)

    def forecast(self, now: int) -> Forecast:
        first = self.at(now)
        peak = self.middle[:, first : first + 6].max(axis=1)[:, None] * self.fan
        return Forecast(
            resource="cpu",
            series=self.names,
            origin=now,
            steps=np.zeros((SERVERS, 6, 13), np.float32),
            half_hours=np.repeat(peak[:, None, :], 48, axis=1).astype(np.float32),
            peak30m=peak.astype(np.float32),
            peak24h=peak.astype(np.float32),
            source=("made up",) * SERVERS,
            reason=("the curve is known",) * SERVERS,
            age_s=np.full(SERVERS, 1e6),
        )

    def past(self, now: int) -> History:
        return self.read_lived("cpu", self.names, now, 72)

    def read_lived(self, resource: str, names, until: float, count: int) -> History:
        rows = [self.names.index(n) for n in names]
        end = self.at(until)
        need, had = self.demand[rows, max(0, end - count) : end], self.had[rows, max(0, end - count) : end]
        if resource == "memory":
            need, had = np.full_like(need, 500.0), np.full_like(had, 4096.0)
        short = count - need.shape[1]
        need, had = (np.pad(v, ((0, 0), (short, 0)), constant_values=np.nan) for v in (need, had))
        return History(
            resource=resource,
            series=tuple(names),
            start=int(until) - count * STEP,
            mean=need,
            max=need,
            coverage=np.isfinite(need).astype(np.float32),
            censored=np.zeros_like(need),
            entitlement=np.full(len(rows), 8.0, np.float32),
            first_seen=np.full(len(rows), float(START - 30 * DAY)),
            step_s=STEP,
            used=np.minimum(need, had),
            allocated=had,
        )

    def short_share(self, first_day: int, last_day: int) -> float:
        """Of all bins of these days, whatever feedback made of them."""
        span = slice(288 * (first_day + 1), 288 * (last_day + 1))
        return float((self.demand[:, span] > self.had[:, span]).mean())

    def allocated(self, day: int) -> float:
        span = slice(288 * (day + 1), 288 * (day + 2))
        return float(self.had[:, span].sum() / self.demand[:, span].sum())


@pytest.fixture(scope="module", autouse=True)
def quiet():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


@pytest.fixture(scope="module")
def learned() -> Life:
    return Life(FeedbackRule(), days=16)


def test_it_was_short_far_too_often_and_ends_near_its_target(learned):
    assert learned.short_share(1, 2) > 1.7 * TARGET
    assert learned.short_share(13, 16) == pytest.approx(TARGET, rel=0.3)


def test_it_got_there_by_more_headroom_a_day_at_a_time_and_inside_its_bounds(learned):
    days = learned.headroom[::48]
    assert days[0] == 1.0
    assert 1.2 < days[-1] < FeedbackRule().headroom[1]
    assert all(after <= before * np.exp(0.3) + 1e-9 for before, after in pairwise(days))
    assert learned.allocated(15) > learned.allocated(1)


def test_the_story_is_kept_with_the_factor(learned):
    factors = learned.store.tier_factors.all()
    assert "bins were short, 2.00% is the target" in factors["economy", "cpu"].reason
    assert factors["economy", "memory"].headroom == 1.0


def test_without_feedback_it_stays_short():
    still = Life(None, days=3)
    assert still.short_share(0, 1) > 1.5 * TARGET
    assert still.short_share(2, 3) > 1.7 * TARGET
