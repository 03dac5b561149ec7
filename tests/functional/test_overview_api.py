"""The overview over HTTP: sums of what is there, half-hours of the past, the day ahead; for a tenant his own alone."""

import pytest
from litestar.testing import TestClient

from foreshape_controller.loops.words import compose
from foreshape_controller.main import build
from foreshape_controller.model.event import EventRequest
from foreshape_controller.model.mark import Mark
from foreshape_controller.store.marks import MarkKey
from foreshape_wire.order import Mode
from store_support import T0, card, report, sample, settings
from tenants_support import MEMBER, OTHER, SYSTEM_READER, FakeTokens

pytestmark = pytest.mark.functional

NOW = T0 + 3 * 3600.0
STEP = 300.0


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Three hours of two projects' servers: 1 core wanted of 2 by p1's, half a core by p2's. The last hour tells nothing of the first."""
    made = build(settings(tmp_path_factory.mktemp("c")), clock=lambda: NOW, tokens=FakeTokens())
    for number in range(36):
        told = [sample("vm-1", cores=1.0, window_s=STEP if number < 24 else 0.0), sample("vm-2", cores=0.5, window_s=STEP)]
        cards = (card("vm-1", project="p1"), card("vm-2", project="p2"))
        made.store.history.take(report(number + 1, T0 + (number + 1) * STEP, told, cards=cards), T0 + (number + 1) * STEP)
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def ask(program):
    with TestClient(program.app, raise_server_exceptions=False) as client:
        operator = {"Authorization": f"Bearer {program.admin_token}"}

        def asked(path, who=operator, status=200):
            answer = client.get(path, headers=who)
            assert answer.status_code == status, answer.text
            return answer.json()

        yield asked


def test_an_operator_sees_the_cloud_a_tenant_his_project_without_hosts(ask):
    cloud, mine = ask("/v1/overview"), ask("/v1/overview", MEMBER)
    assert (cloud["scope"], cloud["servers"], cloud["hosts"], cloud["at"]) == ("cloud", 2, 1, NOW)
    assert (cloud["cpu"]["entitled"], cloud["cpu"]["capacity"]) == (4.0, 16.0)  # two cards of 2 cores, a host of 16
    assert (mine["scope"], mine["servers"], mine["hosts"], mine["hosts_fresh"]) == ("project:p1", 1, 0, 0)
    assert (mine["cpu"]["entitled"], mine["cpu"]["capacity"], mine["cpu"]["demand"]) == (2.0, None, 1.0)
    assert ask("/v1/overview", SYSTEM_READER)["servers"] == 2
    assert (ask("/v1/overview", OTHER)["cpu"]["demand"], cloud["openstack"]) == (0.5, False)


def test_a_tenant_is_told_of_stops_that_hold_for_him_and_of_no_others(program, ask):
    modes = program.store.modes
    for scope in ("project:p1", "project:p2", "host:hv1"):
        modes.stop(scope, f"stopped: {scope}", NOW)
    try:
        assert [s["scope"] for s in ask("/v1/overview")["stops"]] == ["host:hv1", "project:p1", "project:p2"]
        assert [s["scope"] for s in ask("/v1/overview", MEMBER)["stops"]] == ["project:p1"]
        modes.set("project:p2", Mode.ACT, "a mode is no stop", NOW)
        assert ask("/v1/overview", OTHER)["stops"] == []
    finally:
        for scope in ("project:p1", "project:p2", "host:hv1"):
            modes.unset(scope)


def test_a_tenant_s_half_hours_are_means_of_what_was_measured_and_gaps_are_gaps(ask):
    told = ask("/v1/overview/history?days=1", MEMBER)
    cpu = dict(zip(told["at"], next(r for r in told["resources"] if r["resource"] == "cpu")["demand"], strict=True))
    assert [cpu[T0 + n * 1800] for n in range(6)] == [1.0, 1.0, 1.0, 1.0, None, None]
    assert told["step_s"] == 1800
    assert all(value is None for at, value in cpu.items() if at < T0)


