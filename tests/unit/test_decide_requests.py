"""Requests are answered from the room over time: now, later, or not yet; never more is promised than there is, and nobody starves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from foreshape_controller.decide import requests
from foreshape_controller.decide.request_offers import Catalog, Market, accepted, offers
from foreshape_controller.decide.request_order import PATIENCE_S, ordered
from foreshape_controller.decide.request_room import Ledger, lowest
from foreshape_controller.decide.requests import RequestRule, judge, want
from foreshape_controller.decide.tiers import DEFAULTS
from foreshape_controller.model.request import Criticality, Placed, RequestState, Together
from request_support import HOUR, RULE, SLOT_S, T0, Desk, request, supply

pytestmark = pytest.mark.unit
STANDARD = DEFAULTS["standard"]


def ledger(rule: RequestRule = RULE, **fleet):
    return Ledger(supply(**fleet), full=rule.full, share=rule.share, spare=rule.spare)


def answer(asked, books=None, rule=RULE, now=T0):
    books = books or ledger(rule)
    return judge(asked, want(asked, STANDARD, rule), books, rule, now)


def test_what_fits_starts_now_on_the_emptiest_host():
    found = answer(request(count=2))
    assert (found.code, found.start) == ("now", T0)
    assert found.placed == (Placed("h0", 1), Placed("h1", 1))


def test_a_host_that_would_exceed_its_share_by_forecast_is_none_for_a_normal_request_and_one_for_a_critical():
    # 14 of 16 cores are expected, and 4 sold cores bring 2: 16 > 0.9 * 16
    books = ledger(hosts=1, demand=14 / 16)
    assert answer(request(), books).code == "forecast"
    assert answer(request(criticality=Criticality.CRITICAL), books).code == "now"


def test_nobody_gets_more_than_placement_would_give():
    # 4 VCPUs are left of 64
    books = ledger(hosts=1, used=60)
    assert answer(request(vcpus=4, criticality=Criticality.CRITICAL), books).code == "now"
    assert answer(request(vcpus=5, criticality=Criticality.CRITICAL), books).code == "no_room"


def test_one_that_is_larger_than_max_unit_never_fits_and_is_told_so():
    found = answer(request(vcpus=17))
    assert found.code == "never"
    assert "0 of 1 would fit" in found.said


def test_it_starts_when_somebody_elses_promise_ends():
    books = ledger(hosts=1, used=60)
    other = want(request(), STANDARD, RULE)
    books.promise(other, (Placed("h0", 1),), T0, T0 + 5 * HOUR)
    found = answer(request(), books)
    assert (found.code, found.start) == ("later", T0 + 5 * HOUR)


def test_a_promise_of_later_stands_in_the_way_of_who_would_stay_until_then():
    books = ledger(hosts=1, used=60)
    books.promise(want(request(), STANDARD, RULE), (Placed("h0", 1),), T0 + 3 * HOUR, T0 + 5 * HOUR)
    assert answer(request(for_s=3 * HOUR), books).start == T0
    assert answer(request(for_s=3.5 * HOUR), books).start == T0 + 5 * HOUR


def test_spread_wants_a_host_for_each_and_same_host_one_for_all():
    books = ledger(hosts=2, used=56)  # two of 4 VCPUs fit on each
    assert answer(request(count=3, together=Together.SPREAD), books).code == "never"
    assert answer(request(count=2, together=Together.SPREAD), books).placed == (Placed("h0", 1), Placed("h1", 1))
    assert answer(request(count=2, together=Together.SAME_HOST), books).placed == (Placed("h0", 2),)
    assert answer(request(count=3, together=Together.SAME_HOST), books).code == "no_room"
    assert answer(request(count=3), books).code == "now"


def test_a_zone_and_closed_hosts_are_respected():
    books = ledger(hosts=2, zones=("az1", "az2"), closed=("", "its service is disabled"))
    assert answer(request(az="az1"), books).placed == (Placed("h0", 1),)
    assert "1 closed to it" in answer(request(az="az2"), books).said


def test_a_host_of_which_something_is_unknown_gets_nothing():
    fleet = supply(hosts=1)
    fleet.fans[0, 7, 0, 3] = np.nan
    books = Ledger(fleet, full=0.9, share=1.0)
    assert not answer(request(), books).placed


def day(low, high):
    """12 hours of each."""
    return [high] * 24 + [low] * 24


def test_a_flexible_one_starts_in_the_valley_and_a_normal_one_only_when_the_fleet_would_be_too_full():
    start = supply().start
    calm, busy = {"demand": day(0.1, 0.5)}, {"demand": day(0.1, 0.75)}
    assert answer(request(criticality=Criticality.FLEXIBLE), ledger(**calm)).start == start + 12 * HOUR
    assert answer(request(), ledger(**calm)).code == "now"  # 0.5 + 2/32 cores is below 0.7
    delayed = answer(request(now=T0), ledger(**busy))
    assert delayed.code == "now"  # the valley is further away than normal_wait_s: it is not worth the wait
    near = [0.75] * 8 + [0.1] * 40
    smoothed = answer(request(), ledger(demand=near))
    assert (smoothed.code, smoothed.start) == ("smoothed", start + 4 * HOUR)
    assert "would reach 81 %" in smoothed.said


def test_a_project_is_promised_its_share_at_most_and_critical_ones_are_no_way_around():
    rule = RequestRule(share=0.5, spare=0.0)
    books = ledger(rule, hosts=2, ratio=1.0)
    assert answer(request(vcpus=4, count=4), books, rule).code == "now"
    assert answer(request(vcpus=4, count=5, criticality=Criticality.CRITICAL), books, rule).code == "share"


def test_a_part_of_each_host_is_promised_to_critical_ones_only():
    rule = RequestRule(share=1.0, spare=0.1)
    books = ledger(rule, hosts=1, used=53)  # 11 of 64 VCPUs are left; 6.4 of them are kept
    assert answer(request(vcpus=4), books, rule).code == "now"
    assert answer(request(vcpus=5), books, rule).code == "forecast"
    assert answer(request(vcpus=11, criticality=Criticality.CRITICAL), books, rule).code == "now"


def test_growth_has_one_host_only():
    found = answer(replace(request(), only_host="h1"))
    assert found.placed == (Placed("h1", 1),)


def test_whoever_was_told_a_time_keeps_it_when_a_critical_one_comes():
    desk = Desk(hosts=1, used=60)
    desk.ask("first", T0, vcpus=4, for_s=2 * HOUR)
    desk.round(T0)
    desk.ask("second", T0 + 60, vcpus=4, for_s=2 * HOUR)
    desk.round(T0 + 60)
    promised = desk.requests["second"]
    desk.ask("urgent", T0 + 120, vcpus=4, for_s=HOUR, criticality=Criticality.CRITICAL)
    desk.round(T0 + 120)
    assert desk.requests["second"] == promised
    assert desk.requests["urgent"].start >= promised.end


# -- order ---------------------------------------------------------------------------------------------------------------


def test_critical_comes_first_until_the_others_have_waited_long_enough():
    old, new = request("old"), request("new", now=T0 + PATIENCE_S[Criticality.NORMAL] - 1, criticality=Criticality.CRITICAL)
    assert [r.id for r in ordered((old, new))] == ["new", "old"]
    later = request("new", now=T0 + PATIENCE_S[Criticality.NORMAL] + 1, criticality=Criticality.CRITICAL)
    assert [r.id for r in ordered((later, old))] == ["old", "new"]


def test_a_flood_waits_behind_itself_and_not_others_behind_it():
    desk = Desk(hosts=2, ratio=1.0)  # 32 VCPUs
    for i in range(40):
        desk.ask(f"flood{i:02d}", T0, project="loud", vcpus=8)
    desk.ask("quiet", T0 + 1, project="quiet")
    before = [r.id for r in ordered(desk.requests.values())].index("quiet")
    assert before == 1  # each takes a quarter of the fleet: its project's clock runs 1.5 h ahead each time


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.sampled_from(list(Criticality)), st.integers(1, 16), st.sampled_from("ab")),
        min_size=1,
        max_size=60,
    )
)
def test_of_one_project_those_who_come_later_than_its_patience_never_get_before_it(arrivals):
    desk = Desk(hosts=2)
    for i, (hours, criticality, vcpus, project) in enumerate(sorted(arrivals, key=lambda a: a[0])):
        desk.ask(f"r{i}", T0 + hours * HOUR, criticality=criticality, vcpus=vcpus, project=project)
    for one in desk.requests.values():
        for other in desk.requests.values():
            if other.created > one.tag:
                assert (other.tag, other.created) > (one.tag, one.created)


# -- never more than there is --------------------------------------------------------------------------------------------

asks = st.fixed_dictionaries(
    {
        "vcpus": st.integers(1, 16),
        "count": st.integers(1, 6),
        "for_s": st.sampled_from([HOUR, 3 * HOUR, 10 * HOUR, 200 * HOUR]),
        "criticality": st.sampled_from(list(Criticality)),
        "together": st.sampled_from(list(Together)),
        "project": st.sampled_from(["a", "b"]),
        "wait_h": st.sampled_from([0, 1, 30]),
        "after_s": st.sampled_from([0, 60, 1800, 7000]),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(asks, max_size=12), st.integers(0, 60), st.floats(0, 0.8))
def test_at_no_instant_more_is_promised_than_there_is(stream, used, demand):
    desk, now = Desk(hosts=2, used=used, demand=demand), T0
    for i, one in enumerate(stream):
        now += one["after_s"]
        ask = {k: v for k, v in one.items() if k not in ("wait_h", "after_s")}
        desk.ask(f"r{i}", now, earliest=now + one["wait_h"] * HOUR, **ask)
        desk.round(now)
    promised = [r for r in desk.requests.values() if r.state is RequestState.SCHEDULED]
    for r in promised:  # whatever is promised at an instant is promised at some start
        there = [o for o in promised if o.start <= r.start < o.end]
        for host in ("h0", "h1"):
            mine = [(p.count, o) for o in there for p in o.placed if p.host == host]
            assert used + sum(n * o.each["VCPU"] for n, o in mine) <= 64
            assert used * 1024 + sum(n * o.each["MEMORY_MB"] for n, o in mine) <= 16 * 4096
        assert sum(p.count for p in r.placed) == r.ask.count
        assert r.earliest <= r.start <= r.latest


@given(asks, st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_a_promise_that_is_taken_back_leaves_what_was_there_before(one, used):
    books = ledger(hosts=2, used=used)
    held, coming = books.held.copy(), books.coming.copy()
    asked = request(**{k: one[k] for k in ("vcpus", "count", "for_s", "together")})
    wanted = want(asked, STANDARD, RULE)
    found = judge(asked, wanted, books, RULE, T0)
    for sign in (1, -1):
        books.promise(wanted, found.placed, found.start, found.start + wanted.for_s, sign)
    assert np.allclose(books.held, held)
    assert np.allclose(books.coming, coming)
    assert np.allclose(books._project("shop"), 0.0)


@given(st.lists(asks, min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_answer_depends_on_what_is_asked_and_not_on_the_order_in_which_it_is_read(stream, random):
    def ends(shuffled):
        desk = Desk(hosts=2, used=30)
        for i, one in enumerate(stream):
            desk.ask(f"r{i}", T0 + i, **{k: v for k, v in one.items() if k not in ("wait_h", "after_s")})
        if shuffled:
            names = list(desk.requests)
            random.shuffle(names)
            desk.requests = {n: desk.requests[n] for n in names}
        desk.round(T0 + 100)
        return {n: (r.state, r.start, r.placed, r.said) for n, r in desk.requests.items()}

    assert ends(shuffled=False) == ends(shuffled=True)


# -- nobody starves ------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 8), st.sampled_from([0.5, 1, 2, 3]), st.sampled_from(list(Criticality))), min_size=1, max_size=12),
    st.sampled_from(list(Criticality)),
)
def test_who_waits_starts_in_bounded_time_whoever_else_comes_as_long_as_servers_leave(others, criticality):
    """A host of 8 VCPUs is full of servers without a known end; one VCPU of them leaves each half-hour. Small ones keep coming."""
    most_s = 3 * HOUR
    desk = Desk(hosts=1, cores=8.0, ratio=1.0, slots=72)
    desk.used = np.array([8.0])
    desk.ask("large", T0, vcpus=8, ram=1024, for_s=HOUR, criticality=criticality, project="patient")
    emptied, patience = T0 + 8 * SLOT_S, T0 + PATIENCE_S[criticality]
    bound, now, i = max(emptied, patience) + most_s + 2 * SLOT_S, T0, 0
    while desk.requests["large"].state is RequestState.QUEUED:
        assert now <= bound, "it starves"
        vcpus, hours, how = others[i % len(others)]
        desk.ask(f"small{i}", now, vcpus=vcpus, ram=64, for_s=hours * HOUR, criticality=how, project=f"p{i}", latest=now + HOUR)
        desk.round(now)
        i, now, desk.used = i + 1, now + SLOT_S, np.maximum(desk.used - 1, 0.0)
    assert desk.requests["large"].start <= bound


def test_without_the_kept_host_the_large_one_would_starve(monkeypatch):
    """The same, with hosts that are kept for nobody: the property above does find it."""
    monkeypatch.setattr(requests, "keep", lambda asked, books: np.zeros(1, dtype=bool))
    desk, now = Desk(hosts=1, cores=8.0, ratio=1.0, slots=72), T0
    desk.used = np.array([8.0])
    desk.ask("large", T0, vcpus=8, ram=1024, for_s=HOUR, project="patient")
    for i in range(30):
        desk.ask(f"small{i}", now, vcpus=1, ram=64, for_s=300 * HOUR, project=f"p{i}")
        desk.round(now)
        now += SLOT_S
        desk.used = np.maximum(desk.used - 1, 0.0)
    assert desk.requests["large"].state is RequestState.QUEUED


def test_one_that_can_never_fit_keeps_no_host():
    desk = Desk(hosts=1)
    desk.ask("giant", T0, vcpus=99)
    late = T0 + PATIENCE_S[Criticality.NORMAL] + 1
    desk.ask("other", late)
    books = desk.round(late)
    assert not books.blocked.any()
    assert desk.requests["other"].state is RequestState.SCHEDULED


# -- what could be had instead -------------------------------------------------------------------------------------------

CATALOG = Catalog(
    {"m1.small": {"VCPU": 1, "MEMORY_MB": 1024}, "m1.medium": {"VCPU": 2, "MEMORY_MB": 2048}, "m1.large": {"VCPU": 4, "MEMORY_MB": 4096}},
    ("az1", "az2"),
    lambda each, count, tier, seconds: f"{each['VCPU'] * count * seconds / 3600:.2f} EUR",
)


def offered(asked, books):
    wanted = want(asked, STANDARD, RULE)
    return {a.kind: a for a in offers(asked, wanted, judge(asked, wanted, books, RULE, T0), Market(books, CATALOG, RULE, T0))}


def test_who_cannot_start_is_offered_less_elsewhere_and_later():
    books = ledger(hosts=2, zones=("az1", "az2"), used=61)  # three VCPUs are left on each
    books.promise(want(request(), STANDARD, RULE), (Placed("h0", -1),), T0 + 20 * HOUR, T0 + 900 * HOUR)  # four more from then on
    found = offered(request(vcpus=4, az="az1", latest=T0 + HOUR), books)
    assert found["flavor"].flavor == "m1.medium"
    assert found["flavor"].price == "8.00 EUR"
    assert found["time"].start == T0 + 20 * HOUR
    assert "az" not in found
    more = offered(request(vcpus=3, ram=1024, count=2, az="az1", latest=T0 + HOUR), books)
    assert more["count"].count == 1


def test_another_zone_is_offered_where_there_is_room_sooner():
    fleet = supply(hosts=2, zones=("az1", "az2"))
    fleet.used[0, 0] = 64
    found = offered(request(vcpus=4, az="az1"), Ledger(fleet, full=0.9, share=1.0))
    assert found["az"].az == "az2"


def test_who_starts_now_is_offered_nothing_else():
    assert offered(request(), ledger()) == {}


def test_an_accepted_alternative_is_what_is_asked_for_from_then_on():
    books = ledger(hosts=1, used=62)
    asked = request(vcpus=4)
    after = accepted(asked, offered(asked, books)["flavor"], CATALOG.flavors)
    assert (after.ask.flavor, after.ask.vcpus, dict(after.each)) == ("m1.medium", None, {"VCPU": 2, "MEMORY_MB": 2048})
    assert after.tag == asked.tag
    assert answer(after, books).code == "now"


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 25))
def test_the_lowest_of_a_window_is_what_a_plain_loop_finds(values, span):
    found = lowest(np.array(values, float)[None, :, None], span)[0, :, 0]
    assert found.tolist() == [min(values[i : i + span]) for i in range(len(values))]
