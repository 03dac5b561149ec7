"""A floor goes down after a notice, a step at a time, and up at once: the table, its rows, and what holds whatever happens."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.decide.reclaim import NEXT, Facts, Rule, advance, allowed, broken, floor_in_force, notice, objected, opened
from foreshape_controller.model.reclaim import LOWERED, Reclaim, State
from long_support import LONG
from reclaim_support import DAY, NOW, facts, finding, row

pytestmark = pytest.mark.unit

RULE = Rule()
HOUR = 3600.0


def quiet(**changes):
    """Between two looks at history."""
    return facts(looked=False, finding=None, **changes)


def noticed(**changes):
    return row(State.NOTICED, **({"begins_at": NOW, "stated_s": 80.0} | changes))


def shrinking(floor=0.32, **changes):
    return row(State.SHRINKING, **({"begins_at": NOW - DAY, "stepped_at": NOW, "floor": floor, "stated_s": 80.0} | changes))


def reclaimed(**changes):
    return row(State.RECLAIMED, **({"begins_at": NOW - DAY, "stepped_at": NOW, "floor": 0.1, "stated_s": 80.0} | changes))


# -- found and told -----------------------------------------------------------------------------------------------------


def test_a_finding_begins_with_its_figures_and_what_it_would_save():
    begun = opened(row(State.GONE, why=""), facts(), RULE, NOW)
    assert (begun.state, begun.tier_floor, begun.floor, begun.goal) == (State.FOUND, 0.4, 0.4, 0.1)
    assert begun.saves == pytest.approx(0.3)
    assert begun.saved == 0.0
    assert "idle" in begun.why


def test_where_it_may_not_act_it_stays_advice_that_says_why():
    after = advance(row(), facts(may="its mode is advise"), RULE, NOW + 1)
    assert (after.state, after.hindrance) == (State.FOUND, "its mode is advise")
    assert after.saves == pytest.approx(0.3)


def test_a_floor_that_is_low_already_is_advice_too():
    after = advance(row(), facts(finding=finding(goal=0.33)), RULE, NOW)
    assert after.state is State.FOUND
    assert "as low as its use allows" in after.hindrance, "0.07 of 0.4 are less than a fifth"


def test_the_owner_is_told_what_how_much_when_how_to_object_and_how_long_a_give_back_takes():
    before = row()
    after = advance(before, facts(), RULE, NOW)
    assert (after.state, after.begins_at, after.floor) == (State.NOTICED, NOW + 3 * DAY, 0.4)
    told = notice(before, after, NOW)
    assert told is not None
    assert (told.kind, told.project, told.begins_at, told.cause) == ("reclaim", "p1", NOW + 3 * DAY, "cause-1")
    for words in ("CPU of web-1", "0.40 cores", "0.10 cores", "2026-01-08 00:00 UTC", "about 80 s", "foreshape reclaim object vm-1"):
        assert words in told.text


def test_only_a_fresh_look_is_announced():
    assert advance(row(), quiet(), RULE, NOW).state is State.FOUND


def test_nothing_is_taken_before_the_notice_is_over():
    assert advance(noticed(begins_at=NOW + 1), quiet(), RULE, NOW).state is State.NOTICED
    after = advance(noticed(), quiet(), RULE, NOW)
    assert (after.state, after.floor, after.stepped_at) == (State.SHRINKING, pytest.approx(0.32), NOW), "0.4 less 20 %"


def test_what_is_no_longer_allowed_is_withdrawn_and_said():
    before = noticed()
    after = advance(before, quiet(may="[reclaim] is not enabled"), RULE, NOW)
    assert after.state is State.FOUND
    assert notice(before, after, NOW).kind == "reclaim_withdrawn"


@pytest.mark.parametrize(
    "news", [facts(finding=None, not_found="it uses what it was sold"), quiet(back="its demand came back")], ids=["look", "back"]
)
def test_one_that_is_needed_again_is_let_go_before_anything_was_taken(news):
    before = noticed()
    after = advance(before, news, RULE, NOW)
    assert (after.state, after.floor) == (State.GONE, 0.4)
    assert notice(before, after, NOW).kind == "reclaim_withdrawn"


# -- down -----------------------------------------------------------------------------------------------------------------


def test_the_floor_goes_down_step_by_step_to_the_goal():
    at, now, floors = shrinking(), NOW, []
    while at.state is State.SHRINKING:
        now += 6 * HOUR
        at = advance(at, quiet(), RULE, now)
        floors.append(round(at.floor, 4))
    assert floors == [0.256, 0.2048, 0.1638, 0.1311, 0.1049, 0.1]
    assert at.state is State.RECLAIMED


def test_no_step_comes_sooner_than_agreed_or_on_stale_data():
    assert advance(shrinking(), quiet(), RULE, NOW + 6 * HOUR - 1) == shrinking()
    assert advance(shrinking(), quiet(fresh=False), RULE, NOW + DAY) == shrinking()
    assert advance(noticed(), quiet(fresh=False), RULE, NOW + DAY).state is State.NOTICED


def test_what_is_in_use_stays_whatever_was_announced():
    after = advance(shrinking(floor=0.2), quiet(least_now=0.25), RULE, NOW + DAY)
    assert (after.state, after.floor, after.goal) == (State.RECLAIMED, 0.25, 0.25), "up to it at once, and no lower from then on"
    assert advance(reclaimed(), quiet(least_now=0.2), RULE, NOW).floor == 0.2


def test_a_lower_need_does_not_undercut_what_the_owner_was_told():
    after = advance(reclaimed(), facts(finding=finding(goal=0.05)), RULE, NOW)
    assert (after.goal, after.floor) == (0.1, 0.1)


# -- up -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [shrinking(), reclaimed()], ids=["shrinking", "reclaimed"])
@pytest.mark.parametrize(
    "news",
    [
        quiet(back="it wants 1.00 cores"),
        quiet(may="its mode is advise"),
        quiet(back="it wants 1.00 cores", fresh=False),
        facts(finding=None, not_found="too much of its history is missing"),
        quiet(least_now=0.39),
        facts(finding=finding(goal=0.35)),
    ],
    ids=["demand", "opt-out", "demand of late", "doubt", "working set", "need"],
)
def test_whatever_speaks_against_it_gives_the_floor_back_at_once(before, news):
    after = advance(before, news, RULE, NOW + 5)
    assert (after.state, after.floor, after.back_since) == (State.GIVING_BACK, 0.4, NOW + 5)
    assert floor_in_force(after) is None


def test_the_give_back_is_measured_and_compared_with_what_was_stated():
    before = row(State.GIVING_BACK, back_since=NOW, stated_s=80.0)
    assert advance(before, quiet(), RULE, NOW + 30).state is State.GIVING_BACK, "the guest does not have it yet"
    after = advance(before, quiet(had_at=NOW + 42), RULE, NOW + 60)
    assert (after.state, after.measured_s) == (State.GIVEN_BACK, 42.0)
    told = notice(before, after, NOW + 60)
    assert told.kind == "reclaim_back"
    assert "after 42 s, 80 s stated" in told.text


def test_time_in_which_people_forbid_orders_is_not_measured():
    before = row(State.GIVING_BACK, back_since=NOW, stated_s=80.0)
    waiting = advance(before, quiet(waits=True, may="its mode is observe"), RULE, NOW + DAY)
    assert (waiting.state, waiting.back_since) == (State.GIVING_BACK, NOW + DAY)
    assert advance(waiting, quiet(had_at=NOW + DAY + 60), RULE, NOW + 2 * DAY).measured_s == 60.0


def test_after_a_give_back_it_is_left_alone_for_a_week():
    back = row(State.GIVEN_BACK, measured_s=42.0)
    assert advance(back, facts(), RULE, NOW + 7 * DAY - 1) == back
    gone = advance(back, facts(), RULE, NOW + 7 * DAY)
    assert gone.state is State.GONE
    again = advance(gone, facts(), RULE, NOW + 8 * DAY)
    assert (again.state, again.at, again.measured_s) == (State.FOUND, NOW + 8 * DAY, None)


# -- no -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.FOUND, State.NOTICED, State.GIVEN_BACK, State.GONE])
def test_an_objection_before_anything_was_taken_ends_it(state):
    after = objected(row(state, begins_at=NOW, measured_s=1.0), "we need it in May", NOW)
    assert (after.state, after.objection) == (State.OBJECTED, "we need it in May")
    assert advance(after, facts(), RULE, NOW + 89 * DAY).state is State.OBJECTED


@pytest.mark.parametrize("before", [shrinking(), reclaimed()], ids=["shrinking", "reclaimed"])
def test_an_objection_later_gives_back_first(before):
    back = objected(before, "we need it", NOW)
    assert (back.state, back.floor) == (State.GIVING_BACK, 0.4)
    after = advance(back, quiet(had_at=NOW + 20), RULE, NOW + 20)
    assert (after.state, after.measured_s) == (State.OBJECTED, 20.0)


def test_an_objection_ends_after_a_while_or_when_it_is_withdrawn():
    no = objected(row(), "no", NOW)
    assert advance(no, facts(), RULE, NOW + 90 * DAY).state is State.GONE
    assert (allowed(no, NOW).state, allowed(no, NOW).objection) == (State.GONE, "")


@pytest.mark.parametrize("state", [s for s in State if s is not State.GONE])
def test_a_server_that_left_is_gone_from_any_state(state):
    assert advance(row(state, back_since=NOW), Facts(present=False), RULE, NOW).state is State.GONE


# -- whatever happens -----------------------------------------------------------------------------------------------------

amounts = st.floats(0, 2)
worlds = st.builds(
    Facts,
    present=st.sampled_from([True] * 19 + [False]),
    fresh=st.sampled_from([True, True, False]),
    may=st.sampled_from([""] * 9 + ["its mode is advise"]),
    tier_floor=st.sampled_from([0.4] * 5 + [0.2, 0.8, 0.0]),
    least_now=st.sampled_from([0.0] * 8 + [0.15, 0.3]),
    back=st.sampled_from([""] * 11 + ["its demand came back"]),
    looked=st.booleans(),
    finding=st.one_of(st.builds(finding, goal=st.floats(0.05, 0.5)), st.just(finding()), st.just(None)),
    not_found=st.just("it uses what it was sold"),
    had_at=st.one_of(st.just(None), st.just(NOW + 400 * DAY)),
    stated_s=st.just(80.0),
)
events = st.one_of(st.tuples(worlds, st.floats(1, 2 * DAY)), st.sampled_from(["object", "allow"]))


def _happen(at: Reclaim, event, now: float) -> Reclaim:
    if event == "object":
        return objected(at, "no", now)
    if event == "allow":
        return allowed(at, now)
    return advance(at, event[0], RULE, now)


@settings(max_examples=min(LONG, 1000), deadline=None)
@given(st.lists(events, max_size=40))
def test_whatever_happens_the_floor_is_lowered_only_as_announced(story):
    at, now, told, steps = row(State.GONE), NOW, None, []
    for event in story:
        now += event[1] if isinstance(event, tuple) else 1.0
        before, at = at, _happen(at, event, now)
        assert broken(at) == "", (before, event)
        assert at.state is before.state or at.state in NEXT[before.state]
        if at.state is State.NOTICED and before.state is not State.NOTICED:
            told = now
            assert notice(before, at, now) is not None
        if at.state in LOWERED and at.floor < before.floor - 1e-9:
            tier_cut = isinstance(event, tuple) and event[0].tier_floor < before.tier_floor
            assert told is not None
            assert now >= told + RULE.notice_s
            assert isinstance(event, tuple)
            assert event[0].fresh or tier_cut
            if not tier_cut:
                assert at.floor >= min(before.floor, before.tier_floor) * (1 - RULE.step_share) - 1e-9
                assert not steps or now - steps[-1] >= RULE.step_s
                assert at.floor >= event[0].least_now
            steps.append(now)
        if at.state not in LOWERED:
            steps = []
            assert floor_in_force(at) is None


@settings(max_examples=min(LONG, 1000), deadline=None)
@given(st.lists(events, max_size=30))
def test_a_row_that_was_written_goes_on_where_it_was(story):
    """What is interrupted after any write is read back the same: nothing lives in memory alone."""
    at, now = row(State.GONE), NOW
    for event in story:
        now += 3600.0
        at = _happen(at, event, now)
        assert msgspec.json.decode(msgspec.json.encode(at), type=Reclaim) == at
