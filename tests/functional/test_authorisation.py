"""Every route of the application, and who may: nobody, another tenant, reader, member, admin, reader of the system, the local admin token.

A route without a line in ``ROUTES`` fails; so does a line without a route. Of what tenants read, nothing of other tenants may be in it.
"""

from dataclasses import dataclass, replace

import pytest
from litestar.testing import TestClient

from foreshape_controller.config import IdentitySettings
from foreshape_controller.main import build
from foreshape_wire.codec import encode
from store_support import T0, card, decision, order, plan, report, sample, settings
from tenants_support import FakeTokens, headers

pytestmark = pytest.mark.functional

NOW = T0 + 30
OURS, THEIRS, HOST = "proj-aaaa", "proj-zzzz", "hv-secret-7"
PUBLIC, OWN, ANYBODY, LIST, ONE, ASK, MAKE, CHANGE, LOOK, OPERATE, STREAM = (
    "public",  # anybody
    "own",  # a token of another kind: agents', the scheduler's, collectors'
    "anybody",  # whoever is known
    "list",  # a reader, of his project
    "one",  # the same of one thing
    "ask",  # a reader, and nothing is kept
    "make",  # a member, in his project
    "change",  # the same of one thing
    "look",  # operators and readers of the system
    "operate",  # operators
    "stream",
)
EVENT = {"name": "launch", "start": "2026-02-01T09:00", "end": "2026-02-01T10:00", "factors": {"cpu": 2.0}}
SIZE = {"vcpus": 1, "ram": 512, "for_s": 7200}
HOOK = {"url": "https://hooks.example.com/x"}

