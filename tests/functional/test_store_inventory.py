"""Hosts, servers, owners and modes as the decisions see them."""

import pytest

from foreshape_controller.errors import Invalid
from foreshape_wire.ids import HostName
from foreshape_wire.order import Mode, Origin
from foreshape_wire.quantity import Memory
from foreshape_wire.reading import DomainState
from foreshape_wire.sample import Gap
from store_support import DAY, T0, card, decision, open_store, outcome, plan, report, sample, size

pytestmark = [pytest.mark.functional, pytest.mark.engines]


@pytest.fixture
def store():
    return open_store()


def only(view):
    (server,) = view.servers
    return server


def test_a_server_is_in_the_view_once_its_card_is_known(store):
    store.history.append(report(1, T0 + 10), T0 + 10)
    assert store.inventory.view(T0 + 11).servers == ()
    assert store.inventory.steering(HostName("hv1"), T0 + 11).cards_wanted
    store.history.append(report(2, T0 + 20, cards=[card(name="web-1", project="p1")]), T0 + 20)
    server = only(store.inventory.view(T0 + 21))
    assert (server.name, server.project, server.host, server.tier) == ("web-1", "p1", "hv1", "")
    assert (server.first_seen, server.last_seen) == (T0 + 10, T0 + 20)
    assert server.entitlement == size(2.0, 2048.0)
    assert server.allocation == size(2.0, 1024.0)  # the sample's, where it has one
    assert server.last == sample()
    assert not store.inventory.steering(HostName("hv1"), T0 + 21).cards_wanted


def test_a_silent_host_and_its_servers_stay_in_the_view_with_their_age(store):
    store.history.append(report(1, T0 + 10, cards=True), T0 + 10)
    view = store.inventory.view(T0 + DAY)
    assert view.hosts[0].last_seen == only(view).last_seen == T0 + 10
    assert store.inventory.view(T0 + 8 * DAY).hosts == ()


def test_an_old_report_does_not_overwrite_the_newest(store):
    store.history.append(report(9, T0 + 90, [sample(cores=2.0)], cards=True), T0 + 90)
    store.history.append(report(3, T0 + 30, [sample(cores=1.0)], safe_mode="cut off"), T0 + 95)
    server = only(store.inventory.view(T0 + 96))
    assert server.last.cpu.demand.cores == 2.0
    assert store.inventory.view(T0 + 96).hosts[0].safe_mode == ""


def test_a_server_that_moves_belongs_to_its_new_host_with_its_old_card_until_the_new_one_comes(store):
    store.history.append(report(1, T0 + 10, cards=True), T0 + 10)
    store.history.append(report(1, T0 + 12, host="hv2"), T0 + 12)  # both report it: the first keeps it
    assert only(store.inventory.view(T0 + 13)).host == "hv1"
    store.history.append(report(2, T0 + 20, []), T0 + 20)  # hv1 no longer has it
    released = only(store.inventory.view(T0 + 21))
    assert (released.host, released.last_seen, released.last) == ("hv1", T0 + 10, sample())
    store.history.append(report(2, T0 + 22, host="hv2"), T0 + 22)
    server = only(store.inventory.view(T0 + 23))
    assert (server.host, server.last_seen) == ("hv2", T0 + 22)
    assert server.entitlement == size(2.0, 2048.0)
    assert store.inventory.steering(HostName("hv2"), T0 + 23).cards_wanted
    store.history.append(report(3, T0 + 32, [sample()], host="hv2", cards=[card(cores=4.0)]), T0 + 32)
    assert only(store.inventory.view(T0 + 33)).ceiling.cpu.cores == 4.0
    assert not store.inventory.steering(HostName("hv2"), T0 + 33).cards_wanted
    # of the 22 s in which somebody reported it, the twelfth second's report of hv2 was not counted: 10 s + 10 s + 10 s
    assert store.history.read("cpu", ["vm-1"], T0 + 40, 1).coverage[0, 0] == pytest.approx(30 / 300)


def test_the_paused_copy_on_a_migration_s_target_takes_nothing(store):
    store.history.append(report(1, T0 + 10, [sample(state=DomainState.MIGRATING)], cards=True), T0 + 10)
    store.history.append(report(2, T0 + 20, []), T0 + 20)
    store.history.append(report(1, T0 + 21, [sample(state=DomainState.PAUSED)], host="hv2", cards=True), T0 + 21)
    assert only(store.inventory.view(T0 + 22)).host == "hv1"
    store.history.append(report(2, T0 + 31, host="hv2"), T0 + 31)
    assert only(store.inventory.view(T0 + 32)).host == "hv2"


def test_a_server_that_is_gone_leaves_the_view_after_ten_minutes_and_its_history_stays(store):
    store.history.append(report(1, T0 + 10, cards=True), T0 + 10)
    store.history.append(report(2, T0 + 20, []), T0 + 20)
    assert only(store.inventory.view(T0 + 600)).id == "vm-1"
    assert store.inventory.view(T0 + 621).servers == ()
    assert store.history.read("cpu", ["vm-1"], T0 + 621, 3).coverage.sum() > 0
    store.history.append(report(3, T0 + 700), T0 + 700)
    assert only(store.inventory.view(T0 + 701)).id == "vm-1"


