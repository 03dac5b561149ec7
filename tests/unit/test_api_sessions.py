"""Sessions: how many there are, which end, and that a cookie is worth nothing once it is over."""

import pytest

from foreshape_controller.api.sessions import MOST, USER_MOST, Sessions, check_csrf
from foreshape_controller.errors import Forbidden, Unauthenticated

pytestmark = pytest.mark.unit


def over(sessions, cookie):
    try:
        sessions.find(cookie, 1.0)
    except Unauthenticated:
        return True
    return False


def test_beyond_a_users_most_his_oldest_ends_and_nobody_elses():
    sessions = Sessions(100.0)
    other = sessions.begin("t", now=0.0, user="other")[0]
    mine = [sessions.begin("t", now=0.0, user="me")[0] for _ in range(USER_MOST + 3)]
    assert [over(sessions, c) for c in mine] == [True] * 3 + [False] * USER_MOST
    assert not over(sessions, other)


def test_beyond_the_most_the_user_with_the_most_gives_way():
    sessions = Sessions(100.0)
    quiet = sessions.begin("t", now=0.0, user="quiet")[0]
    many = [sessions.begin("t", now=0.0, user="many")[0] for _ in range(USER_MOST)]
    others = [sessions.begin("t", now=0.0, user=f"u{i // 5}")[0] for i in range(MOST - USER_MOST)]
    assert [over(sessions, c) for c in many] == [True] + [False] * (USER_MOST - 1)
    assert not any(over(sessions, c) for c in [quiet, *others])


def test_those_that_are_over_make_room():
    sessions = Sessions(100.0)
    old = [sessions.begin("", now=0.0)[0] for _ in range(USER_MOST)]
    young = sessions.begin("", now=100.0)[0]
    assert sessions.find(young, 199.0)
    for cookie in old:
        with pytest.raises(Unauthenticated):
            sessions.find(cookie, 99.0)


def test_a_session_is_never_longer_than_its_token():
    cookie, made = Sessions(100.0).begin("t", now=0.0, expires=5.0)
    assert made.until == 5.0
    assert len(cookie) > 40


def test_ending_twice_is_ending():
    sessions = Sessions()
    cookie, _ = sessions.begin("", 0.0)
    sessions.end(cookie)
    sessions.end(cookie)
    with pytest.raises(Unauthenticated):
        sessions.find(cookie, 0.0)


@pytest.mark.parametrize("said", ["", "x", "ünïcode"])
def test_only_its_own_word_lets_a_session_write(said):
    _, made = Sessions().begin("", 0.0)
    check_csrf(made, made.csrf)
    with pytest.raises(Forbidden):
        check_csrf(made, said)
