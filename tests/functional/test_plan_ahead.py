"""What a plan takes of foresight when somebody else makes the forecasts, and what it does until there are any."""

import msgspec
import numpy as np
import pytest

from decide_support import NOW, MemoryStore, history, host, numbered, server, size_of
from foreshape_controller.decide.segments import load_segments
from foreshape_controller.decide.tiers import BUILT_IN, load_tiers
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.loops.ahead import Belonging
from foreshape_controller.loops.foresight import Foresight, ForesightSettings
from foreshape_controller.loops.plan import PlanLoop, Sources
from foreshape_controller.model.server import ClusterView

pytestmark = [pytest.mark.functional, pytest.mark.usefixtures("every_line")]

BINS = 600
SEGMENTS = load_segments("segments: {web: [{name: 'web*'}], db: [{name: 'db*'}]}")


def world(servers, cpu=0.5):
    names = [s.id for s in servers]
    told = {
        "cpu": history(np.full((len(names), BINS), cpu), names=names),
        "memory": history(np.full((len(names), BINS), 1000.0), resource="memory", names=names, entitlement=4096.0),
    }
    return MemoryStore(ClusterView(at=NOW, hosts=(host(), host("hv2")), servers=tuple(servers)), told)


def looking(store, **words):
    return Foresight(store, Baseline, ForesightSettings(**words), segments=SEGMENTS)


def loop(store, foresight, tiers=BUILT_IN):
    return PlanLoop(store, foresight, Sources(lambda: tiers))


def codes(plan):
    return {(d.cpu.code, d.memory.code) for d in plan.decisions}


def test_a_plan_does_not_wait_for_forecasts_and_holds_until_there_are_some():
    store = world([server("web1"), server("db1")])
    foresight = looking(store)
    plans = loop(store, foresight)
    assert codes(plans.run_once(NOW, numbered(), look_ahead=False)) == {("no_forecast", "no_forecast")}
    assert store.saved == []
    foresight.run_once(NOW, store.cluster)  # the other job
    made = len(store.saved)
    assert "no_forecast" not in {code for pair in codes(plans.run_once(NOW + 60, look_ahead=False)) for code in pair}
    assert len(store.saved) == made


def test_the_log_says_how_old_the_forecasts_were_and_how_long_each_step_took(capsys):
    store = world([server("web1")])
    foresight = looking(store)
    foresight.run_once(NOW - 240, store.cluster)
    plans = loop(store, foresight)
    plans.run_once(NOW, look_ahead=False)
    said = capsys.readouterr().out
    assert "forecast_age_s={'cpu': 240.0, 'memory': 240.0}" in said
    steps = ("view", "ahead", "tiers", "histories", "held", "sources", "decide", "orders", "journal", "listeners")
    assert set(steps) <= plans.took.keys()
    assert "took={'view'" in said


def test_the_newest_forecasts_of_hosts_and_groups_are_there_for_the_plan():
    store = world([server("web1"), server("db1", host="hv2")])
    foresight = looking(store, forecast_every_s=300, slow_forecast_every_s=1800)
    foresight.run_once(NOW, store.cluster)
    foresight.run_once(NOW + 600, store.cluster)
    ahead = foresight.newest(store.cluster)
    assert set(ahead.whole["cpu"].series) == {"host:hv1", "host:hv2", "project:p1", "zone:nova", "segment:web", "segment:db"}
    assert ahead.whole["cpu"].peak30m[ahead.whole["cpu"].row("host:hv1"), 6] == pytest.approx(0.5, abs=0.1)
    assert ahead.groups.of["db1"] == ("host:hv2", "project:p1", "zone:nova", "segment:db")
    assert ahead.groups.members["segment:web"] == ("web1",)


def test_a_tier_given_by_segment_reaches_the_plan():
    tiers = load_tiers("assign: [{segment: db, tier: guaranteed}]")
    store = world([server("web1", tier=""), server("db1", tier="")])
    plan = loop(store, looking(store), tiers).run_once(NOW)
    assert {d.server: d.tier for d in plan.decisions} == {"web1": "standard", "db1": "guaranteed"}


def test_after_an_upgrade_what_a_server_has_counts_as_wanted_for_one_hold_time():
    """Three hours of CPU's hold, six of memory's: nothing shrinks before they have passed since the upgrade; growth goes on."""
    vms = [server("idle"), server("busy", allocation=size_of(0.4, 4096))]
    store = world(vms)
    store.wanted_since = lambda: NOW - 4 * 3600
    plan = loop(store, looking(store)).run_once(NOW)
    told = {d.server: d for d in plan.decisions}
    assert told["busy"].cpu.choice == "grow"
    assert told["idle"].cpu.choice == "shrink", "four hours are more than CPU's three"
    assert (told["idle"].memory.choice, told["idle"].memory.code) == ("hold", "hold_time"), "and less than memory's six"


def test_groups_follow_a_server_that_moves_changes_its_name_or_leaves():
    belonging = Belonging(SEGMENTS)

    def groups(*servers, classes=None):
        return dict(belonging.of(ClusterView(at=NOW, hosts=(host(),), servers=servers), classes or {}).of)

    assert groups(server("web1"), server("db1"))["web1"] == ("host:hv1", "project:p1", "zone:nova", "segment:web")
    assert groups(server("web1", host="hv2"), server("db1"))["web1"][0] == "host:hv2"
    assert groups(msgspec.structs.replace(server("web1"), name="db7"))["web1"][-1] == "segment:db"
    assert groups(server("web1", project="p2")) == {"web1": ("host:hv1", "project:p2", "zone:nova", "segment:web")}
