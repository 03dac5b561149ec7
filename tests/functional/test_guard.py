"""The guard over a real store: halts and their trials, second controllers, missing measurements; what a plan may then order."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from litestar.testing import TestClient

from foreshape_controller.decide.orders import Ordering, release
from foreshape_controller.loops.guard import Guard, GuardTerms
from foreshape_controller.main import build
from foreshape_controller.model.columns import GROW, HOLD, SHRINK, PlanTable, Sizes
from foreshape_controller.model.plan import Plan
from foreshape_wire.order import Origin, Verdict
from foreshape_wire.quantity import Cores, Memory
from store_support import T0, card, decision, open_store, order, outcome, plan, report, sample, settings, sizing

pytestmark = pytest.mark.functional

SERVERS = tuple(f"vm-{i}" for i in range(1, 7))


def has(server, cores):
    """A sample of a server that has so many cores."""
    told = sample(server, min(1.0, cores / 2))
    return msgspec.structs.replace(told, cpu=msgspec.structs.replace(told.cpu, allocation=Cores(cores)))


class Cloud:
    """Two hosts with three servers each, time, and a guard."""

    def __init__(self, store, **safety):
        self.store, self.now, self.sequence, self.orders = store, T0, 0, 0
        self.cpu = dict.fromkeys(SERVERS, 1.0)
        terms = GuardTerms.of(settings_with(**safety))
        self.guard = Guard(store, terms)
        self.terms = terms
        self.tell(cards=True)

    def host(self, server):
        return "hv1" if int(server[3:]) <= 3 else "hv2"

    def tell(self, outcomes=(), hosts=("hv1", "hv2"), **more):
        """Every host reports what its servers have."""
        self.sequence += 1
        for host in hosts:
            mine = [s for s in SERVERS if self.host(s) == host]
            cards = [card(s, cores=4.0) for s in mine] if more.get("cards") else None
            told = [o for o in outcomes if o.server in mine]
            samples = [has(s, self.cpu[s]) for s in mine]
            self.store.history.append(report(self.sequence, self.now, samples, host=host, cards=cards, outcomes=tuple(told)), self.now)

    def look(self, seconds=0.0):
        self.now += seconds
        self.guard.look(self.view, self.now)
        return {h.scope: h for h in self.store.halts.all() if h.active}

    @property
    def view(self):
        return self.store.inventory.view(self.now)

    def order(self, server, **more):
        """A plan orders one change of one server; the order's id."""
        self.orders += 1
        name = f"ord-{self.orders}"
        decided = decision(self.now, server, self.host(server))
        self.store.journal.record(plan(self.now, decided, name=f"p-{name}"), [order(name, server, self.now, memory=None, **more)])
        return name

    def fail(self, server, verdict=Verdict.FAILED, code="no_effect"):
        name = self.order(server)
        self.now += 10
        told = outcome(name, verdict=verdict, server=server, at=self.now, code=code)
        self.store.journal.settle([told], self.now, self.host(server))

    def brakes(self):
        return self.guard.brakes(self.view, self.now)


def settings_with(**safety):
    base = settings(Path("/nowhere"))
    return replace(base, safety=replace(base.safety, **safety))


@pytest.fixture
def store():
    made = open_store()
    yield made
    made.close()


@pytest.fixture
def cloud(store):
    return Cloud(store)


# -- circuit breaker --------------------------------------------------------------------------------------------------


def test_three_failed_orders_in_a_row_halt_a_server_and_nobody_else(cloud):
    for _ in range(3):
        assert "server:vm-1" not in cloud.look()
        cloud.fail("vm-1")
    halt = cloud.look()["server:vm-1"]
    assert (halt.kind, halt.state, halt.until - halt.since) == ("failures", "open", 300)
    assert set(cloud.brakes().stopped) == {"vm-1"}
    assert cloud.brakes().notes == ("server:vm-1 is halted (failures): its last 3 orders failed, or nobody told what came of them",)


def test_what_an_agent_refused_is_no_failure(cloud):
    for _ in range(5):
        cloud.fail("vm-1", Verdict.REFUSED)
    assert cloud.look() == {}


def test_servers_that_are_deleted_meanwhile_are_no_failures_of_their_host(cloud):
    for server in ("vm-1", "vm-2", "vm-3") * 3:
        cloud.fail(server, code="domain_gone")
    assert cloud.look() == {}


