"""Tokens: one-time to join, hashed at rest, replaced without a gap, void at once when revoked."""

import pytest

from foreshape_controller.errors import EnrolRefused
from store_support import DAY, T0, open_store

pytestmark = [pytest.mark.functional, pytest.mark.engines]


@pytest.fixture
def agents():
    return open_store().agents


def enrolled(agents, host="hv1", now=T0):
    return agents.enrol(host, agents.join_token(host, now, 60.0), now)


def test_a_join_token_is_traded_once(agents):
    join = agents.join_token("hv1", T0, 60.0)
    token = agents.enrol("hv1", join, T0 + 59)
    assert agents.authenticate(token, T0 + 60) == "hv1"
    with pytest.raises(EnrolRefused, match="foreshape agent enroll hv1"):
        agents.enrol("hv1", join, T0 + 59)


@pytest.mark.parametrize("wrong", ["late", "another host", "invented"])
def test_a_join_token_that_does_not_fit_is_refused(agents, wrong):
    join = agents.join_token("hv1", T0, 60.0)
    host = "hv2" if wrong == "another host" else "hv1"
    now = T0 + 60 if wrong == "late" else T0 + 1
    with pytest.raises(EnrolRefused):
        agents.enrol(host, "join-x" if wrong == "invented" else join, now)


def test_a_new_join_token_voids_the_unused_one(agents):
    first = agents.join_token("hv1", T0, 60.0)
    second = agents.join_token("hv1", T0, 60.0)
    with pytest.raises(EnrolRefused):
        agents.enrol("hv1", first, T0)
    assert agents.enrol("hv1", second, T0)


def test_enrolling_again_voids_the_old_token(agents):
    old, new = enrolled(agents), enrolled(agents)
    assert agents.authenticate(old, T0) is None
    assert agents.authenticate(new, T0) == "hv1"


def test_the_old_token_holds_until_the_new_one_is_used(agents):
    old = enrolled(agents)
    new = agents.rotate("hv1", T0 + DAY)
    assert agents.authenticate(old, T0 + DAY) == "hv1"
    assert agents.authenticate(new, T0 + DAY + 1) == "hv1"
    assert agents.authenticate(old, T0 + DAY + 2) is None
    assert agents.authenticate(new, T0 + DAY + 2) == "hv1"


def test_a_reply_that_was_lost_costs_nothing(agents):
    old = enrolled(agents)
    lost = agents.rotate("hv1", T0 + 31 * DAY)
    assert not agents.rotation_due("hv1", T0 + 31 * DAY + 10, 30 * DAY)  # the first use of the new one is awaited
    assert agents.rotation_due("hv1", T0 + 31 * DAY + 61, 30 * DAY)
    again = agents.rotate("hv1", T0 + 31 * DAY + 61)
    assert agents.authenticate(old, T0 + 31 * DAY + 62) == "hv1"
    assert agents.authenticate(again, T0 + 31 * DAY + 63) == "hv1"
    assert agents.authenticate(lost, T0 + 31 * DAY + 64) is None
    assert not agents.rotation_due("hv1", T0 + 32 * DAY, 30 * DAY)


def test_a_host_that_never_enrolled_has_nothing_to_rotate(agents):
    assert not agents.rotation_due("hv1", T0 + 100 * DAY, 30 * DAY)


def test_revoking_voids_every_token_of_that_host_only(agents):
    mine, others = enrolled(agents), enrolled(agents, "hv2")
    join, rotated = agents.join_token("hv1", T0, 60.0), agents.rotate("hv1", T0)
    assert agents.revoke("hv1") is True
    assert [agents.authenticate(t, T0) for t in (mine, rotated, join)] == [None] * 3
    with pytest.raises(EnrolRefused):
        agents.enrol("hv1", join, T0)
    assert agents.authenticate(others, T0) == "hv2"
    assert agents.revoke("hv1") is False


def test_no_token_is_in_the_database(tmp_path):
    store = open_store(tmp_path / "c.db")
    secrets = [enrolled(store.agents), store.agents.rotate("hv1", T0), store.agents.join_token("hv2", T0, 60.0)]
    store.close()
    stored = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert all(s.encode() not in stored for s in secrets)


@pytest.mark.parametrize("token", ["", "x", "agent-", "\udcff", "a" * 100_000])
def test_nonsense_is_nobody(agents, token):
    assert agents.authenticate(token, T0) is None
