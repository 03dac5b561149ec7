"""Bad input at every route at once: ids that are paths, queries or scripts, bodies that are too large or nonsense, tokens that run out.

What single routes refuse is tested with them; here no route is forgotten, since the application itself says which there are.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.testing import TestClient

from foreshape_controller.config import IdentitySettings
from foreshape_controller.main import Program, build
from foreshape_controller.model.reclaim import Notice
from foreshape_demo.serve import Serving
from foreshape_wire.codec import MAX_MESSAGE_BYTES, encode
from store_support import T0, card, report, sample, settings
from tenants_support import FakeTokens, headers

pytestmark = pytest.mark.functional

NOW = T0 + 30
MEMBER = headers("p1", "member", "reader")
HOSTILE = {
    "path": "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "encoded dots": "%2e%2e%2f%2e%2e%2fadmin-token",
    "twice encoded": "%252e%252e%252fetc%252fpasswd",
    "backslashes": "..%5c..%5cwindows%5cwin.ini",
    "absolute": "%2fetc%2fpasswd",
    "nul": "vm-1%00.json",
    "new line": "vm-1%0d%0aSet-Cookie:%20stolen=1",
    "sql": "vm-1'%20OR%20'1'='1",
    "script": "%3Cscript%3Ealert(1)%3C%2fscript%3E",
    "template": "$%7B7*7%7D%7B%7B7*7%7D%7D",
    "broken utf-8": "%ff%fe%80",
    "endless": "x" * 5000,
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    limits = IdentitySettings(requests_per_minute=10**6, writes_per_minute=10**6, failures_per_minute=10**5)
    made = build(replace(settings(tmp_path_factory.mktemp("bad")), identity=limits), clock=lambda: NOW, tokens=FakeTokens())
    made.intake.accept("hv1", encode(report(1, samples=[sample("vm-1")], cards=[card("vm-1", name="web", project="p1")])), NOW)
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def client(program: Program) -> Iterator[TestClient[Any]]:
    with TestClient(program.app, raise_server_exceptions=False) as made:
        yield made


def routes(app: Any, *methods: str) -> list[tuple[str, str]]:
    """Method and path of every route, as the application has them."""
    found = {(m, r.path_format) for r in app.routes for m in getattr(r, "methods", ()) if m in methods}
    return sorted(found)


def filled(path: str, word: str) -> str:
    return "/".join(word if part.startswith("{") else part for part in path.split("/"))


def refused(reply: httpx.Response, where: str) -> None:
    """A 4xx in words, in which nothing of the machine stands."""
    assert 400 <= reply.status_code < 500, f"{where}: {reply.status_code} {reply.text[:300]}"
    assert "root:" not in reply.text, where
    assert "Traceback" not in reply.text, where
    assert "set-cookie" not in reply.headers, where
    if reply.headers.get("content-type", "").startswith("application/problem+json"):
        assert reply.json()["code"], where
    assert len(reply.content) < 4096, f"{where}: no answer repeats all that was said"


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_id_that_is_no_id_is_refused_by_every_route(program: Program, client: TestClient[Any], kind: str) -> None:
    operator = {"Authorization": f"Bearer {program.admin_token}"}
    asked = [(m, p) for m, p in routes(client.app, "GET", "POST", "PUT", "DELETE") if "{" in p]
    assert len(asked) > 50
    for method, path in asked:
        for by in (MEMBER, operator):
            body = {"json": {}} if method in ("POST", "PUT") else {}
            reply = client.request(method, filled(path, HOSTILE[kind]), headers=by, follow_redirects=False, **body)
            refused(reply, f"{method} {path} {reply.url.path[:80]}")
    assert [s["name"] for s in client.get("/v1/servers", headers=MEMBER).json()] == ["web"], "and nothing is lost"


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"null", b'"x"', b"{}garbage", b'{"name": NaN}', b""])
def test_a_body_that_is_none_is_refused_by_every_route(program: Program, client: TestClient[Any], body: bytes) -> None:
    for method, path in routes(client.app, "POST", "PUT"):
        by = {"Authorization": f"Bearer {program.admin_token}", "Content-Type": "application/json"}
        reply = client.request(method, filled(path, "none"), headers=by, content=body)
        assert reply.status_code < 500, f"{method} {path}: {reply.text[:300]}"
        if reply.status_code >= 400:
            refused(reply, f"{method} {path}")


def test_a_body_that_is_too_large_is_refused_by_every_route_by_its_length(program: Program, client: TestClient[Any]) -> None:
    by = {"Authorization": f"Bearer {program.admin_token}", "Content-Type": "application/json"}
    large = b'{"name": "' + b"x" * MAX_MESSAGE_BYTES + b'"}'
    described = client.get("/schema/openapi.json").json()["paths"]
    takes = [(m, p) for m, p in routes(client.app, "POST", "PUT") if "requestBody" in described.get(p, {}).get(m.lower(), {})]
    assert len(takes) > 30
    for method, path in takes:
        reply = client.request(method, filled(path, "none"), headers=by, content=large)
        refused(reply, f"{method} {path}")
        unread = path == "/v1/reports"  # of agents nothing is read before their token is known
        assert reply.status_code == (401 if unread else 413), f"{method} {path}: {reply.status_code}"


def test_a_stream_tells_nothing_more_from_the_instant_that_its_token_runs_out(tmp_path: Path) -> None:
    at, tokens = [NOW], FakeTokens(expires=NOW + 60)
    plain = settings(tmp_path)
    program = build(replace(plain, identity=replace(plain.identity, token_cache_s=3600)), clock=lambda: at[0], tokens=tokens)

    def tell(text: str) -> None:
        program.store.notices.put([Notice(at=NOW, project="p1", server="vm-1", name="web", kind="cap", text=text)])

    try:
        with Serving(program, 0) as served, httpx.stream("GET", f"{served.url}/v1/stream", headers=MEMBER, timeout=30) as reply:
            lines = reply.iter_lines()
            assert next(lines) == "retry: 3000"
            tell("in time")
            assert json.loads(next(x for x in lines if x.startswith("data: ")).removeprefix("data: "))["text"] == "in time"
            at[0] = NOW + 60
            tell("too late")
            assert not [x for x in lines if x.startswith("data: ")], "it ends, and nothing was told"
    finally:
        program.store.close()