def test_orders_of_which_nobody_tells_count_when_their_time_is_over_and_not_before(cloud):
    for _ in range(3):
        cloud.order("vm-1")
        cloud.now += 60  # the next one supersedes it
        cloud.tell()
    assert cloud.look(299 - 60) == {}, "the last of the three may still be carried out"
    cloud.now += 1
    assert cloud.look() == {}, "and told with the next report"
    cloud.now += 1
    cloud.tell()
    assert set(cloud.look()) == {"server:vm-1"}


def test_orders_that_no_agent_saw_count_for_nothing(cloud):
    """Plans come every two seconds here, and agents ask every ten: of five orders one is seen, and that one is carried out."""
    for _ in range(5):
        names = []
        for _ in range(5):
            cloud.now += 2
            names.append(cloud.order("vm-1"))
        told = outcome(names[-1], verdict=Verdict.APPLIED, server="vm-1", at=cloud.now)
        cloud.tell([told])
    cloud.now += 3600
    cloud.tell()
    cloud.now -= 2400  # within the window, and long after all of them ran out
    assert cloud.look() == {}
    ended = cloud.store.halts.ended(0.0, cloud.now)
    assert [r.good for r in ended] == [True] * 5


def test_a_silent_agents_orders_that_it_saw_count_two_minutes_after_their_end(cloud):
    for _ in range(3):
        cloud.order("vm-1")
        cloud.now += 10
        cloud.tell()
    for waited in (0, 300 + 80):
        assert not cloud.store.halts.ended(0.0, cloud.now + waited)
    assert [r.good for r in cloud.store.halts.ended(0.0, cloud.now + 300 + 120)] == [False] * 3


def test_after_its_time_a_halt_tries_one_order_and_a_good_one_ends_it(cloud):
    for _ in range(3):
        cloud.fail("vm-1")
    cloud.look()
    assert cloud.look(300)["server:vm-1"].state == "half_open"
    assert cloud.brakes().trials == {"vm-1": "server:vm-1"}
    name = cloud.order("vm-1")
    cloud.look(1)
    assert "is awaited" in cloud.brakes().stopped["vm-1"]
    cloud.store.journal.settle([outcome(name, server="vm-1", at=cloud.now)], cloud.now, "hv1")
    assert cloud.look(1) == {}
    assert cloud.brakes().stopped == {}


def test_a_trial_that_fails_halts_for_twice_as_long_and_a_restart_forgets_nothing(cloud):
    for _ in range(3):
        cloud.fail("vm-1")
    cloud.look()
    cloud.look(300)
    cloud.guard = Guard(cloud.store, cloud.terms)
    cloud.fail("vm-1")
    halt = cloud.look()["server:vm-1"]
    assert (halt.state, halt.trips, halt.until - halt.since) == ("open", 2, 600)


def test_a_host_is_halted_by_half_of_its_orders(cloud):
    for server in ("vm-1", "vm-2", "vm-3") * 2:
        cloud.fail(server)
    assert "host:hv1" in cloud.look()
    assert set(cloud.brakes().stopped) == {"vm-1", "vm-2", "vm-3"}


def released(cloud, *changes):
    """What a plan with these CPU changes (server, from, to) orders, and the codes of what is held."""
    n = len(changes)
    have, target = (np.array(column, float) for column in zip(*[c[1:] for c in changes], strict=True))
    nan, bits = np.full(n, np.nan), np.zeros(n, np.uint32)
    choice = np.select([target > have, target < have], [GROW, SHRINK], HOLD).astype(np.int32)
    code = np.full(n, 3, np.int32)
    cpu = Sizes("cpu", choice, code, have, target, target, have * 0, have * 9, nan, bits, bits)
    still = Sizes("memory", choice * 0, code, have, have, have, have * 0, have * 9, nan, bits, bits)
    names = tuple(c[0] for c in changes)
    hosts = tuple(cloud.host(s) for s in names)
    table = PlanTable("plan-x", cloud.now, names, hosts, ("standard",) * n, ("act",) * n, names, cpu, still)
    made = Plan(plan="plan-x", at=cloud.now, table=table)
    ids = iter(f"id-{i}" for i in range(99))
    after, orders = release(made, Ordering({s.id: s for s in cloud.view.servers}, {}, cloud.brakes()), lambda _: next(ids))
    return {o.server: o.cpu.cores for o in orders}, {d.server: d.cpu.code for d in after.decisions if d.cpu.choice == "hold"}


