"""Two tenants on one host that has too little for both: the higher tier keeps its demand, the lower one goes down to its floor.

One real hypervisor, two real guests of two projects; a tiers file says who is what. Both want 0.6 cores, and the host may hand out
0.95 ([plan] cpu_ratio), so that one of them has to give. What each really got is told by its own console (the load daemon measures
the CPU seconds that its programs had); what it was allowed by virsh. In the middle of it the controller is killed, and started again.

One story is played once, and every test asks one thing of it. A bin of 1 s stands for five minutes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from foreshape_lab import Agent, Controller, Guest, GuestSpec, Variant, Watch

from lab_support import a_bed, eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

SHOP, LAB = "aaaaaaaa000000000000000000000001", "bbbbbbbb000000000000000000000002"
"""Their projects."""

QUIET, BUSY = 0.05, 0.5
"""Cores that the guests' programs want."""

CPU_RATIO, FLOOR = 0.475, 0.2
"""Of two CPUs 0.95 cores may be handed out. Busy costs a guest some 0.65, kernel and emulation included: 0.3 are left for the other."""

GRANULE = 0.05

FED = 0.85 * BUSY
"""What a guest's programs get that lack nothing: they measure by the clock, and the machine has other work."""

HELD_S = 12.0
"""So long each state is looked at."""

TIERS = f"""\
default: low
granules: {{cpu: {GRANULE}, memory: 8.0}}
tiers:
  high:
    weight: 4
    throttle_order: 3
    cpu: {{quantile: 0.9, floor_share: 0.3, floor_least: 0.3, hold_s: 4, shrink_step_share: 0.9, young_s: 4}}
    memory: {{quantile: 0.9, floor_share: 1.0}}
  low:
    weight: 1
    throttle_order: 1
    cpu: {{quantile: 0.9, floor_share: {FLOOR}, floor_least: {FLOOR}, hold_s: 4, shrink_step_share: 0.9, young_s: 4}}
    memory: {{quantile: 0.9, floor_share: 1.0}}
assign:
  - {{project: {SHOP}, tier: high}}
  - {{project: {LAB}, tier: low}}
"""

OPTIONS = {
    "history": {"step_s": 1},
    "plan": {"cpu_ratio": CPU_RATIO, "interval_s": 1, "forecast_every_s": 1, "forecast": "off", "order_ttl_s": 30},
}


