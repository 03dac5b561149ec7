"""A guest with a recurring load gets its CPU before the rise because of the forecast, and does not with the forecast off.

Two real guests on two real hypervisors run the same load by their own clocks: 6 s busy in every 36 s. Each has its own
agent and controller; nothing differs but ``[plan] forecast``: auto and off. What a guest could use is read from virsh and
from its own console, and the rise is told by the guest itself. Between two recurrences both are shrunk to their floor.

Times are compressed: a bin of 2 s stands for five minutes, the half-hour ahead is 12 s, the day 576 s. To find a period
the forecaster needs somewhat more than a day of it. So that nobody waits for ten minutes, both controllers are told
three earlier days of the same load before the agents start: over HTTPS, as an enrolled agent would report them. From then on
everything is live. With FORESHAPE_AHEAD_LIVE=1 nothing is told and the guests run until their own past is long enough (14 minutes, on a
machine without other work: what was learned under contention is noisy, and leaves less between two recurrences).
"""

import time
from dataclasses import dataclass

import pytest
from foreshape_lab.judge import Ahead

from ahead_support import BUSY_S, LEARNED_S, PERIOD_S, Arm, two_arms
from lab_support import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(720 + LEARNED_S)]

COUNTED, MOST = 3, 2
"""Recurrences that are judged, and how many of them make a claim."""
BEFORE_S = 1.0
"""A lead that is worth the name: more than two looks."""
SMALL_S = 3.0
"""A recurrence is judged if the guest had been small for so long before it: of 30 quiet seconds a forecast that comes 12 s
ahead leaves 18, a look back over 12 s leaves 18, and the way down takes the rest. Nobody is early by always having enough."""
SOURCES = ("baseline", "net", "blend")
BY_PEAK, NEAR_CAP = "predicted peak", "in use, its margin included, is above"
"""The two reasons for which CPU may grow in a quiet time; the second is a guest's own noise near the cap that it was shrunk to."""


@dataclass
class Story:
    """Both arms after enough recurrences."""

    ahead: Arm
    behind: Arm
    changed: tuple[int, int, int]
    """Decisions changed by the forecast: where it is on, before the recurrences that are judged and after them; where it is off."""
    all: dict[str, list[Ahead]]
    """By arm: every recurrence since both were small for the first time."""

    @property
    def seen(self) -> dict[str, list[Ahead]]:
        """Those that are judged."""
        return {name: worth(recurrences)[:COUNTED] for name, recurrences in self.all.items()}

    def __str__(self) -> str:
        lines = [
            f"{name:5} small {r.small_s:4.1f} s, enough {said(r.lead_s)} before the rise, too little for {r.late_s:3.1f} s"
            for name, recurrences in self.all.items()
            for r in recurrences
        ]
        reflexes = f"reflexes under load: {self.reflexes(self.ahead)} and {self.reflexes(self.behind)}"
        changed = "decisions changed by the forecast: {} and then {} with it, {} without".format(*self.changed)
        return "\n".join([*lines, reflexes, changed])

    def leads(self, arm: Arm) -> list[float]:
        return [r.lead_s for r in self.seen[arm.forecast] if r.lead_s is not None]

    def late_s(self, arm: Arm) -> float:
        return sum(r.late_s for r in self.seen[arm.forecast])

    def reflexes(self, arm: Arm) -> int:
        return sum(arm.reflexes(r.rise) for r in self.seen[arm.forecast])


@pytest.fixture(scope="module")
def story():
    with two_arms(("auto", "off")) as (ahead, behind):
        played = play(ahead, behind)
        print(f"\n{played}")
        yield played


