"""Pools on an emulated cloud over HTTP: booted, held small by plans, claimed, refilled, replaced, given up; and what goes wrong."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.pool import CLAIMED_KEY, SHADOW_KEY, Fallback, State
from foreshape_wire.order import Mode
from pool_support import HOSTS, PROJECT, World, world

pytestmark = pytest.mark.functional


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, whole=True) as made:
        yield made


@pytest.fixture
def advised(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, Mode.ADVISE) as made:
        yield made


# -- the good way


def test_a_pool_is_filled_and_held_small_by_orders_of_plans(whole: World) -> None:
    w = whole
    w.pool()
    w.warm()
    w.until(lambda: all(w.size(s.server) == (0.1, 256.0) for s in w.ready()), "two small ones")
    (reason,) = {o.order.reason for o in w.store.journal.orders(w.ready()[0].server)}
    assert "shadow VM of pool web" in reason
    assert {s.metadata[SHADOW_KEY] for s in w.servers()} == {s.id for s in w.ready()}


def test_who_was_claimed_keeps_what_was_sold_for_a_day_whatever_it_used_while_it_waited(whole: World) -> None:
    w = whole
    w.pool(least=1, most=1)
    w.warm(1)
    w.until(lambda: w.size(w.ready()[0].server) == (0.1, 256.0), "a small one")
    server = w.claim("shop").server
    w.later(1.0, plan=False)
    assert w.size(server) == (2.0, 2048.0)
    for _ in range(50):  # longer than CPU is held after it was wanted, and short enough for orders to be heard
        w.later(240.0)
    assert w.size(server) == (2.0, 2048.0)


def test_an_agent_holds_the_cpu_of_who_waits_and_no_more_once_it_is_claimed(whole: World) -> None:
    w = whole
    w.pool(least=1, most=1)
    w.warm(1)
    w.later()
    waits = w.ready()[0].server

    def held() -> list[tuple[str, float]]:
        w.report()
        guards = [g for reply in w.told.values() for g in reply.guards if g.server == waits]
        return [(c.resource, c.amount) for g in guards for c in g.caps]

    assert held() == [("cpu", 0.1)]
    w.claim("shop")
    assert held() == []


def test_a_claim_takes_a_warm_one_grows_it_and_the_pool_refills(whole: World) -> None:
    w = whole
    w.pool()
    w.warm()
    w.until(lambda: w.size(w.ready()[0].server) == (0.1, 256.0), "a small one")
    got = w.claim("shop", owner="ann")
    assert (got.hit, got.name, got.project) == (True, "shop", PROJECT)
    server = w.emulator.nova.servers[got.server]
    assert (server.name, server.metadata[CLAIMED_KEY]) == ("shop", "ann")
    w.later(1.0, plan=False)  # one report of the agent brings the order
    assert w.size(got.server) == (2.0, 2048.0)
    w.later(1.0)
    assert w.store.pools.shadow(got.shadow).state is State.HANDED_OVER
    w.warm()
    assert got.server not in {s.server for s in w.ready()}


def test_a_claimed_one_keeps_what_was_sold_under_later_plans(whole: World) -> None:
    w = whole
    w.pool()
    w.warm()
    w.until(lambda: w.size(w.ready()[0].server) == (0.1, 256.0), "a small one")
    got = w.claim()
    for _ in range(20):
        w.later(60.0)
    assert w.size(got.server) == (2.0, 2048.0)


def test_the_newest_plan_is_still_the_clouds_after_a_claim(whole: World) -> None:
    w = whole
    w.pool()
    w.warm()
    w.later()
    newest = w.store.journal.latest_plan()
    w.until(lambda: w.size(w.ready()[0].server)[0] == 0.1, "a small one")
    newest, got = w.store.journal.latest_plan(), w.claim()
    assert w.store.journal.latest_plan() == newest
    decision = w.store.journal.decisions(got.server, limit=1)[0]
    assert (decision.cpu.code, decision.at) == ("claimed", w.at)
    assert w.store.journal.caused(decision.cause) == decision


def test_two_claims_never_get_the_same_one(w: World) -> None:
    w.pool(least=1, most=1, fallback=Fallback.NONE)
    w.warm(1)

    def claim(name: str) -> str:
        try:
            return w.claim(name).server
        except NotFound:
            return ""

    with ThreadPoolExecutor(4) as four:
        got = list(four.map(claim, ["a", "b", "c", "d"]))
    assert sorted(bool(g) for g in got) == [False, False, False, True]
    assert len([c for c in w.store.pools.claims(w.store.pools.find("web").id, 0) if c.hit]) == 1


def test_ports_are_made_before_the_boot_and_go_with_a_retired_one(w: World) -> None:
    pool = w.pool(networks=(w.network,))
    w.warm()
    ports = {p for s in w.ready() for p in s.ports}
    assert ports == set(w.emulator.neutron.ports) == {p for s in w.servers() for p in s.ports}
    w.store.pools.delete(pool.id, w.at)
    w.until(lambda: not w.servers() and not w.emulator.neutron.ports, "nothing left")
    assert {s.state for s in w.shadows()} == {State.GONE}


def test_a_deleted_pool_leaves_what_was_claimed(w: World) -> None:
    pool = w.pool(networks=(w.network,))
    w.warm()
    got = w.claim()
    w.store.pools.delete(pool.id, w.at)
    w.until(lambda: [s.id for s in w.servers()] == [got.server], "only the claimed one")
    for _ in range(5):
        w.later(600.0)
    assert [s.id for s in w.servers()] == [got.server]
    assert set(w.emulator.neutron.ports) == set(w.emulator.nova.servers[got.server].ports)


def test_a_new_image_of_the_name_replaces_every_shadow_vm(w: World) -> None:
    w.pool()
    w.warm()
    newer = w.emulator.glance.add("cirros")
    w.until(lambda: {s.image for s in w.ready()} == {newer} and len(w.ready()) == 2, "two of the new image")
    w.until(lambda: {s.image for s in w.servers()} == {newer}, "the old ones gone")


def test_an_old_shadow_vm_is_replaced(w: World) -> None:
    w.pool(max_age_s=600.0)
    w.warm()
    first = {s.id for s in w.ready()}
    w.until(lambda: not first & {s.id for s in w.ready()} and len(w.ready()) == 2, "younger ones", times=120)


def test_demand_that_does_not_come_shrinks_the_pool_to_its_least(w: World) -> None:
    w.pool(least=1, most=4, expected_h=100.0, idle_cost_h=20.0)
    w.warm(4)
    w.until(lambda: len(w.ready()) == 1 and len(w.servers()) == 1, "one", seconds=30.0)


# -- what is not done


def test_in_advise_everything_is_proposed_and_nothing_is_asked(advised: World) -> None:
    w = advised
    pool = w.pool()
    before = len(w.emulator.requests)
    w.later()
    decided = w.store.pools.decided(pool.id)
    assert decided is not None
    assert (decided.boot, decided.act) == (2, False)
    assert "advise" in decided.not_done
    assert not w.shadows()
    assert not [r for r in w.emulator.requests[before:] if r.split()[1] != "GET"]


def test_a_stop_holds_boots_claims_and_deletions(w: World) -> None:
    pool = w.pool()
    w.warm()
    w.store.modes.stop("cloud", "a test", w.at)
    w.store.pools.delete(pool.id, w.at)
    w.later()
    w.later()
    assert len(w.servers()) == 2
    with pytest.raises(NotFound):
        w.claim()
    w.store.modes.resume("cloud", "a test", w.at)
    w.until(lambda: not w.servers(), "nothing left")


def test_a_claim_while_stopped_says_why(w: World) -> None:
    w.pool()
    w.warm()
    w.store.modes.stop("cloud", "a test", w.at)
    with pytest.raises(Invalid, match="observe"):
        w.claim()
    assert len(w.ready()) == 2


def test_a_cloud_that_cannot_be_read_freezes_boots_and_deletions(w: World) -> None:
    w.pool()
    w.fails("compute GET /servers/detail", times=99, status=500)
    w.later()
    w.later()
    assert not w.asked("compute POST /servers ")
    w.emulator.faults.clear()
    w.warm()


# -- what goes wrong


def test_a_quota_is_told_and_the_next_boot_waits(w: World) -> None:
    pool = w.pool()
    w.emulator.nova.boots.quota = 0
    for _ in range(4):
        w.later()
    decided = w.store.pools.decided(pool.id)
    assert decided is not None
    assert any("next one is tried in" in p for p in decided.problems)
    assert any("Quota exceeded" in s.why for s in w.shadows())
    tried = w.asked("compute POST /servers ")
    w.later()
    assert w.asked("compute POST /servers ") == tried
    w.emulator.nova.boots.quota = None
    w.warm()


def test_a_boot_that_ends_in_error_is_cleared_away_and_tried_again(w: World) -> None:
    w.pool(networks=(w.network,))
    w.emulator.nova.boots.errors = 2
    w.until(lambda: len(w.shadows(State.GONE)) == 2, "two cleared away")
    w.warm()
    assert len(w.servers()) == len(w.emulator.neutron.ports) == 2


def test_a_boot_without_an_answer_is_found_by_its_name(w: World) -> None:
    w.pool(least=1, most=1)
    w.fails("compute POST /servers$", "lost")
    w.warm(1)
    assert w.asked("compute POST /servers ") == 1
    assert [s.id for s in w.servers()] == [w.ready()[0].server]


def test_a_boot_that_never_arrived_is_given_up_after_a_while(w: World) -> None:
    w.pool(least=1, most=1)
    w.fails("compute POST /servers$", "drop")
    w.warm(1)
    assert [s.state for s in w.shadows()] == [State.GONE, State.READY]


def test_one_that_no_agent_reports_is_given_up(tmp_path: Path) -> None:
    with world(tmp_path, boot_limit_s=60.0) as w:
        w.deaf.update(HOSTS)
        w.pool(least=1, most=1)
        w.until(lambda: bool(w.shadows(State.GONE)), "one given up")
        assert "no agent reports it" in w.shadows(State.GONE)[0].why


def test_an_image_that_goes_stops_boots_and_keeps_who_waits(w: World) -> None:
    pool = w.pool()
    w.warm()
    w.emulator.glance.images[0]["status"] = "deactivated"
    got = w.claim()
    w.later()
    w.later()
    decided = w.store.pools.decided(pool.id)
    assert got.hit
    assert decided is not None
    assert any("image" in p for p in decided.problems)
    assert len(w.ready()) == 1
    assert w.asked("compute POST /servers ") == 2


def test_who_vanishes_is_lost_and_made_anew(w: World) -> None:
    w.pool()
    w.warm()
    w.emulator.nova.delete(w.ready()[0].server)
    w.until(lambda: len(w.ready()) == 2 and bool(w.shadows(State.LOST)), "another one")


def test_one_that_vanished_is_not_claimed(w: World) -> None:
    w.pool()
    w.warm()
    with w.emulator.lock:
        for s in w.ready()[:1]:
            w.emulator.nova.delete(s.server)
    assert w.claim().server in {s.id for s in w.servers()}


def test_one_that_vanishes_while_it_is_claimed_is_lost_and_the_next_one_is_taken(w: World) -> None:
    w.pool()
    w.warm()
    w.fails("compute POST .*/metadata", status=404)
    got = w.claim("shop")
    assert (got.hit, got.state) == (True, "claimed")
    assert w.emulator.nova.servers[got.server].name == "shop"
    assert len(w.shadows(State.LOST)) == 1


def test_nova_may_be_away_while_a_claim_is_told_and_hears_of_it_later(w: World) -> None:
    w.pool()
    w.warm()
    w.fails("compute POST .*/metadata", times=2, status=503)
    got = w.claim("shop")
    assert (got.hit, got.state) == (True, "claimed")
    assert "later" in got.note
    w.until(lambda: w.store.pools.shadow(got.shadow).state is State.HANDED_OVER, "the hand-over")
    assert w.emulator.nova.servers[got.server].name == "shop"


def test_a_server_that_its_operator_took_the_tag_from_is_his(w: World) -> None:
    w.pool()
    w.warm()
    server = w.emulator.nova.servers[w.ready()[0].server]
    server.metadata.pop(SHADOW_KEY)
    w.until(lambda: bool(w.shadows(State.LOST)), "one lost")
    for _ in range(5):
        w.later(60.0)
    assert server.id in w.emulator.nova.servers


def test_a_locked_one_is_not_deleted(w: World) -> None:
    pool = w.pool(least=1, most=1)
    w.warm(1)
    server = w.emulator.nova.servers[w.ready()[0].server]
    server.locked = True
    w.store.pools.delete(pool.id, w.at)
    for _ in range(4):
        w.later()
    assert server.id in w.emulator.nova.servers
    server.locked = False
    w.until(lambda: not w.servers(), "it gone")


def test_one_broken_pool_does_not_stop_another(w: World) -> None:
    lost = w.emulator.neutron.add_network()
    broken = w.pool(name="broken", networks=(lost,))
    del w.emulator.neutron.networks[lost]
    w.pool()
    w.warm()
    decided = w.store.pools.decided(broken.id)
    assert decided is not None
    assert any(lost in s.why for s in w.store.pools.shadows(broken.id))


@pytest.mark.parametrize("network", ["NOPE", "0f0f0f0f-0000-4000-8000-000000000001", "../ports"])
def test_a_pool_on_a_network_that_is_not_there_is_refused(w: World, network: str) -> None:
    with pytest.raises(Invalid, match=r"networks: .*openstack network list"):
        w.pool(networks=(w.network, network))
    assert not w.store.pools.all()


# -- misses


def test_a_claim_that_finds_none_boots_cold_for_its_owner_alone(w: World) -> None:
    pool = w.pool(least=0, most=1)
    got = w.claim("shop")
    assert (got.hit, got.state) == (False, "booting")
    w.until(lambda: bool(w.shadows(State.HANDED_OVER)), "a cold one handed over")
    server = w.emulator.nova.servers[got.server]
    assert (server.name, server.metadata[CLAIMED_KEY]) == ("shop", "shop")
    report = w.work.report(pool, 0.0, w.at)
    assert (report.hits, report.misses) == (0, 1)


def test_a_pool_without_a_fallback_refuses_and_counts_the_miss(w: World) -> None:
    pool = w.pool(least=0, most=1, fallback=Fallback.NONE)
    with pytest.raises(NotFound, match="no shadow VM ready"):
        w.claim()
    assert w.work.report(pool, 0.0, w.at).misses == 1
    w.until(lambda: bool(w.shadows()), "a larger pool after the miss")


@pytest.mark.parametrize("words", [{"name": ""}, {"name": "a/b"}, {"project": "another"}, {"owner": "x" * 200}])
def test_a_claim_that_makes_no_sense_is_refused_and_counts_as_none(w: World, words: dict[str, str]) -> None:
    pool = w.pool()
    with pytest.raises(Invalid):
        w.claim(**{"name": "shop", **words})
    assert not w.store.pools.claims(pool.id, 0)


@pytest.mark.parametrize(
    ("words", "says"),
    [({"project": "another"}, "credentials"), ({"image": "no-such"}, "image"), ({"flavor": "no-such"}, "flavor"), ({"most": 0}, "most")],
)
def test_a_pool_that_cannot_be_is_refused(w: World, words: dict[str, str], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        w.pool(**words)
    assert not w.store.pools.all()


def test_a_name_is_taken_once_and_free_again_after_the_pools_end(w: World) -> None:
    pool = w.pool()
    with pytest.raises(Invalid, match="already"):
        w.pool()
    w.store.pools.delete(pool.id, w.at)
    assert w.pool().id != pool.id


# -- leaks


def test_what_is_left_behind_of_ours_is_deleted_and_nothing_else(w: World) -> None:
    """A server of a record that is over; another controller's; a claimed one whose record says gone; one in another project."""
    pool = w.pool(least=1, most=1)
    w.warm(1)
    w.store.pools.delete(pool.id, w.at)
    w.until(lambda: bool(w.shadows(State.GONE)), "a record that is over")
    record, nova = w.shadows(State.GONE)[0], w.emulator.nova
    left, others, claimed, foreign = (nova.servers[nova.boot()] for _ in range(4))
    for server, ident in ((left, record.id), (others, "shadow-unknown"), (claimed, record.id), (foreign, record.id)):
        server.metadata, server.project = {SHADOW_KEY: ident}, PROJECT
    claimed.metadata[CLAIMED_KEY], foreign.project = "ann", "another"
    del nova.servers[foreign.id], nova.servers[claimed.id]
    for server, stays in ((left, False), (claimed, True), (foreign, True)):
        nova.servers = {others.id: others, server.id: server}
        for _ in range(4):
            w.later(60.0)
        assert (server.id in nova.servers, others.id in nova.servers) == (stays, True)