def test_what_the_spool_thinned_is_kept_for_people(store):
    store.history.append(report(9, T0 + 90), T0 + 90)
    store.history.append(report(2, T0 + 20, gap=Gap(since=T0, until=T0 + 3600, reports=180)), T0 + 95)
    store.history.append(report(10, T0 + 100), T0 + 100)
    assert store.inventory.details()["hv1"].gap == "180 reports between 2026-01-05T00:00:00Z and 2026-01-05T01:00:00Z"


def test_the_lowest_mode_wins(store):
    store.history.append(report(1, T0 + 10, cards=[card(project="p1")]), T0 + 10)
    assert only(store.inventory.view(T0 + 11)).mode is Mode.ADVISE  # the product's default
    store.modes.set("cloud", Mode.ACT, "trial", T0)
    assert only(store.inventory.view(T0 + 11)).mode is Mode.ACT
    for scope in ("host:hv1", "project:p1", "server:vm-1"):
        store.modes.set(scope, Mode.OBSERVE, "", T0)
        assert only(store.inventory.view(T0 + 11)).mode is Mode.OBSERVE
        assert store.modes.effective("hv2") is Mode.ACT
        store.modes.unset(scope)
    store.modes.set("cloud", Mode.OBSERVE, "stop", T0)
    store.modes.set("server:vm-1", Mode.ACT, "", T0)
    assert store.modes.effective("hv1", "p1", "vm-1") is Mode.OBSERVE


@pytest.mark.parametrize("scope", ["", "cluster", "host:", "host", "vm:1", "Cloud"])
def test_a_scope_that_is_none_is_refused(store, scope):
    with pytest.raises(Invalid, match="write cloud, host:NAME"):
        store.modes.set(scope, Mode.ACT, "", T0)


def test_guards_are_the_newest_decision_s_floor_else_what_was_sold(store):
    store.history.append(report(1, T0 + 10, [sample(), sample("vm-2")], cards=True), T0 + 10)
    store.journal.record(plan(T0 + 15, decision(T0 + 15)), [])
    guards = {g.server: g for g in store.inventory.steering(HostName("hv1"), T0 + 16).guards}
    assert guards["vm-1"].floor == size(0.5, 512.0)
    assert guards["vm-2"].floor == guards["vm-2"].entitlement == size(2.0, 2048.0)


def test_memory_given_back_under_pressure_is_a_floor_for_a_day(store):
    store.history.append(report(1, T0 + 10, cards=True), T0 + 10)
    reflex = outcome("", "memory", origin=Origin.REFLEX, target=1500.0, at=T0 + 20)
    store.history.append(report(2, T0 + 20, outcomes=(reflex,)), T0 + 20)
    assert only(store.inventory.view(T0 + 21)).raised_floor == Memory(1500.0)
    assert only(store.inventory.view(T0 + 21 + DAY)).raised_floor is None
    assert store.journal.counts()["reflexes"] == 1


def test_a_give_back_dated_in_the_future_binds_no_longer_than_one_of_now(store):
    """Seen on a real guest: an agent's clock one hour ahead held its guest's floor up for that hour more."""
    store.history.append(report(1, T0 + 10, cards=True), T0 + 10)
    reflex = outcome("", "memory", origin=Origin.REFLEX, target=1500.0, at=T0 + 20 + 3600)
    store.history.append(report(2, T0 + 20, outcomes=(reflex,)), T0 + 20)
    assert only(store.inventory.view(T0 + 19 + DAY)).raised_floor == Memory(1500.0)
    assert only(store.inventory.view(T0 + 21 + DAY)).raised_floor is None


def test_a_give_back_told_late_does_not_shorten_a_newer_one(store):
    store.history.append(report(1, T0 + 10, cards=True), T0 + 10)
    newer = outcome("", "memory", origin=Origin.REFLEX, target=1500.0, at=T0 + 3600)
    older = outcome("", "memory", origin=Origin.REFLEX, target=1400.0, at=T0 + 20)
    store.history.append(report(3, T0 + 3600, outcomes=(newer,)), T0 + 3600)
    store.history.append(report(2, T0 + 20, outcomes=(older,)), T0 + 3610)
    assert only(store.inventory.view(T0 + 3599 + DAY)).raised_floor == Memory(1500.0)


def test_a_tier_can_be_given_to_a_server(store):
    store.history.append(report(1, T0 + 10, cards=True), T0 + 10)
    assert store.inventory.set_tier("vm-1", "guaranteed")
    assert only(store.inventory.view(T0 + 11)).tier == "guaranteed"
    assert not store.inventory.set_tier("nobody", "guaranteed")
