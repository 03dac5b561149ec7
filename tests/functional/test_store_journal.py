"""The journal: written before anything is ordered, one open order per server, outcomes settle, strays change nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from foreshape_controller.errors import Invalid
from foreshape_controller.model.migration import Migration
from foreshape_controller.model.migration import State as Moves
from foreshape_controller.model.moving import Goal, Moving
from foreshape_controller.model.pool import Shadow
from foreshape_controller.model.pool import State as Pooled
from foreshape_controller.store.orders import NEXT, Status
from foreshape_wire.ids import HostName
from foreshape_wire.order import Mode, Origin, Verdict
from store_support import DAY, T0, card, decision, open_store, order, outcome, plan, report, sample, sizing

pytestmark = [pytest.mark.functional, pytest.mark.engines]

HV1 = HostName("hv1")


@pytest.fixture
def store():
    made = open_store(default_mode=Mode.ACT)
    made.history.append(report(1, T0 + 10, [sample(), sample("vm-2")], cards=[card(), card("vm-2", project="p2")]), T0 + 10)
    return made


def record(store, at=T0 + 20, *orders, host="hv1"):
    servers = {o.server for o in orders} or {"vm-1"}
    store.journal.record(plan(at, *(decision(at, s, host) for s in sorted(servers))), orders)


def statuses(store, server="vm-1"):
    return {a.order.order: a.status for a in store.journal.orders(server, 50)}


def test_what_was_recorded_is_handed_out_until_it_is_over(store):
    record(store, T0 + 20, order())
    assert store.journal.open_orders(HV1, T0 + 21) == (order(),)
    assert store.journal.open_orders(HostName("hv2"), T0 + 21) == ()
    assert store.journal.open_orders(HV1, T0 + 320) == ()  # its five minutes are over
    assert store.journal.expire(T0 + 319) == 0
    assert store.journal.expire(T0 + 320) == 1
    assert statuses(store) == {"ord-1": "unseen"}  # its host has not reported since


def asked(store, at):
    """The host's agent reports, and is handed what is open."""
    store.history.append(report(int(at), at, [sample(), sample("vm-2")]), at)


def test_what_its_agent_saw_is_over_with_its_next_word_or_two_minutes_later(store):
    record(store, T0 + 20, order(), order("ord-2", "vm-2"))
    asked(store, T0 + 30)
    assert store.journal.expire(T0 + 320) == 0
    store.journal.settle([outcome(at=T0 + 319), outcome(resource="memory", at=T0 + 319)], T0 + 325, "hv1")  # done in time, told after it
    assert statuses(store) == {"ord-1": "applied"}
    assert store.journal.expire(T0 + 439) == 0
    assert store.journal.expire(T0 + 440) == 1
    assert statuses(store, "vm-2") == {"ord-2": "expired"}


def test_what_was_done_while_the_controller_was_away_is_not_called_expired_before_its_agent_can_tell(store):
    record(store, T0 + 20, order())
    asked(store, T0 + 30)
    back = T0 + DAY  # nobody looked meanwhile
    assert store.journal.expire(back) == 0
    assert store.halts.ended(T0, back) == ()
    store.journal.settle([outcome(at=T0 + 40), outcome(resource="memory", at=T0 + 40)], back + 60, "hv1")
    assert statuses(store) == {"ord-1": "applied"}
    record(store, back, order("ord-2", "vm-2", at=back - 600))
    assert store.journal.expire(back + 120) == 1


def test_a_report_after_its_end_ends_it(store):
    record(store, T0 + 20, order())
    asked(store, T0 + 30)
    asked(store, T0 + 321)
    assert store.journal.expire(T0 + 321) == 1
    assert statuses(store) == {"ord-1": "expired"}


def test_an_order_that_was_replaced_before_anybody_saw_it_is_unseen(store):
    record(store, T0 + 20, order("ord-1"))
    record(store, T0 + 22, order("ord-2", at=T0 + 22))
    assert statuses(store) == {"ord-1": "unseen", "ord-2": "open"}


def test_a_newer_order_for_the_server_supersedes_the_open_one(store):
    record(store, T0 + 20, order("ord-1"), order("ord-2", "vm-2"))
    asked(store, T0 + 30)
    record(store, T0 + 80, order("ord-3", at=T0 + 80))
    assert statuses(store) == {"ord-1": "superseded", "ord-3": "open"}
    assert [o.order for o in store.journal.open_orders(HV1, T0 + 81)] == ["ord-2", "ord-3"]
    store.journal.settle([outcome("ord-1")], T0 + 82, "hv1")  # it had been under way
    assert statuses(store)["ord-1"] == "superseded"
    (told,) = next(a.outcomes for a in store.journal.orders("vm-1", 5) if a.order.order == "ord-1")
    assert told.verdict is Verdict.APPLIED  # kept beside the order


