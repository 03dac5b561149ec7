"""One report in, the desired state out: modes, orders, guards, cards, tokens; refusals take nothing."""

from dataclasses import replace

import msgspec
import pytest

from foreshape_controller.config import AgentsSettings, Settings
from foreshape_controller.errors import Forged
from foreshape_controller.loops.intake import Intake
from foreshape_wire.codec import WireError, encode
from foreshape_wire.ids import HostName
from foreshape_wire.order import Mode, Verdict
from store_support import DAY, T0, ask, card, decision, open_store, order, outcome, plan, raw, report, sample

pytestmark = pytest.mark.functional


@pytest.fixture
def store():
    return open_store(default_mode=Mode.ACT)


@pytest.fixture
def intake(store):
    return Intake(store, Settings())


def test_the_reply_acknowledges_and_asks_for_cards_until_it_has_them(intake):
    reply = ask(intake, report(7))
    assert (reply.host, reply.accepted, reply.mode, reply.cards_wanted) == ("hv1", (7,), Mode.ACT, True)
    assert reply.guards == ()
    reply = ask(intake, report(8, T0 + 20, cards=True))
    assert not reply.cards_wanted
    assert [g.server for g in reply.guards] == ["vm-1"]


def test_orders_are_repeated_until_their_outcome_comes(intake, store):
    ask(intake, report(1, cards=True))
    store.journal.record(plan(T0 + 15, decision(T0 + 15)), [order(at=T0 + 15, memory=None)])
    assert ask(intake, report(2, T0 + 20)).orders == (order(at=T0 + 15, memory=None),)
    assert len(ask(intake, report(3, T0 + 30, outcomes=(outcome(verdict=Verdict.PENDING),))).orders) == 1
    assert ask(intake, report(4, T0 + 40, outcomes=(outcome(at=T0 + 35),))).orders == ()


def test_a_replayed_report_is_acknowledged_again_and_settles_nothing_twice(intake, store):
    ask(intake, report(1, cards=True))
    store.journal.record(plan(T0 + 15, decision(T0 + 15)), [order(at=T0 + 15, memory=None)])
    settled = report(2, T0 + 20, outcomes=(outcome(),))
    assert ask(intake, settled).accepted == ask(intake, settled).accepted == (2,)
    assert store.journal.counts()["orders_applied"] == 1


@pytest.mark.parametrize("scope", ["cloud", "host:hv1", "project:p1", "server:vm-1"])
def test_orders_are_handed_out_in_mode_act_only(intake, store, scope):
    ask(intake, report(1, cards=[card(project="p1")]))
    store.journal.record(plan(T0 + 15, decision(T0 + 15)), [order(at=T0 + 15)])
    store.modes.set(scope, Mode.ADVISE, "stop", T0 + 16)
    reply = ask(intake, report(2, T0 + 20))
    assert reply.orders == ()
    assert reply.mode is (Mode.ADVISE if scope in ("cloud", "host:hv1") else Mode.ACT)


def test_orders_for_a_server_that_moved_away_are_not_handed_out(intake, store):
    ask(intake, report(1, cards=True))
    store.journal.record(plan(T0 + 15, decision(T0 + 15)), [order(at=T0 + 15)])
    assert ask(intake, report(2, T0 + 20, [])).orders == ()
    assert ask(intake, report(1, T0 + 25, host="hv2", cards=True)).orders == ()


def test_a_report_for_another_host_is_refused_and_leaves_no_trace(intake, store):
    with pytest.raises(Forged, match="reports for its own host only"):
        intake.accept(HostName("hv2"), encode(report(1, cards=True)), T0 + 10)
    assert store.inventory.view(T0 + 10).hosts == ()
    assert ask(intake, report(1)).accepted == (1,)


def test_outcomes_of_another_host_s_orders_change_nothing(intake, store):
    ask(intake, report(1, cards=True))
    store.journal.record(plan(T0 + 15, decision(T0 + 15)), [order(at=T0 + 15)])
    ask(intake, report(1, T0 + 16, [sample("vm-9")], host="hv2", outcomes=(outcome(verdict=Verdict.FAILED),)))
    assert len(ask(intake, report(2, T0 + 20)).orders) == 1
    assert store.journal.counts()["strays"] == 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (encode(report())[:-40], "truncated"),
        (raw(report(), version=2), r"\$\.version is 2"),
        (raw(report(), sequence="one"), r"\$\.sequence"),
        (raw(report(), taken_at=-5), r"\$\.taken_at"),
        (raw(report(), samples=[{"server": "x"}]), r"\$\.samples\[0\]"),
        (b"", "truncated"),
        (b"\xff\xfe", "."),
        (b"[" * 100_000, "."),
        (b"x" * (9 * 1024 * 1024), "at most"),
    ],
    ids=["half", "version", "type", "negative", "missing", "empty", "no text", "deep", "long"],
)
def test_a_message_that_cannot_be_read_is_refused_by_its_field(intake, data, says):
    with pytest.raises(WireError, match=says):
        intake.accept(HostName("hv1"), data, T0)


def test_a_token_that_is_due_is_replaced_in_the_reply(store):
    intake = Intake(store, replace(Settings(), agents=AgentsSettings(token_rotation_days=1.0)))
    old = store.agents.enrol("hv1", store.agents.join_token("hv1", T0, 60.0), T0)
    assert ask(intake, report(1, T0 + 10)).token == ""
    new = ask(intake, report(2, T0 + DAY + 10)).token
    assert store.agents.authenticate(new, T0 + DAY + 20) == "hv1"
    assert store.agents.authenticate(old, T0 + DAY + 20) is None


def test_an_agent_s_clock_an_hour_ahead_loses_nothing_and_is_not_stale(intake, store):
    reply = ask(intake, report(1, T0 + 3610, cards=True), now=T0 + 10)
    assert reply.accepted == (1,)
    assert reply.issued_at == T0 + 10
    assert store.inventory.view(T0 + 11).hosts[0].last_seen == T0 + 10


def test_an_agent_s_clock_that_was_ahead_and_is_right_again_is_heard_at_once(intake, store):
    ask(intake, report(1, T0 + 3610, cards=True), now=T0 + 10)
    ask(intake, report(2, T0 + 20, [sample(cores=1.75)]), now=T0 + 20)
    (server,) = store.inventory.view(T0 + 21).servers
    assert server.last is not None
    assert msgspec.to_builtins(server.last.cpu)["demand"] == {"cores": 1.75}
