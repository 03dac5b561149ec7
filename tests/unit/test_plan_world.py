"""A plan over a whole world: what is odd, silent or unknown is held with a reason, and nobody else notices."""

import re
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decide_support import BALLOON, HOUR, NOW, QUOTA, history, host, numbered, sample, server, size_of
from foreshape_controller.decide.known import Known, Limits
from foreshape_controller.decide.plan import NAMED, make_plan
from foreshape_controller.decide.tiers import load_tiers
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.model.cap import Cap
from foreshape_controller.model.columns import CODES
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.plan import Choice
from foreshape_controller.model.server import ClusterView
from foreshape_wire.ids import CauseKey
from foreshape_wire.order import Mode
from foreshape_wire.reading import Capability, LeverName
from long_support import LONG

pytestmark = pytest.mark.unit


def known(servers, **more):
    """Steady use of half a core and 1000 MiB."""
    names = [s.id for s in servers]
    rows = {"cpu": 0.5, "memory": 1000.0}
    sold = {"cpu": 4.0, "memory": 4096.0}
    histories = {r: history(np.full((len(names), 600), rows[r]), resource=r, names=names, entitlement=sold[r]) for r in RESOURCES}
    return Known(forecasts={r: Baseline().predict(h, int(NOW)) for r, h in histories.items()}, histories=histories, **more)


def plan_of(servers, facts=None, hosts=None):
    view = ClusterView(at=NOW, hosts=tuple(hosts or (host(),)), servers=tuple(servers))
    with np.errstate(all="raise"):  # what is odd is found, not stumbled over
        return make_plan(view, facts or known(servers), NOW, numbered())


def _forced(cpu, memory):
    """A size that cannot be made: what a broken database could hold."""
    size = size_of(1.0, 1.0)
    for part, name, value in ((size.cpu, "cores", cpu), (size.memory, "mib", memory)):
        msgspec.structs.force_setattr(part, name, value)
    return size


def lever(name, **more):
    return Capability(lever=name, lowest=more.get("lowest", 0.1), highest=more.get("highest", 4.0), granule=more.get("granule", 0.01))


ODD = {
    "no vCPU sold": {"entitlement": _forced(0.0, 4096.0)},
    "a flavor of 1 PiB": {"entitlement": _forced(4.0, 2.0**30)},
    "an allocation that is none": {"allocation": _forced(float("nan"), float("nan"))},
    "a negative allocation": {"allocation": _forced(-1.0, -1.0)},
    "an endless ceiling": {"ceiling": _forced(float("inf"), float("inf"))},
    "a lever without an end": {"capabilities": (lever(LeverName.CPU_QUOTA, highest=float("inf")), BALLOON)},
    "a lever that begins below nothing": {"capabilities": (lever(LeverName.CPU_QUOTA, lowest=-1.0), BALLOON)},
    "a granule that is none": {"capabilities": (lever(LeverName.CPU_QUOTA, granule=float("nan")), BALLOON)},
}


@pytest.mark.parametrize("what", ODD)
def test_a_server_with_impossible_numbers_is_held_and_named(what):
    vms = [server("vm1"), server("vm2", **ODD[what]), server("vm3")]
    plan = plan_of(vms)
    by_name = {d.server: d for d in plan.decisions}
    held = [s for s in (by_name["vm2"].cpu, by_name["vm2"].memory) if s.code == "odd_data"]
    assert held
    assert all(s.choice is Choice.HOLD and "make no sense" in s.reason for s in held)
    assert any(note.startswith("vm2: ") for note in plan.notes)
    alone = {d.server: d for d in plan_of([vms[0], vms[2]]).decisions}
    for name in ("vm1", "vm3"):
        assert (by_name[name].cpu, by_name[name].memory) == (alone[name].cpu, alone[name].memory)


def test_many_odd_servers_are_counted_and_not_all_named():
    vms = [server(f"vm{i}", entitlement=_forced(0.0, 4096.0)) for i in range(NAMED + 5)]
    notes = [n for n in plan_of(vms).notes if "cannot be decided" in n]
    assert len(notes) == NAMED + 1
    assert notes[-1] == "5 more cannot be decided for the like"