def test_nothing_is_ordered_that_nobody_decided(store):
    with pytest.raises(Invalid, match="decided nothing"):
        store.journal.record(plan(T0 + 20, decision(T0 + 20, "vm-2")), [order()])
    assert store.journal.latest_plan() is None  # all or nothing
    assert store.journal.open_orders(HV1, T0 + 21) == ()


def test_outcomes_settle_each_resource_and_pending_keeps_the_order_open(store):
    record(store, T0 + 20, order())
    store.journal.settle([outcome(verdict=Verdict.APPLIED), outcome(resource="memory", verdict=Verdict.PENDING)], T0 + 25, "hv1")
    assert statuses(store) == {"ord-1": "open"}
    store.journal.settle([outcome(resource="memory", verdict=Verdict.APPLIED, at=T0 + 40)], T0 + 40, "hv1")
    assert statuses(store) == {"ord-1": "applied"}
    assert store.journal.open_orders(HV1, T0 + 41) == ()
    counts = store.journal.counts()
    assert (counts["orders"], counts["orders_applied"], counts["orders_open"]) == (1, 1, 0)


def test_a_repeated_outcome_is_kept_once(store):
    record(store, T0 + 20, order())
    for _ in range(3):
        store.journal.settle([outcome()], T0 + 25, "hv1")
    (answer,) = store.journal.orders("vm-1", 5)
    assert len(answer.outcomes) == 1


@pytest.mark.parametrize(
    ("told", "host"),
    [
        (outcome("ord-unknown"), "hv1"),
        (outcome("ord-1"), "hv2"),
        (outcome("ord-1", server="vm-2"), "hv1"),
        (outcome("ord-1", "disk"), "hv1"),
        (outcome("", origin=Origin.REFLEX, server="vm-1"), "hv2"),
        (outcome("", origin=Origin.REFLEX, server="nobody"), "hv1"),
    ],
    ids=["unknown order", "another host's", "another server's", "not asked for", "reflex on another's server", "unknown server"],
)
def test_a_stray_is_kept_and_changes_nothing(store, told, host):
    record(store, T0 + 20, order())
    with store.db.write() as conn:
        assert store.journal.settle_in(conn, [told], T0 + 25, host) == (told,)
    assert statuses(store) == {"ord-1": "open"}
    (answer,) = store.journal.orders("vm-1", 5)
    assert answer.outcomes == ()
    assert store.journal.local_actions("vm-1", 5) == ()
    assert store.journal.counts()["strays"] == 1


def test_what_the_agent_did_by_itself_is_kept_apart(store):
    static = outcome("", "memory", origin=Origin.STATIC, at=T0 + 40, reason="controller silent")
    reflex = outcome("", "cpu", origin=Origin.REFLEX, at=T0 + 30)
    store.journal.settle([static, reflex], T0 + 41, "hv1")
    assert store.journal.local_actions("vm-1", 5) == (static, reflex)  # newest first
    counts = store.journal.counts()
    assert (counts["reflexes"], counts["statics"]) == (1, 1)


def test_the_newest_plan_is_whole_and_a_server_s_decisions_are_newest_first(store):
    first = plan(T0 + 20, decision(T0 + 20), decision(T0 + 20, "vm-2"))
    second = plan(T0 + 80, decision(T0 + 80))
    for p in (first, second):
        store.journal.record(p, [])
    assert store.journal.latest_plan() == second
    assert [d.at for d in store.journal.decisions("vm-1")] == [T0 + 80, T0 + 20]
    assert store.journal.decisions("vm-1", at=T0 + 79) == (first.decisions[0],)
    assert store.journal.decisions("vm-1", limit=1) == (second.decisions[0],)


def test_the_largest_wish_survives_a_restart(tmp_path):
    store = open_store(tmp_path / "c.db")
    for n, wanted in enumerate((1.0, 3.0, 2.0)):
        at = T0 + 3600 * n
        store.journal.record(plan(at, decision(at, cpu=sizing("cpu", 1.0, wanted))), [])
    store.close()
    again = open_store(tmp_path / "c.db")
    assert again.journal.recent_wanted("cpu", T0) == {"vm-1": 3.0}
    assert again.journal.recent_wanted("cpu", T0 + 3600 + 300) == {"vm-1": 2.0}
    assert again.journal.recent_wanted("memory", T0) == {"vm-1": 1024.0}
    again.close()


def test_decisions_the_forecast_changed_are_counted(store):
    changed = decision(T0 + 20, cpu=sizing("cpu", 1.0, 2.0, reactive_target=1.0))
    same = decision(T0 + 20, "vm-2", cpu=sizing("cpu", 1.0, 2.0, reactive_target=2.0))
    store.journal.record(plan(T0 + 20, changed, same), [])
    assert store.journal.counts()["changed_by_forecast"] == 1