def play(ahead: Arm, behind: Arm) -> Story:
    """Until both have been small once, then three recurrences of each that found it small."""
    arms, begun = (ahead, behind), time.time()
    eventually(lambda: time.time() - begun >= LEARNED_S, "a past of their own", LEARNED_S + 5, every_s=1)
    since = max(eventually(arm.small_at, f"{arm.guest.name} shrunk while quiet", 5 * PERIOD_S) for arm in arms)
    since = max(since + SMALL_S, begun + LEARNED_S)
    before = ahead.changed_by_forecast()
    eventually(
        lambda: min(len(worth(arm.recurrences(since))) for arm in arms) >= COUNTED,
        f"{COUNTED} recurrences after a quiet time",
        3 * (COUNTED + 1) * PERIOD_S,
    )
    changed = (before, ahead.changed_by_forecast(), behind.changed_by_forecast())
    return Story(ahead, behind, changed, {arm.forecast: arm.recurrences(since) for arm in arms})


def worth(recurrences: list[Ahead]) -> list[Ahead]:
    return [r for r in recurrences if r.small_s >= SMALL_S]


def said(lead_s: float | None) -> str:
    return "never" if lead_s is None else f"{lead_s:+5.1f} s"


def test_with_the_forecast_the_cpu_is_there_before_the_load(story):
    early = [lead for lead in story.leads(story.ahead) if lead >= BEFORE_S]
    assert len(early) >= MOST, story


def test_with_the_forecast_off_it_never_is(story):
    leads = story.leads(story.behind)
    assert len(leads) == COUNTED, f"it grew each time, sooner or later: {story}"
    assert max(leads) <= BEFORE_S / 2, story
    assert sum(lead <= 0 for lead in leads) >= MOST, story


@pytest.mark.parametrize("name", ["auto", "off"])
def test_most_of_the_time_each_was_really_small_between_two_recurrences(story, name):
    assert len(worth(story.all[name])) > len(story.all[name]) / 2, story


def test_the_guest_that_was_waited_for_lacked_less(story):
    assert story.late_s(story.ahead) < story.late_s(story.behind), story


def test_and_its_agent_had_less_pressure_to_answer(story):
    assert story.reflexes(story.ahead) < story.reflexes(story.behind), story


def test_why_says_that_the_forecast_did_it_and_which_one(story):
    """Of most recurrences; growth may have come in two steps, and each is asked about."""
    each = [[line for at in story.ahead.early_growth(r.rise) for line in why(story.ahead, at)] for r in story.seen["auto"]]
    told = [line for lines in each for line in lines]
    grown = [[line for line in lines if line.startswith("CPU grows")] for lines in each]
    assert all(BY_PEAK in line or NEAR_CAP in line for lines in grown for line in lines), grown
    assert sum(any(BY_PEAK in line for line in lines) for lines in grown) >= MOST, grown
    assert 2 * sum(BY_PEAK in line for lines in grown for line in lines) > sum(map(len, grown)), "most for the peak"
    forecasts = [line for line in told if "Forecast: peak of" in line and "cores" in line]
    assert all(any(f"by {source} from" in line for source in SOURCES) for line in forecasts), told
    assert sum("Without a forecast the same rules would have chosen" in line and "cores" in line for line in told) >= MOST, told


def test_and_without_one_it_says_that_nobody_looked_ahead(story):
    rise = story.seen["off"][-1].rise
    assert any("Nobody looked ahead, [plan] forecast is off" in line for line in why(story.behind, rise + BUSY_S))


def test_decisions_changed_by_the_forecast_are_counted_where_there_is_one(story):
    before, after, without = story.changed
    assert after >= before + MOST, story
    assert without == 0, story


def test_early_growth_was_ordered_and_carried_out(story):
    """The lead is the plan's doing, not the reflex's: an order, and its outcome with a proof, before the load."""
    proven = [r for r in story.seen["auto"] if story.ahead.proven_growth(r.rise)]
    assert len(proven) >= MOST, story


def why(arm: Arm, at: float) -> list[str]:
    """What the operator's command says of that moment; a millisecond later, for a moment rounded down was before the decision."""
    return [line.strip() for line in arm.controller.ask("why", arm.guest.name, "--at", f"{at + 0.001:.3f}")["sentences"]]
