"""Browsers trade a token for a cookie; a cookie ends with its token, and writes need a word that other sites cannot know."""

import pytest
from litestar.testing import TestClient

from foreshape_controller.main import build
from store_support import T0, settings
from tenants_support import MEMBER, READER, FakeTokens

pytestmark = pytest.mark.functional

MODE = {"scope": "cloud", "mode": "observe", "reason": "test"}


class Clock:
    now = T0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tokens():
    return FakeTokens()


@pytest.fixture
def program(tmp_path, clock, tokens):
    made = build(settings(tmp_path), clock=clock, tokens=tokens)
    yield made
    made.store.close()


@pytest.fixture
def client(program):
    with TestClient(program.app, raise_server_exceptions=False) as c:
        yield c


@pytest.fixture
def admin(program):
    return {"Authorization": f"Bearer {program.admin_token}"}


def log_in(client, by):
    reply = client.post("/v1/session", headers=by)
    assert reply.status_code == 201
    return reply


def test_an_operator_logs_in_reads_writes_and_logs_out(client, admin):
    reply = log_in(client, admin)
    assert client.get("/v1/hosts").status_code == 200
    csrf = {"X-Foreshape-CSRF": reply.json()["csrf"]}
    assert client.put("/v1/mode", json=MODE, headers=csrf).status_code == 200
    assert client.delete("/v1/session", headers=csrf).status_code == 204
    assert client.get("/v1/hosts").status_code == 401


def test_the_cookie_is_for_no_script_no_other_site_and_holds_no_token(client, admin, program):
    cookie = log_in(client, admin).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie, "plain HTTP on loopback: a browser would drop it"
    assert program.admin_token not in cookie


def test_under_tls_the_cookie_never_goes_without_it(program, admin):
    with TestClient(program.app, base_url="https://testserver.local") as client:
        assert "Secure" in log_in(client, admin).headers["set-cookie"]


@pytest.mark.parametrize("said", [{}, {"X-Foreshape-CSRF": "guessed"}, {"X-Foreshape-CSRF": ""}])
def test_a_write_by_cookie_without_its_word_is_refused(client, admin, said):
    log_in(client, admin)
    assert client.put("/v1/mode", json=MODE, headers=said).status_code == 403
    assert client.delete("/v1/session", headers=said).status_code == 403
    assert client.get("/v1/mode").json()["mode"] != "observe"


def test_another_sessions_word_does_not_do(client, admin):
    stale = log_in(client, admin).json()["csrf"]
    log_in(client, admin)
    assert client.put("/v1/mode", json=MODE, headers={"X-Foreshape-CSRF": stale}).status_code == 403


def test_who_am_i_says_what_one_may(client):
    said = client.get("/v1/session", headers=READER).json()
    assert (said["project"], said["everywhere"], said["csrf"]) == ("p1", False, "")
    assert "servers:list" in said["rules"]
    assert not {"events:create", "operator:read"} & set(said["rules"])
    assert "events:create" in client.get("/v1/session", headers=MEMBER).json()["rules"]


def test_nobody_is_told_to_log_in(client):
    assert client.get("/v1/session").status_code == 401
    assert client.post("/v1/session").status_code == 401


def test_a_cookie_does_not_beget_another(client, admin):
    csrf = log_in(client, admin).json()["csrf"]
    assert client.post("/v1/session", headers={"X-Foreshape-CSRF": csrf}).status_code == 400


def test_a_session_ends_with_its_token(client, tokens, clock):
    tokens.expires = T0 + 60
    assert log_in(client, READER).json()["expires"] == T0 + 60
    clock.now = T0 + 61
    assert client.get("/v1/session").status_code == 401


def test_a_session_ends_when_its_token_is_revoked(client, tokens):
    log_in(client, READER)
    tokens.revoked.add(READER["X-Auth-Token"])
    assert client.get("/v1/session").status_code == 401
    tokens.revoked.clear()
    assert client.get("/v1/session").status_code == 401, "it does not rise again"


def test_a_session_ends_by_itself(client, admin, clock, program):
    log_in(client, admin)
    clock.now = T0 + program.app.state.services.identity.sessions.lasts_s
    assert client.get("/v1/session").status_code == 401


def test_a_session_does_not_survive_the_controller(client, admin, tmp_path, clock):
    log_in(client, admin)
    cookie = client.cookies["foreshape_session"]
    again = build(settings(tmp_path), clock=clock)
    with TestClient(again.app) as c:
        c.cookies.set("foreshape_session", cookie)
        assert c.get("/v1/session").status_code == 401
    again.store.close()


def test_a_header_counts_before_a_cookie(client, admin):
    log_in(client, admin)
    assert client.get("/v1/session", headers=READER).json()["project"] == "p1"
    assert client.get("/v1/hosts", headers={"Authorization": "Bearer wrong-token-wrong-token"}).status_code == 401


def test_keystone_that_does_not_answer_is_said_so_and_the_operators_token_works(client, admin, tokens):
    tokens.down = True
    reply = client.get("/v1/session", headers=READER)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
    assert client.get("/v1/session", headers=admin).status_code == 200
