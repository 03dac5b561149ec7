"""Logging in with a password of Keystone's: it is Keystone's to judge, it is kept nowhere, and floods keep nobody out who is known."""

import io
import logging
import time

import pytest
import structlog
from litestar.testing import TestClient

from cloud_emulator import Account, Emulator, Fault, running
from foreshape_controller import log
from foreshape_controller.api.logins import Logins
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, connect
from foreshape_controller.cloud.tokens import KeystoneTokens, TokenTerms
from foreshape_controller.errors import TooMany
from foreshape_controller.main import build
from foreshape_controller.model.login import Login
from store_support import settings

pytestmark = pytest.mark.functional

PASSWORD = "correct-horse-MARKED"
ALICE = {"user": "alice", "password": PASSWORD, "project": "p1"}


@pytest.fixture(scope="module")
def serving():
    with running(Emulator()) as emulator:
        yield emulator


@pytest.fixture
def keystone(serving):
    serving.accounts = {
        "alice": Account(PASSWORD, "p1"),
        "root": Account(PASSWORD, "p0", ("admin", "member", "reader"), by_default=True),
        "mfa": Account(PASSWORD, "p1", second_factor=True),
        "old": Account(PASSWORD, "p1", expired=True),
        "eve": Account(PASSWORD, "p2", domain="Elsewhere"),
    }
    yield serving
    serving.faults.clear()
    serving.people.clear()


@pytest.fixture
def program(tmp_path, keystone):
    door = connect(Access(timeout_s=15.0, options=keystone.options()), Ways(Patience(tries=1)))
    made = build(settings(tmp_path), tokens=KeystoneTokens(door.subject, TokenTerms(), time.time, time.monotonic, door.issue))
    yield made
    made.store.close()


@pytest.fixture
def client(program):
    with TestClient(program.app, raise_server_exceptions=False) as c:
        yield c


def log_in(client, **said):
    return client.post("/v1/session", json={**ALICE, **said})


def test_a_member_logs_in_reads_and_logs_out(client):
    reply = log_in(client)
    assert reply.status_code == 201, reply.text
    said = reply.json()
    assert (said["project"], said["everywhere"], said["local"]) == ("p1", False, False)
    assert said["expires"] <= time.time() + 3601, "never longer than the token"
    assert {"HttpOnly", "SameSite=strict"} <= set(reply.headers["set-cookie"].split("; "))
    assert client.get("/v1/servers").status_code == 200
    assert client.get("/v1/hosts").status_code == 403
    assert client.delete("/v1/session", headers={"X-Foreshape-CSRF": said["csrf"]}).status_code == 204
    assert client.get("/v1/servers").status_code == 401


def test_an_operator_logs_in_for_his_default_project_and_another_for_the_system(client):
    assert log_in(client, user="root", project="").json()["everywhere"] is True
    said = log_in(client, user="alice", system=True, project="").json()
    assert (said["project"], said["everywhere"]) == ("", True), "a reader of the system"


def test_a_user_of_another_domain_names_it(client):
    assert log_in(client, user="eve", project="p2").status_code == 401
    assert log_in(client, user="eve", project="p2", user_domain="Elsewhere").json()["project"] == "p2"


@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"user": "nobody"}, {"project": "p2"}, {"user_domain": "Nowhere"}])
def test_whatever_is_wrong_is_refused_in_the_same_words(client, wrong):
    reply = log_in(client, **wrong)
    assert (reply.status_code, "set-cookie" in reply.headers) == (401, False)
    assert "user, password, domain or project" in reply.json()["detail"]
    assert "openstack token issue" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("user", "project", "words"),
    [("mfa", "p1", "second factor"), ("old", "p1", "has expired"), ("alice", "", "no default project")],
)
def test_who_cannot_get_in_like_this_is_told_what_to_do(client, user, project, words):
    reply = log_in(client, user=user, project=project)
    assert reply.status_code == 403
    assert words in reply.json()["detail"]


@pytest.mark.parametrize(
    "said",
    [
        {"user": ""},
        {"password": ""},
        {"user": "x" * 256},
        {"password": "x" * 4097},
        {"password": 1},
        {"nonsense": PASSWORD},
        {"user": None},
    ],
)
def test_what_makes_no_sense_asks_keystone_nothing_and_is_not_repeated(client, keystone, said):
    before = len(keystone.requests)
    reply = log_in(client, **said)
    assert reply.status_code == 400
    assert "MARKED" not in reply.text
    assert len(keystone.requests) == before


def test_a_form_of_another_site_is_no_login(client):
    reply = client.post("/v1/session", content=b'{"user": "alice", "password": "x"}', headers={"Content-Type": "text/plain"})
    assert reply.status_code == 415


def test_a_token_and_a_password_at_once_are_one_too_many(client, program):
    reply = client.post("/v1/session", json=ALICE, headers={"Authorization": f"Bearer {program.admin_token}"})
    assert reply.status_code == 400