def test_a_forecast_that_is_no_number_holds_that_server_alone():
    vms = [server("vm1"), server("vm2")]
    facts = known(vms)
    facts.forecasts["cpu"].peak30m[1] = np.nan
    cpu = {d.server: d.cpu for d in plan_of(vms, facts).decisions}
    assert (cpu["vm1"].choice, cpu["vm2"].code, cpu["vm2"].peak) == (Choice.SHRINK, "odd_data", None)


def test_a_server_whose_project_and_host_are_gone_is_stale():
    vms = [server("vm1", project="", host="nowhere"), server("vm2")]
    plan = plan_of(vms)
    codes = {d.server: (d.cpu.code, d.memory.code) for d in plan.decisions}
    assert plan.notes == ("1 hosts of servers are unknown, nothing changes there: nowhere",)
    assert codes["vm1"] == ("stale", "stale")
    assert codes["vm2"] == ("peak_below", "peak_below")


def test_a_host_without_memory_or_processors_gives_floors_and_no_more():
    vms = [server("vm1", allocation=size_of(0.45, 4096)), server("vm2", allocation=size_of(0.2, 4096))]
    found = {d.server: d.cpu for d in plan_of(vms, hosts=[host(cpus=0, memory=0)]).decisions}
    assert 0.4 <= found["vm1"].target <= 0.45, "10 % of 4 cores are its floor: kept, and nothing is added to what it has"
    assert found["vm2"].target == 0.4, "its floor was promised: given, whatever the host says that it has"


def test_a_clock_that_jumped_back_is_not_stale_and_one_that_is_none_is():
    codes = [d.cpu.code for d in plan_of([server("vm1", last_seen=NOW + 500), server("vm2", last_seen=float("nan"))]).decisions]
    assert codes == ["peak_below", "stale"]


def test_causes_follow_the_plan_and_are_names_that_the_wire_takes():
    plan = plan_of([server("vm1"), server("vm2")])
    causes = [d.cause for d in plan.decisions]
    assert len(set(causes)) == 2
    stem = plan.plan.removeprefix("plan-")
    assert all(re.fullmatch(rf"cause-{re.escape(stem)}-\d+", msgspec.convert(c, CauseKey)) for c in causes)


def test_rows_that_act_are_those_that_change_where_the_mode_allows_it():
    vms = [server("vm1"), server("vm2", mode=Mode.ADVISE), server("vm3", last_seen=NOW - 500)]
    plan = plan_of(vms)
    assert [plan.table.servers[i] for i in plan.acting] == ["vm1"]
    assert [plan.table.servers[i] for i in plan.table.moving] == ["vm1", "vm2"]
    assert [d.acts for d in plan.decisions] == [True, False, False]
    assert plan.told(plan.acting) == plan.decisions[:1]
    assert plan.changes == plan.decisions[:2]
    assert plan.decision("vm2") == plan.decisions[1]
    assert plan.decision("nobody") is None


def test_halts_hold_in_the_words_of_whoever_halts():
    vms = [server("vm1"), server("vm2", last_seen=NOW - 500), server("vm3")]
    halts = {"vm1": ("foreign_change", "somebody else set its quota"), "vm2": ("foreign_change", "likewise")}
    found = {d.server: d.cpu for d in plan_of(vms, known(vms, halts=halts)).decisions}
    assert (found["vm1"].code, found["vm1"].reason) == ("foreign_change", "somebody else set its quota")
    assert found["vm2"].code == "stale", "what is not heard of comes first"
    assert found["vm3"].choice is Choice.SHRINK
    assert "foreign_change" not in CODES


def test_a_cap_an_agreed_floor_and_an_anomaly_reach_their_server_only():
    vms = [server(f"vm{i}", allocation=size_of(2.0, 4096), tier="economy" if i == 2 else "") for i in range(1, 5)]
    cap = Cap(id="cap-1", scope="server:vm1", resource="cpu", amount=1.2, since=NOW, until=NOW + HOUR, reason="too loud")
    facts = known(vms, caps={"cpu": {"vm1": cap}}, agreed={"cpu": {"vm2": 1.3}}, anomalous={"cpu": frozenset({"vm3"})})
    found = {d.server: d.cpu for d in plan_of(vms, facts).decisions}
    assert (found["vm1"].target, found["vm1"].code) == (1.2, "capped")
    assert "too loud" in found["vm1"].reason
    assert (found["vm2"].target, found["vm2"].floor) == (1.3, 1.3)
    assert (found["vm3"].code, found["vm3"].choice) == ("anomalous", Choice.HOLD)
    assert found["vm4"].target == 1.0, "one step of the standard tier takes half"


