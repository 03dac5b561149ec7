"""Marked secrets are sent by every way there is, to every route: none may be in a log line, an answer, the audit, or anywhere on disk."""

import io
import json
import logging
import sqlite3

import pytest
import structlog
from litestar.testing import TestClient

from foreshape_controller import log
from foreshape_controller.errors import Unauthenticated
from foreshape_controller.main import build
from foreshape_controller.model.caller import Caller
from foreshape_wire.codec import encode
from store_support import T0, card, report, sample, settings

pytestmark = pytest.mark.functional

TENANT, ADMIN, BOGUS = "tok-tenant-MARKED-111", "tok-admin-MARKED-222", "tok-bogus-MARKED-333"
MARK = "MARKED"
FILLED = {"host": "none", "name": "web-1", "cap": "none", "of": "project", "series": "project:p1", "period": "2026-01", "path": "x"}


class Tokens:
    """Two that are somebody's; each third question is answered by a fault that carries its token."""

    asked = 0

    def known(self, token):
        return None

    def familiar(self, token):
        return False

    def ask(self, token):
        if token == TENANT:
            return Caller(user="u1", name="alice", project="p1", roles=frozenset({"member", "reader"}))
        if token == ADMIN:
            return Caller(user="u0", name="root", project="p0", roles=frozenset({"admin", "member", "reader"}))
        self.asked += 1
        if self.asked % 50 == 0:
            raise RuntimeError("a fault on the way")
        raise Unauthenticated("Keystone does not know this token")


@pytest.fixture(params=["json", "text"])
def logged(request, monkeypatch):
    """All that is logged, by either way that logs are written."""
    kept = structlog.get_config()
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    log.configure("debug", request.param)
    logging.getLogger().setLevel(logging.DEBUG)
    yield stream
    logging.getLogger().setLevel(logging.WARNING)
    structlog.configure(**kept)


@pytest.fixture
def program(tmp_path):
    made = build(settings(tmp_path), clock=lambda: T0 + 30, tokens=Tokens())
    cards = [card(name="web-1", project="p1")]
    made.intake.accept("hv1", encode(report(1, samples=[sample()], cards=cards)), T0 + 30)
    yield made
    made.store.close()


def routes(app):
    for route in app.routes:
        for method in getattr(route, "methods", ()):
            path = route.path_format
            for name, value in FILLED.items():
                path = path.replace(f"{{{name}}}", value)
            if method not in ("OPTIONS", "HEAD") and not path.endswith("/stream"):
                yield method, path.replace("{", "").replace("}", "")


def test_no_secret_is_told_again(program, logged, tmp_path):
    secrets = [program.admin_token]
    with TestClient(program.app, raise_server_exceptions=False) as client:
        answers = []

        def ask(method, path, headers, body=None):
            more = {"json": body} if body is not None else {}
            reply = client.request(method, path, headers=headers, **more)
            client.cookies.clear()
            answers.append(reply.text + json.dumps(dict(reply.headers)))
            return reply

        begun = client.post("/v1/session", headers={"X-Auth-Token": TENANT})
        cookie, csrf = client.cookies["foreshape_session"], begun.json()["csrf"]
        client.cookies.clear()
        join = client.post("/v1/agents/hv1/join", headers={"X-Auth-Token": ADMIN}).json()["join_token"]
        agent = client.post("/v1/agents/enrol", json={"host": "hv1", "join_token": join}).json()["token"]
        secrets += [cookie, csrf, join, agent]
        by = (
            {"X-Auth-Token": TENANT},
            {"X-Auth-Token": ADMIN},
            {"X-Auth-Token": BOGUS},
            {"Authorization": f"Bearer {BOGUS}"},
            {"Authorization": f"Bearer {program.admin_token}"},
            {"Authorization": f"Bearer {agent}"},
            {"Cookie": f"foreshape_session={cookie}"},
            {"Cookie": f"foreshape_session={BOGUS}", "X-Foreshape-CSRF": BOGUS},
        )
        asked = 0
        for method, path in routes(program.app):
            if path == "/v1/session" and method == "DELETE":
                continue
            for headers in by:
                ask(method, path, headers, {"nonsense": 1} if method in ("POST", "PUT") else None)
                asked += 1
        ask("POST", "/v1/agents/enrol", {}, {"host": "hv1", "join_token": BOGUS})
        ask("PUT", "/v1/mode", {"X-Auth-Token": ADMIN}, {"scope": "cloud", "mode": "observe", "reason": "x"})
        assert asked > 800
        operator = {"Authorization": f"Bearer {program.admin_token}"}
        ask("PUT", "/v1/mode", operator, {"scope": "cloud", "mode": "advise", "reason": "x"})
        audited = client.get("/v1/audit?limit=1000", headers=operator).text
    written = logged.getvalue()
    assert "request" in written, "the log is looked at"
    assert "/v1/mode" in audited
    program.store.close()
    disk = b"".join(f.read_bytes() for f in tmp_path.iterdir() if f.is_file() and f.name != "admin-token")
    told = {"log": written, "answers": "".join(answers), "audit": audited, "disk": disk.decode("utf-8", "replace")}
    found = {where: [s for s in (MARK, *secrets) if s in text] for where, text in told.items()}
    allowed = {"answers": [csrf], "log": [], "audit": [], "disk": []}
    assert {w: [s for s in f if s not in allowed[w]] for w, f in found.items()} == {w: [] for w in told}
    assert sqlite3.connect(tmp_path / "controller.db").execute("SELECT count(*) FROM audit").fetchone()[0] > 10
