"""Which host a server belongs to, and whose samples count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.store.ownership import Owner, judge

pytestmark = pytest.mark.unit

A_SINCE_100 = Owner(host="a", since=100.0, released_at=None, heard_at=200.0)


def test_who_reports_it_first_has_it():
    assert judge(None, "a", 100, 100, live=True) == (True, True)


def test_the_owner_s_samples_count():
    assert judge(A_SINCE_100, "a", 210, 210, live=True) == (False, True)


def test_while_the_owner_reports_it_nobody_takes_it_and_nothing_counts_twice():
    assert judge(A_SINCE_100, "b", 205, 205, live=True) == (False, False)


def test_once_released_the_next_live_sample_takes_it():
    released = A_SINCE_100._replace(released_at=210.0)
    assert judge(released, "b", 212, 212, live=True) == (True, True)
    assert judge(released, "b", 212, 212, live=False) == (False, False)  # paused: the target of a migration that goes on


def test_a_minute_s_silence_releases_too():
    assert judge(A_SINCE_100, "b", 259, 259, live=True).takes is False
    assert judge(A_SINCE_100, "b", 261, 261, live=True).takes is True


def test_a_backlog_from_before_the_move_still_counts():
    moved = Owner(host="b", since=300.0, released_at=None, heard_at=400.0)
    assert judge(moved, "a", 290, 405, live=True) == (False, True)
    assert judge(moved, "a", 310, 405, live=True) == (False, False)


def test_a_server_that_comes_back_to_its_host_is_its_own_again():
    released = A_SINCE_100._replace(released_at=210.0)
    assert judge(released, "a", 220, 220, live=True) == (True, True)
    assert judge(released, "a", 205, 220, live=True) == (False, True)  # an old report changes no ownership


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=60))
def test_two_hosts_that_both_report_it_never_count_the_same_instant_twice(reports):
    """Both report every 10 s for as long as they like (a copied domain): for every instant at most one sample counts."""
    owner: Owner | None = None
    counted: dict[int, int] = {}
    for tick, (first, both) in enumerate(reports):
        now = 1000.0 + 10 * tick
        for host in (first, *("ab".replace(first, "") if both else "")):
            verdict = judge(owner, host, now, now, live=True)
            if verdict.takes:
                owner = Owner(host, now, None, now)
            elif owner is not None and owner.host == host:
                owner = owner._replace(heard_at=now)
            counted[tick] = counted.get(tick, 0) + verdict.counts
    assert all(n <= 1 for n in counted.values())