def test_while_halted_nothing_shrinks_and_growth_goes_back_to_what_was_sold_only(cloud):
    for _ in range(3):
        cloud.fail("vm-1")
    cloud.look()
    assert [s.entitlement.cpu.cores for s in cloud.view.servers] == [4.0] * 6
    assert released(cloud, ("vm-1", 2.0, 1.0)) == ({}, {"vm-1": "halted"})
    assert released(cloud, ("vm-1", 2.0, 4.5)) == ({}, {"vm-1": "halted"})
    assert released(cloud, ("vm-1", 2.0, 4.0), ("vm-2", 2.0, 1.0)) == ({"vm-1": 4.0, "vm-2": 1.0}, {})


def test_of_a_host_on_trial_one_server_is_shrunk(cloud):
    for server in ("vm-1", "vm-2", "vm-3") * 2:
        cloud.fail(server)
    cloud.look()
    cloud.tell()
    cloud.look(300)
    orders, held = released(cloud, *((s, 2.0, 1.0) for s in SERVERS))
    assert set(orders) == {"vm-1", "vm-4", "vm-5", "vm-6"}
    assert held == {"vm-2": "halted", "vm-3": "halted"}


def test_budgets_outlive_a_restart(store):
    cloud = Cloud(store, orders_per_minute=2)
    for server in ("vm-1", "vm-2"):
        cloud.order(server)
    cloud.guard = Guard(store, cloud.terms)
    cloud.now += 30
    assert released(cloud, ("vm-3", 2.0, 1.0)) == ({}, {"vm-3": "budget"})
    cloud.now += 30
    assert released(cloud, ("vm-3", 2.0, 1.0)) == ({"vm-3": 1.0}, {})


def test_amounts_are_counted_each_way_over_the_last_minute_and_shrunk_servers_over_the_hour(cloud):
    now = cloud.now
    for server, cpu, memory in (("vm-1", (2.0, 3.5), (2048.0, 1024.0)), ("vm-4", (3.0, 2.0), (512.0, 768.0))):
        decided = decision(now, server, cloud.host(server), cpu=sizing("cpu", *cpu), memory=sizing("memory", *memory))
        asked = order(f"o-{server}", server, now, cpu=Cores(cpu[1]), memory=Memory(memory[1]))
        cloud.store.journal.record(plan(now, decided, name=f"p-{server}"), [asked])
    spent = cloud.store.spending.lately(now + 30)
    assert (spent.orders, dict(spent.by_host)) == (2, {"hv1": 1, "hv2": 1})
    assert (spent.grow_cores, spent.shrink_cores, spent.grow_mib, spent.shrink_mib) == (1.5, 1.0, 256.0, 1024.0)
    later = cloud.store.spending.lately(now + 60)
    assert (later.orders, later.grow_cores, later.shrunk) == (0, 0.0, {"vm-1", "vm-4"})
    assert cloud.store.spending.lately(now + 3601).shrunk == set()


# -- second controllers -----------------------------------------------------------------------------------------------


def other(cloud, server, cpu):
    cloud.cpu[server] = cpu


def passes(cloud, seconds, every=30.0):
    """Time in which hosts report and the guard looks."""
    found = {}
    for _ in range(int(seconds / every)):
        cloud.now += every
        cloud.tell()
        found = cloud.look()
    return found


def test_a_size_that_nobody_ordered_holds_the_server_and_says_who_did_what(cloud):
    passes(cloud, 60)
    other(cloud, "vm-2", 2.5)
    assert passes(cloud, 90) == {}
    (waits,) = cloud.guard.halts(cloud.view, cloud.now).values()
    assert waits[1].startswith("it is not known yet who changed its cpu: from 1.00 to 2.50 cores at "), "an order of ours would hide it"
    halt = passes(cloud, 60)["server:vm-2"]
    assert halt.kind == "foreign"
    assert halt.reason.startswith("somebody else changed its cpu: from 1.00 to 2.50 cores at ")
    assert cloud.guard.halts(cloud.view, cloud.now) == {"vm-2": ("foreign", halt.reason)}


def test_what_we_ordered_is_ours_whether_its_outcome_came_or_not(cloud):
    passes(cloud, 60)
    cloud.order("vm-1")  # to 2 cores
    other(cloud, "vm-1", 2.0)
    assert passes(cloud, 300) == {}