def test_a_late_boot_of_a_given_up_one_is_swept(w: World) -> None:
    w.pool(least=1, most=1)
    w.fails("compute POST /servers$", "drop")
    w.until(lambda: bool(w.shadows(State.GONE)), "one given up")
    late = w.emulator.nova.servers[w.emulator.nova.boot()]
    late.metadata, late.project = {SHADOW_KEY: w.shadows(State.GONE)[0].id}, PROJECT
    w.until(lambda: late.id not in w.emulator.nova.servers, "the late one gone")


def test_who_waits_is_no_finding_of_reclamation(whole: World) -> None:
    w = whole
    assert w.program is not None
    w.pool()
    w.warm()
    assert w.program.reclaim._world(w.at).servers.keys().isdisjoint(s.server for s in w.ready())
    got = w.claim()
    assert got.server in w.program.reclaim._world(w.at).servers


def test_who_waits_costs_no_request_of_its_own(w: World) -> None:
    w.pool()
    w.warm()
    before = w.asked("compute GET /servers/")
    detail = w.asked("compute GET /servers/detail")
    for _ in range(5):
        w.later()
    assert w.asked("compute GET /servers/") - before == w.asked("compute GET /servers/detail") - detail


def test_one_odd_pool_does_not_stop_the_others(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    w.pool(name="odd")
    w.pool()
    whole = w.work._decide

    def decide(pool: Any, *about: Any) -> Any:
        if pool.name == "odd":
            raise ValueError("a number that is none")
        return whole(pool, *about)

    monkeypatch.setattr(w.work, "_decide", decide)
    w.warm()
    told = w.store.pools.decided(w.store.pools.find("odd").id)
    assert told is not None
    assert "a number that is none" in told.not_done