@dataclass
class Story:
    """The scene after the play, and what was seen in each act: (from, to), seconds since the epoch."""

    controller: Controller
    watch: Watch
    alone: tuple[float, float]
    both: tuple[float, float]
    orphaned: tuple[float, float]
    again: tuple[float, float]
    after: tuple[float, float]
    why: list[str]
    needs: list[dict[str, object]]

    def given(self, name: str, act: tuple[float, float]) -> list[float]:
        """Cores that virsh said it may use."""
        return [a.cpu for a in self.watch[name].allocations if act[0] <= a.at <= act[1]]

    def got(self, name: str, act: tuple[float, float]) -> float:
        """Cores that its own programs had, middle of what its console said."""
        said = sorted(s.got for s in self.watch[name].seen if act[0] <= s.at <= act[1])
        assert said, f"the console of {name} said nothing in {act}"
        return said[len(said) // 2]

    def __str__(self) -> str:
        return "\n".join(self.line(what, name) for what in ("alone", "both", "orphaned", "again", "after") for name in ("shop", "batch"))

    def line(self, what: str, name: str) -> str:
        act = getattr(self, what)
        given = self.given(name, act)
        return f"{what:9} {name:5} may use {min(given):.2f} to {max(given):.2f} cores, got {self.got(name, act):.2f}"


@pytest.fixture(scope="module")
def story():
    with a_bed() as bed:
        host = bed.hosts[0]
        guests = bed.start_all([(host, tenant("shop", SHOP)), (host, tenant("batch", LAB))])
        controller = Controller(bed, variant=Variant(options=OPTIONS, tiers=TIERS)).start()
        agent = Agent(host, controller, static_after_s=120)
        try:
            agent.enrol().start().wait_for_report()
            with Watch(guests) as watch:
                played = play(controller, watch, {g.name: g for g in guests})
                print(f"\n{played}")
                yield played
        finally:
            agent.kill()
            controller.kill()


def tenant(name: str, project: str) -> GuestSpec:
    return GuestSpec(name, vcpus=1, memory=96, nova=True, project=project, agent=False, lean=False, cpu=str(QUIET))


def play(controller: Controller, watch: Watch, guests: dict[str, Guest]) -> Story:
    """The lower tier busy alone; both; both without a controller; with it again; the lower alone again."""
    shop, batch = guests["shop"], guests["batch"]
    batch.load(cpu=BUSY)
    eventually(lambda: cores(watch, "shop") <= 0.35 and fed(watch, "batch"), "the quiet one small, the busy one fed", 60)
    alone = look()
    shop.load(cpu=BUSY)
    eventually(lambda: fed(watch, "shop") and throttled(watch), "the higher tier fed, the lower one throttled", 40)
    both = look()
    why = [line.strip() for line in controller.ask("why", "batch")["sentences"]]
    controller.kill()
    orphaned = look()
    controller.start()
    eventually(newer(watch, time.time()), "a look after the start", 10)
    eventually(lambda: fed(watch, "shop") and throttled(watch), "the same again under the new controller", 40)
    again = look()
    needs = controller.ask("need", "list", "--all")
    shop.load(cpu=QUIET)
    eventually(lambda: fed(watch, "batch"), "the lower tier recovered", 60)
    return Story(controller, watch, alone, both, orphaned, again, look(), why, needs)


def look() -> tuple[float, float]:
    """An act: watched for a while."""
    begun = time.time()
    eventually(lambda: time.time() - begun >= HELD_S, "the time of an act", HELD_S + 5)
    return begun, time.time()


def newer(watch: Watch, than: float) -> Callable[[], bool]:
    return lambda: watch["shop"].allocations[-1].at > than


def cores(watch: Watch, name: str) -> float:
    looks = watch[name].allocations
    return looks[-1].cpu if looks else 99.0


def fed(watch: Watch, name: str) -> bool:
    """Whether its console said three times in a row that its programs had what they want."""
    said = watch[name].seen[-3:]
    return len(said) == 3 and all(s.want == BUSY and s.got >= FED for s in said)


def throttled(watch: Watch) -> bool:
    return cores(watch, "batch") <= 0.35 + 1e-6


def test_alone_the_lower_tier_has_all_it_wants(story):
    assert story.got("batch", story.alone) >= FED, story


def test_when_both_want_more_than_there_is_the_higher_tier_keeps_its_demand(story):
    assert story.got("shop", story.both) >= FED, story


def test_and_the_lower_one_is_throttled_and_its_own_console_says_so(story):
    assert max(story.given("batch", story.both)) < BUSY, story
    assert story.got("batch", story.both) < 0.7 * BUSY, story


def test_down_to_its_floor_or_what_the_other_leaves(story):
    assert min(story.given("batch", story.both)) <= 2 * CPU_RATIO - BUSY, story


def test_but_never_below_its_floor(story):
    begun, end = story.alone[0], story.after[1]
    assert min(story.given("batch", (begun, end))) >= FLOOR - 1e-6, story


def test_both_together_hold_no_more_than_the_host_may_hand_out(story):
    together = [a + b for a, b in zip(story.given("shop", story.both), story.given("batch", story.both), strict=False)]
    assert min(together) <= 2 * CPU_RATIO + GRANULE, story


def test_while_the_controller_is_dead_everything_stays_as_it_was(story):
    assert story.got("shop", story.orphaned) >= FED, story
    assert max(story.given("batch", story.orphaned)) < BUSY, story


def test_started_again_it_comes_to_the_same(story):
    assert story.got("shop", story.again) >= FED, story
    assert max(story.given("batch", story.again)) < BUSY, story


def test_the_lower_tier_recovers_when_the_load_ends(story):
    assert story.got("batch", story.after) >= FED, story


def test_why_says_that_the_host_is_short(story):
    assert any("is short" in line or "fit host" in line for line in story.why), story.why


def test_who_gave_and_who_got_is_on_record(story):
    query = "select sum(amount) as amount from transfers where resource = 'cpu' and giver = ? and taker = ? and at between ? and ?"
    rows = story.controller.rows(query, "tier:low", "tier:high", story.alone[1], story.again[1])
    assert rows[0]["amount"] > GRANULE, "what the lower tier had above its share went to the higher one"


def test_what_nobody_on_the_host_could_meet_was_called_a_need(story):
    assert any(n["host"] and n["resource"] == "cpu" for n in story.needs), story.needs