def test_what_an_agent_did_by_itself_is_ours(cloud):
    passes(cloud, 60)
    other(cloud, "vm-1", 3.0)
    told = outcome("", server="vm-1", origin=Origin.REFLEX, at=cloud.now + 20, before=1.0, target=3.0, after=3.0)
    cloud.now += 30
    cloud.tell([told])
    assert passes(cloud, 300) == {}


def test_after_a_restart_the_last_proven_change_is_what_a_server_should_have(cloud):
    name = cloud.order("vm-1")
    other(cloud, "vm-1", 2.0)
    cloud.store.journal.settle([outcome(name, server="vm-1", at=cloud.now)], cloud.now, "hv1")
    passes(cloud, 3600, every=600)
    other(cloud, "vm-1", 3.2)  # while the controller was away
    cloud.guard = Guard(cloud.store, cloud.terms)
    assert set(passes(cloud, 150)) == {"server:vm-1"}


def test_several_servers_of_a_host_hold_the_host(cloud):
    passes(cloud, 60)
    for server in ("vm-1", "vm-2", "vm-3"):
        other(cloud, server, 2.7)
    found = passes(cloud, 150)
    assert found["host:hv1"].reason == "somebody else changed 3 servers there within the hour"
    assert set(cloud.guard.halts(cloud.view, cloud.now)) == {"vm-1", "vm-2", "vm-3"}


def test_who_comes_back_is_held_for_longer(cloud):
    passes(cloud, 60)
    other(cloud, "vm-1", 2.7)
    first = passes(cloud, 150)["server:vm-1"]
    passes(cloud, 600)
    other(cloud, "vm-1", 1.7)
    second = passes(cloud, 150)["server:vm-1"]
    assert (first.until - first.since, second.until - second.since) == (300, 600)


# -- missing measurements ---------------------------------------------------------------------------------------------


def test_silent_hosts_stop_shrinking_in_the_whole_cloud(store):
    cloud = Cloud(store)
    for i in range(3, 11):
        store.history.append(report(1, T0, [sample(f"x-{i}")], cards=[card(f"x-{i}")], host=f"hv{i}"), T0)
    cloud.now += 90
    cloud.tell()
    halt = cloud.look()["cloud"]
    assert (halt.kind, halt.reason[:26]) == ("outage", "8 of 10 hosts are silent: ")
    assert set(SERVERS) <= set(cloud.brakes().stopped)
    for i in range(3, 11):
        store.history.append(report(2, cloud.now, [sample(f"x-{i}")], host=f"hv{i}"), cloud.now)
    cloud.look()
    cloud.now += 300
    cloud.tell()
    for i in range(3, 11):
        store.history.append(report(3, cloud.now, [sample(f"x-{i}")], host=f"hv{i}"), cloud.now)
    assert cloud.look() == {}


# -- over the API -----------------------------------------------------------------------------------------------------


def test_halts_are_listed_shown_and_cleared(tmp_path):
    clock = [T0]
    program = build(settings(tmp_path, default_mode="act"), clock=lambda: clock[0])
    cloud = Cloud(program.store)
    cloud.guard = program.guard
    with TestClient(program.app) as api:
        api.headers["Authorization"] = f"Bearer {program.admin_token}"
        for _ in range(3):
            cloud.fail("vm-1")
        clock[0] = cloud.now
        program.guard.run_once(cloud.now)
        (halt,) = api.get("/v1/halts").json()
        assert (halt["scope"], halt["kind"], halt["state"], halt["trips"]) == ("server:vm-1", "failures", "open", 1)
        said = "server:vm-1 (failures): its last 3 orders failed, or nobody told what came of them"
        assert api.get("/v1/summary").json()["halts"] == [said]
        assert api.get("/v1/hosts/hv1").json()["halts"] == [said]
        assert api.get("/v1/hosts/hv2").json()["halts"] == []
        body = {"scope": "server:vm-1", "reason": "disk replaced"}
        assert [h["scope"] for h in api.post("/v1/halts/clear", json=body).json()] == ["server:vm-1"]
        assert api.get("/v1/halts").json() == []
        assert api.post("/v1/halts/clear", json=body).status_code == 404
        program.guard.run_once(cloud.now + 60)
        assert api.get("/v1/halts").json() == [], "what was before a person's word does not count"
    program.store.close()