ROUTES = {
    "GET /": (PUBLIC,),
    "GET /dashboard": (PUBLIC,),
    "GET /dashboard/{name}": (PUBLIC, "/dashboard/index.html"),
    "GET /healthz": (PUBLIC,),
    "GET /readyz": (PUBLIC,),
    "GET /schema": (PUBLIC,),
    "GET /schema/openapi.json": (PUBLIC,),
    "GET /schema/{path}": (PUBLIC, "/schema/nothing"),
    "POST /v1/agents/enrol": (OWN,),
    "POST /v1/reports": (OWN,),
    "GET /metrics": (OWN,),
    "GET /v1/headroom": (OWN,),
    "GET /v1/session": (ANYBODY,),
    "GET /v1/session/ways": (PUBLIC,),
    "POST /v1/session": (ANYBODY,),
    "DELETE /v1/session": (ANYBODY,),
    "GET /v1/stream": (STREAM,),
    "GET /v1/anomalies": (LIST,),
    "GET /v1/audit": (LIST,),
    "GET /v1/caps": (LIST,),
    "GET /v1/caps/{cap}": (ONE, "/v1/caps/{cap}"),
    "GET /v1/choices": (LIST,),
    "GET /v1/choices/{of}": (ONE, f"/v1/choices/project:{OURS}"),
    "PUT /v1/choices/{of}": (CHANGE, f"/v1/choices/project:{OURS}", {"mode": "advise"}),
    "DELETE /v1/choices/{of}": (CHANGE, f"/v1/choices/project:{OURS}"),
    "GET /v1/events": (LIST,),
    "GET /v1/events/{name}": (ONE, "/v1/events/{event}"),
    "POST /v1/events": (MAKE, "/v1/events", EVENT),
    "POST /v1/events/import": (MAKE,),
    "DELETE /v1/events/{name}": (CHANGE, "/v1/events/{event}"),
    "GET /v1/forecasts/{series}": (ONE, f"/v1/forecasts/project:{OURS}"),
    "GET /v1/mode": (LIST,),
    "GET /v1/modes": (LIST,),
    "GET /v1/notices": (LIST,),
    "GET /v1/overview": (LIST,),
    "GET /v1/overview/calendar": (LIST, f"/v1/overview/calendar?since={T0}&until={T0 + 86400}"),
    "GET /v1/overview/history": (LIST,),
    "GET /v1/pools": (LIST,),
    "GET /v1/pools/{pool}": (LIST, "/v1/pools/none"),
    "POST /v1/pools/{pool}/claims": (MAKE, "/v1/pools/none/claims", {"owner": "x"}),
    "GET /v1/prices": (LIST,),
    "POST /v1/prices/quote": (ASK, "/v1/prices/quote", {"cores": 1, "gib": 1, "duration_s": 3600}),
    "GET /v1/reclaims": (LIST,),
    "POST /v1/reclaims/{name}/object": (CHANGE, "/v1/reclaims/srv-aaaa/object", {"reason": "no"}),
    "DELETE /v1/reclaims/{name}/objection": (CHANGE, "/v1/reclaims/srv-aaaa/objection"),
    "GET /v1/requests": (LIST,),
    "GET /v1/requests/{request_id}": (ONE, "/v1/requests/{request}"),
    "POST /v1/requests": (MAKE, "/v1/requests", SIZE),
    "DELETE /v1/requests/{request_id}": (CHANGE, "/v1/requests/{request}"),
    "PUT /v1/requests/{request_id}/accept": (CHANGE, "/v1/requests/{request}/accept", {"alternative": 0}),
    "POST /v1/requests/{request_id}/decline": (CHANGE, "/v1/requests/{request}/decline"),
    "POST /v1/requests/{request_id}/take": (CHANGE, "/v1/requests/{request}/take"),
    "POST /v1/requests/{request_id}/approve": (OPERATE, "/v1/requests/{request}/approve", {"by": ""}),
    "GET /v1/servers": (LIST,),
    "GET /v1/servers/{name}": (ONE, "/v1/servers/srv-aaaa"),
    "GET /v1/servers/{name}/forecast": (ONE, "/v1/servers/srv-aaaa/forecast"),
    "GET /v1/servers/{name}/history": (ONE, "/v1/servers/srv-aaaa/history"),
    "GET /v1/servers/{name}/live": (ONE, "/v1/servers/srv-aaaa/live"),
    "GET /v1/servers/{name}/profile": (ONE, "/v1/servers/srv-aaaa/profile"),
    "PUT /v1/servers/{name}/profile": (CHANGE, "/v1/servers/srv-aaaa/profile", {"class": "steady"}),
    "DELETE /v1/servers/{name}/profile": (CHANGE, "/v1/servers/srv-aaaa/profile"),
    "GET /v1/servers/{name}/why": (ONE, "/v1/servers/srv-aaaa/why"),
    "GET /v1/statements": (LIST,),
    "GET /v1/statements/{period}": (LIST, "/v1/statements/2026-01"),
    "GET /v1/statements/{period}/csv": (LIST, "/v1/statements/2026-01/csv"),
    "GET /v1/tiers": (LIST,),
    "GET /v1/tiers/{name}": (LIST, "/v1/tiers/standard"),
    "GET /v1/webhooks": (LIST,),
    "POST /v1/webhooks": (MAKE, "/v1/webhooks", HOOK),
    "DELETE /v1/webhooks/{webhook}": (CHANGE, "/v1/webhooks/{webhook}"),
    "GET /v1/webhooks/{webhook}/deliveries": (ONE, "/v1/webhooks/{webhook}/deliveries"),
    "GET /v1/why": (ONE, "/v1/why?cause=cause-7f-0"),
    "GET /v1/workloads": (LIST,),
    "GET /v1/audit/verify": (LOOK,),
    "GET /v1/agents": (LOOK,),
    "GET /v1/agents/{host}": (LOOK, f"/v1/agents/{HOST}"),
    "GET /v1/cloud": (LOOK,),
    "GET /v1/cloud/rights": (LOOK,),
    "GET /v1/drains": (LOOK,),
    "GET /v1/halts": (LOOK,),
    "GET /v1/hosts": (LOOK,),
    "GET /v1/hosts/{name}": (LOOK, f"/v1/hosts/{HOST}"),
    "GET /v1/hosts/{name}/history": (LOOK, f"/v1/hosts/{HOST}/history"),
    "GET /v1/learning": (LOOK,),
    "GET /v1/learning/accuracy": (LOOK,),
    "GET /v1/levers": (LOOK,),
    "GET /v1/migrations": (LOOK,),
    "GET /v1/migrations/{wanted}": (LOOK, "/v1/migrations/none"),
    "GET /v1/models": (LOOK,),
    "GET /v1/models/{name}": (LOOK, "/v1/models/baseline"),
    "GET /v1/needs": (LOOK,),
    "GET /v1/overview/projects": (LOOK,),
    "GET /v1/plan": (LOOK,),
    "GET /v1/policy": (LOOK,),
    "GET /v1/pools/{pool}/report": (LOOK, "/v1/pools/none/report"),
    "GET /v1/pools/{pool}/schedule": (LOOK, "/v1/pools/none/schedule"),
    "GET /v1/pools/{pool}/schedule.ics": (LOOK, "/v1/pools/none/schedule.ics"),
    "GET /v1/pools/{pool}/steps": (LOOK, "/v1/pools/none/steps"),
    "GET /v1/pools/{pool}/template": (LOOK, "/v1/pools/none/template"),
    "GET /v1/reservations": (LOOK,),
    "GET /v1/reservations/{reservation}": (LOOK, "/v1/reservations/none"),
    "GET /v1/sales": (LOOK,),
    "GET /v1/sales/{host}": (LOOK, f"/v1/sales/{HOST}"),
    "GET /v1/segments": (LOOK,),
    "GET /v1/segments/report": (LOOK,),
    "GET /v1/segments/{name}": (LOOK, "/v1/segments/none"),
    "GET /v1/summary": (LOOK,),
    "GET /v1/tiers/report": (LOOK,),
    "DELETE /v1/agents/{host}": (OPERATE, "/v1/agents/none"),
    "POST /v1/agents/{host}/join": (OPERATE, "/v1/agents/none/join"),
    "POST /v1/caps": (OPERATE, "/v1/caps", {}),
    "DELETE /v1/caps/{cap}": (OPERATE, "/v1/caps/none"),
    "POST /v1/halts/clear": (OPERATE, "/v1/halts/clear", {}),
    "POST /v1/hosts/{host}/drain": (OPERATE, "/v1/hosts/none/drain", {}),
    "DELETE /v1/hosts/{host}/drain": (OPERATE, "/v1/hosts/none/drain"),
    "POST /v1/learning/rollback": (OPERATE, "/v1/learning/rollback", {"to": "nothing"}),
    "POST /v1/learning/train": (OPERATE, "/v1/learning/train", {"nonsense": 1}),
    "POST /v1/migrations/approve": (OPERATE, "/v1/migrations/approve", {}),
    "POST /v1/migrations/plan": (OPERATE, "/v1/migrations/plan", {}),
    "POST /v1/migrations/propose": (OPERATE, "/v1/migrations/propose", {}),
    "POST /v1/migrations/{wanted}/cancel": (OPERATE, "/v1/migrations/none/cancel", {}),
    "PUT /v1/mode": (OPERATE, "/v1/mode", {}),
    "POST /v1/models/{name}/promote": (OPERATE, "/v1/models/none/promote", {}),
    "POST /v1/pools": (OPERATE, "/v1/pools", {}),
    "DELETE /v1/pools/{pool}": (OPERATE, "/v1/pools/none"),
    "PUT /v1/policy": (OPERATE, "/v1/policy", {"text": ""}),
    "POST /v1/policy/check": (OPERATE, "/v1/policy/check", {"text": ""}),
    "POST /v1/prices/reload": (OPERATE,),
    "POST /v1/reservations": (OPERATE, "/v1/reservations", {}),
    "POST /v1/reservations/audit": (OPERATE,),
    "DELETE /v1/reservations/{reservation}": (OPERATE, "/v1/reservations/none"),
    "POST /v1/reservations/{reservation}/approve": (OPERATE, "/v1/reservations/none/approve", {}),
    "POST /v1/resume": (OPERATE, "/v1/resume", {}),
    "POST /v1/sales/start": (OPERATE, "/v1/sales/start", {}),
    "POST /v1/sales/stop": (OPERATE, "/v1/sales/stop", {}),
    "PUT /v1/servers/{name}/tier": (OPERATE, "/v1/servers/srv-aaaa/tier", {"tier": "standard"}),
    "POST /v1/stop": (OPERATE, "/v1/stop", {}),
    "POST /v1/tiers/reload": (OPERATE,),
}
"""Method and path -> kind, what is asked (else the path), and the body."""

