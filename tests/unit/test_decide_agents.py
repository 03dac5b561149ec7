"""What an agent is doing, what is wrong, and what to do about it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.decide.agents import Heard, Standing, Terms, judge, span

pytestmark = pytest.mark.unit

NOW = 1_000_000.0
DAY = 86400.0
TERMS = Terms(stale_after_s=60.0, rotate_after_s=30 * DAY, version="1.2")


def heard(**more):
    return Heard(**({"host": "hv1", "issued_at": NOW - DAY, "received_at": NOW - 5, "last_seen": NOW - 5, "version": "1.2"} | more))


@pytest.mark.parametrize(
    ("agent", "state", "wrong", "to_do"),
    [
        (heard(), "reporting", "", ""),
        (heard(received_at=NOW - 45, last_seen=NOW - 45), "late", "no report for 45 s", "systemctl status foreshape-agent"),
        (heard(received_at=NOW - 7200, last_seen=NOW - 7200), "silent", "no report for 2 hours", "foreshape agent revoke hv1"),
        (heard(issued_at=None), "revoked", "its reports are refused", "foreshape agent enroll hv1"),
        (heard(issued_at=None, received_at=None, join_until=NOW + 600), "invited", "holds for 10 min", "foreshape agent enroll hv1"),
        (heard(received_at=None), "enrolled", "has never reported", "journalctl -u foreshape-agent"),
        (heard(safe_mode="a lever failed"), "reporting", "safe mode, it only measures: a lever failed", "troubleshooting"),
        (heard(last_seen=NOW - 1000), "reporting", "17 min behind", "catches up"),
        (heard(clock_ahead_s=90), "reporting", "90 s ahead", "chronyc tracking on hv1"),
        (heard(issued_at=NOW - 61 * DAY), "reporting", "61 days old", "foreshape agent enroll hv1"),
        (heard(version="1.1"), "reporting", "version 1.1, the controller 1.2", "upgrade"),
    ],
)
def test_an_agent_is_told_with_what_is_wrong_and_what_to_do(agent, state, wrong, to_do):
    judged = judge(agent, TERMS, NOW)
    assert judged.state == state
    assert wrong in judged.wrong
    assert to_do in judged.to_do
    assert bool(judged.wrong) == bool(judged.to_do)


def test_a_revoked_agent_that_was_invited_again_is_invited():
    assert judge(heard(issued_at=None, join_until=NOW + 60), TERMS, NOW).state is Standing.INVITED


def test_tokens_that_are_never_replaced_are_never_too_old():
    assert judge(heard(issued_at=NOW - 900 * DAY), Terms(60.0, 0.0, "1.2"), NOW).wrong == ""


instants = st.one_of(st.none(), st.floats(0, 2 * NOW))


@given(issued=instants, joined=instants, received=instants, seen=st.floats(0, 2 * NOW), stale=st.floats(5, DAY))
def test_whatever_is_known_there_is_one_state_and_a_sentence(issued, joined, received, seen, stale):
    agent = heard(issued_at=issued, join_until=joined, received_at=received, last_seen=seen)
    judged = judge(agent, Terms(stale, 30 * DAY, "1.2"), NOW)
    assert judged.state in Standing
    assert bool(judged.wrong) == bool(judged.to_do)
    assert judged.state is Standing.REPORTING or judged.wrong


@pytest.mark.parametrize(("seconds", "said"), [(-1, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 hours"), (2 * DAY, "2 days")])
def test_a_time_is_said_in_a_person_s_unit(seconds, said):
    assert span(seconds) == said