@pytest.mark.parametrize("kind", ["status", "drop"])
def test_a_keystone_that_is_away_is_said_so_and_counts_against_nobody(client, keystone, program, kind):
    keystone.faults.append(Fault("identity POST /auth/tokens", kind, status=503, times=100))
    for _ in range(8):
        reply = log_in(client)
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "5"), reply.text
    keystone.faults.clear()
    assert log_in(client).status_code == 201
    assert client.post("/v1/session", headers={"Authorization": f"Bearer {program.admin_token}"}).status_code == 201


def test_without_a_keystone_the_admin_token_is_named(tmp_path):
    made = build(settings(tmp_path))
    with TestClient(made.app) as client:
        reply = log_in(client)
        assert reply.status_code == 400
        assert "no Keystone is configured" in reply.json()["detail"]
    made.store.close()


def test_guessing_ends_soon_and_a_familiar_user_is_not_kept_out(client, keystone):
    assert log_in(client).status_code == 201
    told = [log_in(client, user="root", password=f"guess-{n}").status_code for n in range(8)]
    assert told == [401] * 5 + [429] * 3
    asked = len(keystone.requests)
    refused = log_in(client, user="root", project="")
    assert (refused.status_code, len(keystone.requests)) == (429, asked), "Keystone is not asked any more"
    assert int(refused.headers["retry-after"]) >= 1
    assert log_in(client).status_code == 201, "who logged in from here lately has his own count"
    assert [log_in(client, password="wrong").status_code for _ in range(6)] == [401] * 5 + [429]


@pytest.mark.parametrize("style", ["json", "text"])
def test_no_password_is_told_logged_audited_or_kept(client, program, tmp_path, monkeypatch, style):
    kept, stream = structlog.get_config(), io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    log.configure("debug", style)
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        answers = [log_in(client), log_in(client, user="mfa"), log_in(client, user="nobody"), log_in(client, nonsense=1)]
        operator = {"Authorization": f"Bearer {program.admin_token}"}
        audited = client.get("/v1/audit?limit=100", headers=operator).json()
    finally:
        logging.getLogger().setLevel(logging.WARNING)
        structlog.configure(**kept)
    assert [a.status_code for a in answers] == [201, 403, 401, 400]
    rows = [(a["route"], a["status"], a["name"]) for a in audited]
    assert ("/v1/session", 201, "somebody") in rows
    assert ("/v1/session", 401, "") in rows, "who tries is seen, but not what he typed"
    written = stream.getvalue()
    assert "/v1/session" in written
    program.store.close()
    disk = b"".join(f.read_bytes() for f in tmp_path.iterdir() if f.is_file())
    told = "".join(a.text for a in answers) + str(audited) + written + disk.decode("utf-8", "replace")
    assert "MARKED" not in told
    assert "MARKED" not in repr(Login(**ALICE)) + str(Login(**ALICE))


# -- counting -----------------------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def who(name="alice", **more):
    return Login(user=name, password="x", **more)


def fails(logins, *asked):
    """How many of these attempts are let through."""
    done = 0
    for login, address in asked:
        try:
            logins.begin(login, address)
            done += 1
        except TooMany:
            pass
    return done


def test_spelling_a_name_differently_gives_no_new_guesses():
    logins, spelled = Logins(10, Clock()), ("alice", "ALICE", "Alice", "ａlice")
    assert fails(logins, *((who(spelled[n % 4]), f"192.0.2.{n}") for n in range(20))) == 5


def test_one_address_cannot_try_one_password_on_everybody():
    logins = Logins(10, Clock())
    assert fails(logins, *((who(f"user-{n}"), f"2001:db8::{n}") for n in range(20))) == 5


def test_a_flood_from_everywhere_keeps_nobody_out_who_was_here_lately():
    clock = Clock()
    logins = Logins(10, clock)
    logins.right(logins.begin(who(), "192.0.2.1"))
    assert fails(logins, *((who(), f"198.51.100.{n}") for n in range(200))) == 5
    assert fails(logins, *((who("bob"), "192.0.2.1") for n in range(200))) == 5
    logins.right(logins.begin(who(), "192.0.2.1"))
    clock.now = 31 * 86400.0
    assert fails(logins, *((who(), f"198.51.100.{n}") for n in range(9))) == 5
    with pytest.raises(TooMany, match="of this user"):
        logins.begin(who(), "192.0.2.1")


def test_what_was_right_or_not_judged_costs_nothing_however_often():
    logins = Logins(10, Clock())
    for n in range(50):
        logins.right(logins.begin(who(), "192.0.2.1"))
        logins.unknown(logins.begin(who("bob"), f"192.0.2.{n}"))
    assert fails(logins, *((who("bob"), f"198.51.100.{n}") for n in range(9))) == 5