IN, NOT_KNOWN, REFUSED, NOT_THERE = "let in", "401", "403", "404"
CALLERS = ("none", "other", "reader", "system reader", "member", "admin", "local")
MAY = {
    PUBLIC: (IN,) * 7,
    ANYBODY: (NOT_KNOWN, IN, IN, IN, IN, IN, IN),
    LIST: (NOT_KNOWN, IN, IN, IN, IN, IN, IN),
    ASK: (NOT_KNOWN, IN, IN, IN, IN, IN, IN),
    ONE: (NOT_KNOWN, NOT_THERE, IN, IN, IN, IN, IN),
    MAKE: (NOT_KNOWN, IN, REFUSED, REFUSED, IN, IN, IN),
    CHANGE: (NOT_KNOWN, NOT_THERE, REFUSED, REFUSED, IN, IN, IN),
    LOOK: (NOT_KNOWN, REFUSED, REFUSED, IN, REFUSED, IN, IN),
    OPERATE: (NOT_KNOWN, REFUSED, REFUSED, REFUSED, REFUSED, IN, IN),
}


@dataclass
class World:
    """The controller, its callers, and things of ours."""

    client: TestClient
    by: dict[str, dict[str, str]]
    made: int = 0

    def ask(self, route, who, body=None):
        method, path = route.split(" ", 1)
        more = {"json": body} if body is not None else {}
        return self.client.request(method, path, headers=self.by[who], **more)

    def thing(self, kind):
        """Id of a new one of ours."""
        self.made += 1
        if kind == "cap":
            asked = {"scope": f"project:{OURS}", "amounts": {"cpu": 1.0}, "for_s": 3600, "reason": "x"}
            return self.ask("POST /v1/caps", "local", asked).json()[0]["id"]
        route, body = {
            "event": ("POST /v1/events", {**EVENT, "name": f"launch-{self.made}"}),
            "request": ("POST /v1/requests", SIZE),
            "webhook": ("POST /v1/webhooks", {"url": f"https://hooks.example.com/{self.made}"}),
        }[kind]
        reply = self.ask(route, "member", body)
        assert reply.status_code < 300, reply.text
        return reply.json()["id"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authorisation")
    told = replace(
        settings(folder), identity=IdentitySettings(requests_per_minute=10**6, writes_per_minute=10**6, failures_per_minute=10**5)
    )
    program = build(told, clock=lambda: NOW, tokens=FakeTokens())
    cards = [card("vm-aaaa", name="srv-aaaa", project=OURS), card("vm-zzzz", name="srv-zzzz", project=THEIRS)]
    program.intake.accept(HOST, encode(report(1, samples=[sample("vm-aaaa"), sample("vm-zzzz")], cards=cards, host=HOST)), NOW)
    made = (decision(T0 + 20, f"vm-{of}", HOST, cause=f"cause-7f-{i}") for i, of in enumerate(("aaaa", "zzzz")))
    program.store.journal.record(plan(T0 + 20, *made, name="plan-7f"), [order(server="vm-aaaa", memory=None)])
    program.look_ahead()
    by = {
        "none": {},
        "other": headers(THEIRS, "member", "reader"),
        "reader": headers(OURS, "reader"),
        "system reader": headers("system", "reader"),
        "member": headers(OURS, "member", "reader"),
        "admin": headers("proj-admin", "admin", "member", "reader"),
        "local": {"Authorization": f"Bearer {program.admin_token}"},
    }
    with TestClient(program.app, raise_server_exceptions=False) as client:
        world = World(client, by)
        for scope in (f"project:{OURS}", f"project:{THEIRS}", f"host:{HOST}"):
            asked = {"scope": scope, "amounts": {"cpu": 1.0}, "for_s": 3600, "reason": f"on {HOST}"}
            assert world.ask("POST /v1/caps", "local", asked).status_code == 201
        for who in ("member", "other"):
            assert world.ask("POST /v1/events", who, {**EVENT, "name": f"of-{world.by[who]['X-Auth-Token'][:9]}"}).status_code == 201
            assert world.ask("POST /v1/requests", who, SIZE).status_code == 201
        yield world
    program.store.close()


def all_routes(app):
    for route in app.routes:
        for method in getattr(route, "methods", ()):
            if method not in ("OPTIONS", "HEAD"):
                yield f"{method} {route.path_format}"


def test_every_route_has_its_line_and_every_line_its_route(world):
    assert sorted(set(all_routes(world.client.app))) == sorted(ROUTES)


def said(reply):
    return {401: NOT_KNOWN, 403: REFUSED}.get(reply.status_code, IN if reply.status_code < 500 or reply.status_code == 503 else "fault")


@pytest.mark.parametrize("route", [r for r, (kind, *_) in ROUTES.items() if kind not in (OWN, STREAM)])
def test_who_may(world, route):
    kind, asked, body = (*ROUTES[route], *(None,) * 2)[:3]
    method, path = route.split(" ", 1)
    asked = asked or path
    for name in ("event", "request", "webhook", "cap"):
        if f"{{{name}}}" in asked:
            asked = asked.replace(f"{{{name}}}", world.thing(name))
    for who, wanted in zip(CALLERS, MAY[kind], strict=True):
        world.client.cookies.clear()
        reply = world.ask(f"{method} {asked}", who, body)
        found = NOT_THERE if wanted == NOT_THERE and reply.status_code == 404 else said(reply)
        assert found == wanted, f"{who}: {reply.status_code} {reply.text[:300]}"
        if who == "reader" and kind == ONE:
            assert reply.status_code == 200, reply.text[:300]
        foreign = {"other": ("aaaa", HOST), "reader": ("zzzz", HOST), "member": ("zzzz", HOST)}.get(who, ())
        if found == IN and kind in (LIST, ONE, ASK, MAKE, CHANGE) and reply.status_code < 300:
            assert [w for w in foreign if w in reply.text] == [], reply.text


@pytest.mark.parametrize("route", [r for r, (kind, *_) in ROUTES.items() if kind in (OWN, STREAM)])
@pytest.mark.parametrize("by", [{}, {"X-Auth-Token": "bogus"}, {"Authorization": "Bearer bogus"}])
def test_without_their_own_token_nobody_is_let_in(world, route, by):
    method, path = route.split(" ", 1)
    reply = world.client.request(method, path, headers=by, json={"host": "hv1", "join_token": "bogus"} if method == "POST" else None)
    assert reply.status_code in (401, 403)


@pytest.mark.parametrize("who", ["other", "reader", "member"])
@pytest.mark.parametrize("route", ["POST /v1/reports", "GET /v1/headroom", "GET /metrics"])
def test_a_tenants_token_is_no_agents_schedulers_or_collectors(world, route, who):
    assert world.ask(route, who).status_code in (401, 403)
