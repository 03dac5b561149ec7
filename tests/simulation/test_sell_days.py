"""Three weeks of a host whose customers buy whatever Placement lets them: SIMULATED demand, the product's own baseline forecast.

Week 1 is busy. Then its old customers go quiet. On day 18 at noon they come back, as the calendar of events says.
"""

from dataclasses import replace

import numpy as np
import pytest

from cloud_emulator import Emulator, running
from emulated_problem import Problem
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.model.history import BINS_PER_DAY, STEP_S, History
from sell_support import NOW, Bed

pytestmark = pytest.mark.simulation

DAY, HOUR_BINS = BINS_PER_DAY, 12
CORES = 100
EACH = 0.35
"""Cores that a newcomer's vCPU uses by day: less than the half that it is taken for."""
BACK = 18 * DAY + DAY // 2
"""Bin in which the old customers come back."""
BUSY, QUIET = 70.0, 18.0


def old(bin_: int) -> float:
    """Demand of the 100 vCPUs that were sold at the start: by day twice that of the night."""
    level = BUSY if bin_ < 7 * DAY or bin_ >= BACK else QUIET
    return level * (0.75 - 0.25 * np.cos(2 * np.pi * (bin_ % DAY) / DAY))


class Days:
    """The host, hour by hour."""

    def __init__(self, bed: Bed, *, sells: bool) -> None:
        self.bed, self.sells = bed, sells
        self.begin = int(NOW) - int(NOW) % STEP_S
        self.noise = np.random.default_rng(5)
        self.demand: list[float] = []
        self.sold = CORES
        self.ratios: list[float] = []
        for _ in range(10):
            bed.emulator.boot("hv1", vcpus=10, ram=1024)

    def hour(self) -> None:
        for _ in range(HOUR_BINS):
            newcomers = EACH * (self.sold - CORES)
            self.demand.append((old(len(self.demand)) + newcomers) * (1 + self.noise.normal(0, 0.03)))
        self.bed.now = self.begin + len(self.demand) * STEP_S
        if self.sells and len(self.demand) >= 2 * DAY:
            self.look()
        if len(self.demand) % DAY == 0:
            self.somebody_buys()
        self.ratios.append(self.bed.ratio)

    def look(self) -> None:
        forecasts = self.bed.store.forecasts
        found = Baseline().predict(self.history(), int(self.bed.now))
        forecasts.save(self.announced(found))
        forecasts.save(replace(found, resource="memory", **{k: getattr(found, k) * 0 + 1000 for k in ("half_hours", "peak30m", "peak24h")}))
        self.bed.look()

    def history(self) -> History:
        rows = np.array([self.demand[-14 * DAY :]], np.float32)
        full = np.ones_like(rows)
        start, sold = int(self.bed.now) - rows.shape[1] * STEP_S, np.array([100.0], np.float32)
        return History("cpu", ("host:hv1",), start, rows, rows, full, 0 * full, sold, np.array([float(self.begin)]))

    def announced(self, found):
        """As the calendar does with an event that begins at BACK: from then on what was there in the busy week comes on top."""
        starts = len(self.demand) + 6 * np.arange(48)
        extra = np.where(starts >= BACK, BUSY - QUIET, 0.0).astype(np.float32)
        more = {"half_hours": found.half_hours + extra[None, :, None], "peak30m": found.peak30m + extra[0]}
        return replace(found, peak24h=found.peak24h + extra.max(), **more)

    def somebody_buys(self) -> None:
        try:
            self.bed.emulator.boot("hv1", vcpus=5, ram=1024)
            self.sold += 5
        except Problem:
            pass  # no valid host: sold out

    def over(self) -> float:
        """Hours in which more was wanted than there is."""
        return float((np.array(self.demand) > CORES).sum()) / HOUR_BINS

    def held(self) -> int:
        return self.bed.emulator.placement.used(self.bed.provider)["VCPU"]


def test_free_capacity_is_sold_and_the_host_is_closed_before_its_customers_come_back():
    with running(Emulator()) as emulator:
        days = Days(Bed(emulator), sells=True)
        for _ in range(21 * 24):
            days.hour()
            assert days.held() <= int(CORES * days.bed.ratio), "never below what is allocated"
        days.bed.store.close()
    ratios = np.array(days.ratios)
    assert (ratios[: 7 * 24] == 1.0).all(), "a busy host sells nothing"
    back = BACK // HOUR_BINS
    assert ratios[back - 30] > 1.1, f"it was sold while it was quiet, and went to {ratios.max()}"
    before, by_then = ratios[back - 7], ratios[back - 1]
    assert by_then < before, "moved back ahead of the rise"
    assert (ratios[back:] <= by_then).all()
    always = oversold(ratios.max())
    told = f"ratio up to {ratios.max():g}, {days.sold - CORES} vCPUs sold"
    print(f"{told}; over capacity {days.over():.1f} h of 504, always so sold {always:.1f} h")
    assert days.sold > CORES
    assert days.over() == 0.0, "never more is wanted than there is"
    assert always > 5.0, "as it would be without moving back"


def oversold(ratio: float) -> float:
    """The same customers on a host that always had the ratio that ours had at its height."""
    with running(Emulator()) as emulator:
        days = Days(Bed(emulator), sells=False)
        emulator.placement.providers[days.bed.provider].inventories["VCPU"]["allocation_ratio"] = float(ratio)
        for _ in range(21 * 24):
            days.hour()
        days.bed.store.close()
    return days.over()