def test_holds_are_forgotten_early_and_actions_late(store):
    hold = {"cpu": sizing("cpu", 1.0, 1.0)}
    store.journal.record(plan(T0, decision(T0, **hold), decision(T0, "vm-2")), [order(server="vm-2", at=T0)])
    store.journal.record(plan(T0 + DAY, decision(T0 + DAY, **hold)), [])
    for at in (T0, T0 + DAY):
        store.journal.expire(at)
    store.journal.tidy(T0 + 2 * DAY, hold_s=3600.0, acting_s=30 * DAY)
    assert [d.at for d in store.journal.decisions("vm-1")] == [T0 + DAY]  # the newest plan stays whole
    assert [d.at for d in store.journal.decisions("vm-2")] == [T0]
    assert statuses(store, "vm-2") == {"ord-1": "expired"}
    store.journal.tidy(T0 + 40 * DAY, hold_s=3600.0, acting_s=30 * DAY)
    assert store.journal.decisions("vm-2") == ()
    assert statuses(store, "vm-2") == {}
    assert store.journal.latest_plan() is not None
    assert store.journal.counts()["decisions"] == 3  # totals are not forgotten


moves = st.lists(
    st.one_of(
        st.tuples(st.just("order"), st.sampled_from(["vm-1", "vm-2"])),
        st.tuples(st.just("tell"), st.integers(0, 8), st.sampled_from(["cpu", "memory"]), st.sampled_from(list(Verdict)), st.booleans()),
        st.tuples(st.just("wait"), st.integers(1, 400)),
    ),
    max_size=25,
)


@pytest.mark.engines("sqlite")  # forty databases
@settings(max_examples=40)
@given(moves)
def test_whatever_happens_a_server_has_one_open_order_at_most_and_closed_ones_stay_closed(told):
    store = open_store(default_mode=Mode.ACT)
    store.history.append(report(1, T0 + 10, [sample(), sample("vm-2")], cards=True), T0 + 10)
    now, made, before = T0 + 20, [], {}
    for move in told:
        now += 1
        if move[0] == "order":
            made.append((f"ord-{len(made)}", move[1]))
            record(store, now, order(made[-1][0], move[1], at=now))
        elif move[0] == "tell" and made:
            name, server = made[move[1] % len(made)]
            store.journal.settle([outcome(name, move[2], move[3], server=server, at=now)], now, "hv1" if move[4] else "hv2")
        elif move[0] == "wait":
            now += move[1]
            store.journal.expire(now)
        after = {**statuses(store), **statuses(store, "vm-2")}
        assert len(after) == len(made)  # nothing is lost
        assert all(Status(after[o]) in NEXT[Status(s)] for o, s in before.items())
        for server in ("vm-1", "vm-2"):
            assert list(statuses(store, server).values()).count("open") <= 1
        assert {o.order for o in store.journal.open_orders(HV1, now)} <= {o for o, s in after.items() if s == "open"}
        before = after
    store.close()


@pytest.mark.parametrize("state", [s for s in Moves if not s.over])
def test_a_plan_orders_nothing_for_a_server_that_began_to_migrate_while_it_was_made(store, state):
    migration = Migration(
        id="mig-1", server="vm-1", source="hv1", target="hv2", reason="short", created=T0 + 21, limit_s=600.0, state=state
    )
    store.migrating.moves.add(Moving(migration=migration, goal=Goal.NEED, by="ann", cause="c"), T0 + 21)
    record(store, T0 + 20, order(), order("ord-2", "vm-2"))
    assert statuses(store) == ({"ord-1": "open"} if state is Moves.QUEUED else {}), "who waits in the queue may still change"
    assert statuses(store, "vm-2") == {"ord-2": "open"}
    assert store.journal.decisions("vm-1"), "it is known what was decided"


def test_a_plan_of_before_a_claim_takes_nothing_from_who_was_claimed_and_the_next_one_orders_again(store):
    shadow = Shadow(
        id="shadow-1", pool="pool-1", project="p1", name="foreshape-shadow-1", image="i", flavor="f", server="vm-1", created=T0, since=T0
    )
    store.pools.plan(replace(shadow, state=Pooled.READY), T0)
    store.pools.claim(["shadow-1"], lambda s: replace(s, state=Pooled.CLAIMED, since=T0 + 21, claimed_at=T0 + 21), T0 + 21)
    record(store, T0 + 21, order("order-claim-1", at=T0 + 21))
    record(store, T0 + 20, order())
    assert statuses(store) == {"order-claim-1": "open"}
    record(store, T0 + 40, order("ord-2", at=T0 + 40))
    assert statuses(store) == {"order-claim-1": "unseen", "ord-2": "open"}