def test_a_floor_that_was_lowered_counts_no_longer_in_a_tier_that_forbids_it():
    """Economy's floor of 0.2 was lowered to 0.1; then somebody put the server into guaranteed, which keeps half of its four cores."""
    for tier, floor in (("economy", 0.1), ("guaranteed", 2.0)):
        vm = server(tier=tier)
        (decided,) = plan_of([vm], known([vm], agreed={"cpu": {"vm1": 0.1}})).decisions
        assert decided.cpu.floor == floor


def test_two_shrinks_are_apart_as_long_as_the_tier_says():
    vms = [server("vm1"), server("vm2")]
    patient = load_tiers("tiers: {standard: {cpu: {step_s: 1800}}}")
    found = {d.server: d.cpu.code for d in plan_of(vms, known(vms, tiers=patient, last_shrunk={"cpu": {"vm1": NOW - 600}})).decisions}
    assert found == {"vm1": "step_time", "vm2": "peak_below"}


def test_a_slow_lever_makes_its_server_grow_for_a_rise_that_the_half_hour_does_not_hold():
    vms = [server(name, allocation=size_of(1.0, 4096), last=sample(name, cpu=0.5)) for name in ("quick", "slow")]
    facts = known(vms, leads={"cpu": {"quick": 10.0, "slow": 40 * 60.0}}, limits=Limits(ahead_s=90.0))
    facts.forecasts["cpu"].half_hours[:, 1] = 3.0
    found = {d.server: d.cpu for d in plan_of(vms, facts).decisions}
    assert found["slow"].choice is Choice.GROW
    assert (found["slow"].target, found["slow"].peak.half_hours) == (3.0, 1)
    assert found["quick"].choice is not Choice.GROW
    assert found["quick"].peak.half_hours == 0


def test_a_forecast_that_nobody_renewed_lets_servers_grow_and_never_shrink():
    vms = [server("idle"), server("busy", allocation=size_of(0.4, 4096), last=sample("busy", cpu=0.3))]
    facts = known(vms)
    old = {r: replace(f, origin=f.origin - 2 * 3600) for r, f in facts.forecasts.items()}
    found = {d.server: d.cpu for d in plan_of(vms, replace(facts, forecasts=old)).decisions}
    assert (found["idle"].code, found["idle"].choice) == ("forecast_old", Choice.HOLD)
    assert found["busy"].choice is Choice.GROW


def test_where_nothing_was_forecast_nothing_is_the_forecasts_doing():
    found = plan_of([server("vm1")], replace(known([server("vm1")]), forecasts={})).decisions[0].cpu
    assert (found.code, found.changed_by_forecast) == ("no_forecast", False)


worlds = st.lists(
    st.tuples(
        st.floats(0.2, 4), st.sampled_from(["guaranteed", "standard", "economy"]), st.sampled_from(["hv1", "hv2", "nowhere"]), st.booleans()
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=max(20, LONG // 50), deadline=None)
@given(worlds, st.randoms(use_true_random=False))
def test_the_order_of_servers_and_hosts_means_nothing(rows, random):
    vms = [
        server(f"vm{i}", allocation=size_of(a, 4096), tier=tier, host=on, capabilities=(QUOTA, BALLOON) if some else ())
        for i, (a, tier, on, some) in enumerate(rows)
    ]
    hosts = [host("hv1", cpus=4), host("hv2", cpus=2)]
    facts = known(vms)
    found = {d.server: (d.cpu, d.memory) for d in plan_of(vms, facts, hosts).decisions}
    shuffled = random.sample(vms, len(vms))
    again = {d.server: (d.cpu, d.memory) for d in plan_of(shuffled, facts, hosts[::-1]).decisions}
    assert again == found
