"""Tenants' tokens against an emulated Keystone: who is who, what is remembered and for how long, and what happens while it is away."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud_emulator import Emulator, Fault, running
from foreshape_controller.cloud.call import Reply, Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, connect
from foreshape_controller.cloud.tokens import FAMILIAR_S, LONGEST, MOST, REFUSED_S, KeystoneTokens, TokenTerms
from foreshape_controller.errors import Forbidden, Unauthenticated, Unavailable

pytestmark = pytest.mark.functional


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return 1000.0 + self.ahead

    def clock(self) -> float:
        return time.time() + self.ahead


@pytest.fixture(scope="module")
def serving():
    with running(Emulator()) as emulator:
        yield emulator


@pytest.fixture
def cloud(serving):
    yield serving
    serving.people.clear()
    serving.faults.clear()


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
def tokens(cloud, hands):
    door = connect(Access(timeout_s=5.0, options=cloud.options()), Ways(Patience(tries=1)))
    assert door.subject is not None
    return KeystoneTokens(door.subject, TokenTerms(cache_s=60.0), hands.clock, hands.now)


def told(tokens, token):
    return tokens.known(token) or tokens.ask(token)


def questions(cloud):
    return sum(r.startswith("identity GET /auth/tokens") for r in cloud.requests)


def test_a_member_of_a_project_is_told_apart(cloud, tokens):
    who = told(tokens, cloud.give_token("p1", "member", "reader"))
    assert (who.project, who.project_name, who.roles, who.system) == ("p1", "name of p1", {"member", "reader"}, False)
    assert who.expires > time.time()


def test_a_token_for_the_system_is_for_no_project(cloud, tokens):
    who = told(tokens, cloud.give_token("", "reader", system={"all": True}))
    assert (who.project, who.system) == ("", True)


def test_a_token_that_is_for_nothing_has_no_roles(cloud, tokens):
    assert told(tokens, cloud.give_token()).roles == frozenset()


def test_what_was_validated_is_not_asked_again_until_its_time_is_over(cloud, tokens, hands):
    token, before = cloud.give_token("p1", "reader"), questions(cloud)
    assert {told(tokens, token).project for _ in range(10)} == {"p1"}
    assert questions(cloud) == before + 1
    hands.ahead = 60.1
    told(tokens, token)
    assert questions(cloud) == before + 2


def test_a_revoked_token_is_refused_within_the_cache_time(cloud, tokens, hands):
    token = cloud.give_token("p1", "reader")
    told(tokens, token)
    del cloud.people[token]
    hands.ahead = 59.9
    assert told(tokens, token).project == "p1"
    hands.ahead = 60.1
    with pytest.raises(Unauthenticated, match="does not know this token"):
        told(tokens, token)


def test_a_remembered_token_ends_when_it_expires(cloud, tokens, hands):
    token = cloud.give_token("p1", "reader", lasts_s=30)
    told(tokens, token)
    hands.ahead = 31
    with pytest.raises(Unauthenticated, match="expired"):
        told(tokens, token)


def test_a_refused_token_is_not_asked_about_again_at_once(cloud, tokens, hands):
    before = questions(cloud)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            told(tokens, "nobody-has-this-one")
    assert questions(cloud) == before + 1
    hands.ahead = REFUSED_S + 0.1
    with pytest.raises(Unauthenticated):
        told(tokens, "nobody-has-this-one")
    assert questions(cloud) == before + 2


@pytest.mark.parametrize("token", ["x" * (LONGEST + 1), "two\r\nlines", "ünïcode", "\x00"])
def test_what_cannot_be_a_token_is_not_passed_on(cloud, tokens, token):
    before = questions(cloud)
    with pytest.raises(Unauthenticated):
        told(tokens, token)
    assert questions(cloud) == before


@pytest.mark.parametrize("kind", ["drop", "status"])
def test_while_keystone_is_away_known_tokens_work_and_new_ones_wait(cloud, tokens, hands, kind):
    token = cloud.give_token("p1", "reader")
    told(tokens, token)
    cloud.faults.append(Fault("identity GET /auth/tokens", kind, times=100))
    hands.ahead = 59.9
    assert told(tokens, token).project == "p1"
    with pytest.raises(Unavailable, match="Keystone"):
        told(tokens, cloud.give_token("p2", "reader"))
    hands.ahead = 60.1
    with pytest.raises(Unavailable):
        told(tokens, token)
    cloud.faults.clear()
    assert told(tokens, token).project == "p1"


def test_our_own_token_that_expired_is_renewed_on_the_way(cloud, tokens):
    told(tokens, cloud.give_token("p1", "reader"))
    cloud.expire_tokens()
    assert told(tokens, cloud.give_token("p2", "reader")).project == "p2"


def test_tokens_for_a_domain_and_credentials_with_access_rules_are_refused(cloud, tokens):
    rules = {"id": "x", "access_rules": [{"service": "compute", "path": "/v2.1/servers", "method": "GET"}]}
    for more, said in (({"domain": {"id": "d"}}, "for a domain"), ({"application_credential": rules}, "access rules")):
        token = cloud.give_token("" if "domain" in more else "p1", "admin", **more)
        for _ in range(2):
            with pytest.raises(Forbidden, match=said):
                told(tokens, token)


def test_an_application_credential_without_rules_is_its_users(cloud, tokens):
    assert told(tokens, cloud.give_token("p1", "member", application_credential={"id": "x", "restricted": True})).project == "p1"


def test_the_admin_of_another_than_the_admin_project_is_no_operator(cloud, tokens):
    assert told(tokens, cloud.give_token("p1", "admin", "reader", is_admin_project=False)).roles == {"reader"}
    assert "admin" in told(tokens, cloud.give_token("p1", "Admin")).roles


@pytest.mark.parametrize("body", [None, {}, {"token": {}}, {"token": []}, {"token": {"user": {"id": "u"}, "expires_at": "soon"}}, "text"])
def test_an_answer_that_makes_no_sense_lets_nobody_in(hands, body):
    tokens = KeystoneTokens(lambda _: Reply(200, body), TokenTerms(), hands.clock, hands.now)
    with pytest.raises(Unavailable):
        tokens.ask("t")


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_keystone_that_does_not_validate_for_us_lets_nobody_in(hands, status):
    with pytest.raises(Unavailable):
        KeystoneTokens(lambda _: Reply(status), TokenTerms(), hands.clock, hands.now).ask("t")


def test_a_flood_of_tokens_is_not_passed_on(hands):
    asked = []

    def subject(token):
        asked.append(token)
        return Reply(404)

    tokens = KeystoneTokens(subject, TokenTerms(per_s=20, burst=40), hands.clock, hands.now)
    refused = 0
    for i in range(1000):
        try:
            tokens.ask(f"bogus-{i}")
        except Unavailable:
            refused += 1
        except Unauthenticated:
            pass
    assert (len(asked), refused) == (40, 960)
    hands.ahead = 1.0
    with pytest.raises(Unauthenticated):
        tokens.ask("after a second")


def test_memory_is_bounded_and_holds_no_token(hands):
    tokens = KeystoneTokens(lambda _: Reply(404), TokenTerms(per_s=1e9, burst=10**9), hands.clock, hands.now)
    for i in range(MOST + 10):
        with pytest.raises(Unauthenticated):
            tokens.ask(f"marked-token-{i}")
    assert len(tokens._known) == MOST
    assert "marked-token" not in repr(vars(tokens))


def test_many_threads_ask_at_once(cloud, tokens):
    mine = {p: cloud.give_token(p, "reader") for p in ("p1", "p2", "p3")}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda p: (p, told(tokens, mine[p]).project), list(mine) * 20))
    assert all(p == of for p, of in found)


def test_a_familiar_token_is_asked_about_again_during_a_flood_until_it_is_refused(cloud, tokens, hands):
    mine = cloud.give_token("p1", "reader")
    told(tokens, mine)
    hands.ahead = 61.0
    for i in range(100):
        with pytest.raises((Unavailable, Unauthenticated)):
            tokens.ask(f"bogus-{i}")
    with pytest.raises(Unavailable):
        tokens.ask(cloud.give_token("p2", "reader"))
    assert tokens.known(mine) is None
    assert tokens.ask(mine).project == "p1"
    cloud.people.clear()
    with pytest.raises(Unauthenticated):
        tokens.ask(mine)
    assert not tokens.familiar(mine)


def test_a_token_is_familiar_for_a_while_only(cloud, tokens, hands):
    mine = cloud.give_token("p1", "reader")
    assert not tokens.familiar(mine)
    told(tokens, mine)
    hands.ahead = FAMILIAR_S - 1
    assert tokens.familiar(mine)
    hands.ahead = FAMILIAR_S
    assert not tokens.familiar(mine)