def test_a_host_s_history_adds_its_servers_up(ask):
    told = ask("/v1/overview/history?days=1&of=host:hv1")
    cpu = next(r for r in told["resources"] if r["resource"] == "cpu")
    rows = dict(zip(told["at"], zip(cpu["demand"], cpu["allocated"], cpu["entitled"], strict=True), strict=True))
    assert (rows[T0], rows[T0 + 2 * 3600]) == ((1.5, 4.0, 4.0), (0.5, 2.0, 2.0))
    assert cpu["capacity"] == 16.0


def test_the_cloud_s_history_is_what_half_hours_were_judged_as(program, ask):
    for slot, tier in ((T0, "standard"), (T0, "economy"), (T0 + 1800, "standard")):
        mark = Mark(bins=6, demand=6.0, allocation=12.0, entitlement=24.0)
        program.store.marks.settle({MarkKey(int(slot), tier, "cpu"): mark}, int(slot) + 1800)
    told = ask("/v1/overview/history?days=1")
    cpu = next(r for r in told["resources"] if r["resource"] == "cpu")
    assert told["at"] == [T0, T0 + 1800]
    assert (cpu["demand"], cpu["allocated"], cpu["entitled"]) == ([2.0, 1.0], [4.0, 2.0], [8.0, 4.0])  # six bins are a half-hour


@pytest.mark.parametrize(
    ("of", "who", "status"),
    [
        ("host:hv1", MEMBER, 404),
        ("project:p2", MEMBER, 404),
        ("project:p1", MEMBER, 200),
        ("host:none", None, 404),
        ("nonsense", None, 400),
    ],
)
def test_groups_that_are_not_one_s_own_or_not_there_are_not_found(ask, of, who, status):
    ask(f"/v1/overview/history?of={of}", *([who] if who else []), status=status)


def test_projects_are_told_to_operators_only(ask):
    told = {p["project"]: (p["servers"], p["cpu"]["entitled"]) for p in ask("/v1/overview/projects")}
    assert told == {"p1": (1, 2.0), "p2": (1, 2.0)}
    ask("/v1/overview/projects", MEMBER, status=403)


def test_the_calendar_has_each_occurrence_and_a_tenant_s_only_his_own(program, ask):
    for name, scope in (("daily", "cloud"), ("ours", "project:p1")):
        asked = EventRequest(name=name, scope=scope, start="2026-01-06T02:00", duration_s=3600, recurrence="FREQ=DAILY;COUNT=3")
        program.store.events.put(compose(asked, f"evt-{name}", NOW))
    span = f"since={T0}&until={T0 + 4 * 86400}"
    all_of_them = ask(f"/v1/overview/calendar?{span}")
    assert [(h["name"], (h["start"] - T0) / 3600) for h in all_of_them][:3] == [("daily", 26.0), ("ours", 26.0), ("daily", 50.0)]
    assert len(all_of_them) == 6
    assert {h["name"] for h in ask(f"/v1/overview/calendar?{span}", MEMBER)} == {"ours"}
    ask(f"/v1/overview/calendar?since={T0}&until={T0}", status=400)
    ask(f"/v1/overview/calendar?since={T0}&until=nan", status=400)


def test_the_files_are_there_for_everybody_with_headers_that_keep_scripts_out(program):
    with TestClient(program.app) as client:
        entrance = client.get("/", follow_redirects=False)
        assert (entrance.status_code, entrance.headers["location"]) == (302, "/dashboard/index.html")
        page = client.get("/dashboard/index.html")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "'unsafe" not in page.headers["content-security-policy"]
        assert page.headers["content-encoding"] == "gzip"
        again = client.get("/dashboard/index.html", headers={"If-None-Match": f'W/{page.headers["etag"]}, "other"'})
        assert (again.status_code, again.content) == (304, b"")
        for away in ("/dashboard/../config.py", "/dashboard/%2e%2e/config.py", "/dashboard/js/nothing.js"):
            assert client.get(away).status_code == 404
        plain = client.get("/dashboard/vendor/LICENSE", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.headers["content-type"].startswith("text/plain")
