"""A forecast of a busy time that does not come, on a real database: what it made is taken back before the hold time is over.

One server of 8 cores uses 0.2 of them. From 07:00 to 08:00 the forecast expects 4. Plans are made every five minutes, and what they
want is given to the server at once. The same night with and without the downgrade, which is a source of the plan loop.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from foreshape_controller.decide.tiers import BUILT_IN
from foreshape_controller.loops.ahead import Ahead
from foreshape_controller.loops.downgrade import Downgrade
from foreshape_controller.loops.plan import PlanLoop, PlanSettings, Sources
from foreshape_controller.model.plan import Choice
from foreshape_wire.order import Mode
from reclaim_support import Told, flat
from store_support import T0, size

pytestmark = pytest.mark.functional

HOUR = 3600.0
BEGINS, ENDS = T0 + 7 * HOUR, T0 + 8 * HOUR
"""Of what is expected: after the six hours in which a young server is never shrunk."""
USUAL, EXPECTED = 0.2, 4.0


@dataclass
class Prophet:
    """Expects four cores for an hour, whatever comes."""

    told: Told

    def run_once(self, now, view):
        return {}

    def newest(self, view):
        now = self.told.now
        soon = EXPECTED if BEGINS - 1800 <= now < ENDS else 0.25
        return Ahead(servers={r: flat(r, self.told.names, 300.0, soon if r == "cpu" else 300.0, int(now)) for r in ("cpu", "memory")})


@dataclass
class Night:
    """What was seen every five minutes."""

    at: list = field(default_factory=list)
    has: list = field(default_factory=list)
    needs: list = field(default_factory=list)
    codes: list = field(default_factory=list)
    counts: dict = field(default_factory=dict)
    said: str = ""

    def unused(self, since, until):
        """Core-hours above what is needed."""
        return sum(max(0.0, h - n) for t, h, n in zip(self.at, self.has, self.needs, strict=True) if since <= t < until) / 12

    def short(self):
        return sum(n > h + 1e-9 for h, n in zip(self.has, self.needs, strict=True))


def night(path, needs, *, downgrade):
    """``needs``: cores by time."""
    told, seen = Told(path, cores=USUAL, mib=300.0), Night()
    told.store.modes.set("cloud", Mode.ACT, "test", T0)
    judge = Downgrade(told.store.journal)
    sources = Sources(lambda: BUILT_IN, missed=judge) if downgrade else Sources(lambda: BUILT_IN)
    loop = PlanLoop(told.store, Prophet(told), sources, PlanSettings(stale_after_s=600), listeners=(judge.add_up,))
    told.hours(5.5)
    while told.now < ENDS + 4 * HOUR:
        told.cores["vm-1"] = min(needs(told.now), told.has["vm-1"].cpu.cores)
        told.report()
        plan = loop.run_once(told.now)
        (decision,) = plan.decisions
        if told.now >= BEGINS - HOUR:
            seen.at.append(told.now)
            seen.has.append(told.has["vm-1"].cpu.cores)
            seen.needs.append(needs(told.now))
            seen.codes.append(decision.cpu.code if decision.cpu.choice is Choice.SHRINK else "")
            if decision.cpu.code == "forecast_missed":
                seen.said = decision.cpu.reason
        told.has["vm-1"] = size(decision.cpu.target, 8192.0)
    seen.counts = told.store.journal.counts()
    told.store.close()
    return seen


def nothing_comes(_now):
    return USUAL


def comes_late(now):
    """Three and a half cores, from forty minutes after the expected end on, for half an hour."""
    return 3.5 if ENDS + 2400 <= now < ENDS + 4200 else USUAL


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nights")
    made = {}
    for name, needs in (("nothing", nothing_comes), ("late", comes_late)):
        for downgrade in (True, False):
            made[name, downgrade] = night(folder / f"{name}-{downgrade}.db", needs, downgrade=downgrade)
    return made


def test_growth_is_made_ahead_either_way(nights):
    for it in nights.values():
        during = [h for t, h in zip(it.at, it.has, strict=True) if BEGINS <= t < ENDS]
        assert min(during) >= EXPECTED


def test_what_nobody_used_is_taken_back_sooner(nights):
    """The whole hold time is three hours. The wishes of the last half-hour before 08:00 are for 08:30; late peaks have until 09:00."""
    with_it, without = nights["nothing", True], nights["nothing", False]
    assert with_it.unused(ENDS, ENDS + HOUR - 600) == pytest.approx(without.unused(ENDS, ENDS + HOUR - 600)), "not at once"
    assert with_it.unused(ENDS, ENDS + 4 * HOUR) < 0.65 * without.unused(ENDS, ENDS + 4 * HOUR)


def test_it_goes_down_in_steps_and_says_why(nights):
    it = nights["nothing", True]
    taken = [h for t, h in zip(it.at, it.has, strict=True) if t >= ENDS]
    steps = [a - b for a, b in pairwise(taken) if b < a]
    assert len(steps) >= 3
    assert max(steps) <= 0.5 * EXPECTED
    assert "forecast_missed" in it.codes
    assert "was held for a peak that was forecast" in it.said


def test_a_peak_that_comes_late_is_met_as_well_as_before(nights):
    assert nights["late", True].short() <= nights["late", False].short()


def test_what_was_held_for_nothing_is_added_up(nights):
    """Four cores less 0.2, from the end of the first wishes' time until they are gone."""
    counted = {key: it.counts["ahead_unused_mcore_s"] / 3.6e6 for key, it in nights.items()}
    assert 1.0 < counted["nothing", True] < 8.0, "core-hours"
    assert nights["nothing", True].counts["ahead_unused_mib_s"] == 0


def test_without_a_forecast_nothing_is_doubted(nights):
    assert all(code != "forecast_missed" for (_, downgrade), it in nights.items() if not downgrade for code in it.codes)
