"""A server as it is now in one answer, and over time; a tenant sees his own, and no hosts."""

import logging

import msgspec
import pytest
import structlog
from litestar.testing import TestClient

from foreshape_controller.decide.caps import compose
from foreshape_controller.main import build
from foreshape_controller.model.cap import CapRequest
from foreshape_controller.model.live import LiveAnswer, SeriesAnswer
from foreshape_controller.model.reclaim import Notice
from foreshape_controller.model.workload import Profile, WorkClass, Workload
from foreshape_wire.ids import new_id
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Cores
from store_support import T0, ask, card, report, sample, settings, size
from tenants_support import ADMIN, OTHER, READER, FakeTokens

pytestmark = pytest.mark.functional

HOUR = 3600


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Two hours of samples every 100 s: vm-1 (project p1) uses 0.1 cores, and 1.0 in one sample; then a plan."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    made = build(settings(tmp_path_factory.mktemp("live")), lambda: T0 + 2 * HOUR, tokens=FakeTokens())
    made.store.modes.set("cloud", Mode.ACT, "a test", T0)
    cards = tuple(
        msgspec.structs.replace(card(s, name=n, project=p), allocation=size(0.5, 2048))
        for s, n, p in (("vm-1", "web", "p1"), ("vm-2", "db", "p2"))
    )
    for k in range(1, 73):
        at = T0 + 100.0 * k
        samples = [measured("vm-1", 1.0 if k == 30 else 0.1), measured("vm-2", 0.1)]
        ask(made.intake, report(k, at - 1, samples, cards=cards if k == 1 else None), now=at)
    made.look_ahead()
    made.plan_loop.run_once(T0 + 2 * HOUR)
    made.store.caps.add(
        compose(CapRequest(scope="server:vm-1", amounts={"cpu": 0.4}, for_s=600, reason="noisy"), new_id, T0 + 2 * HOUR), T0
    )
    made.store.notices.put([Notice(at=T0, project="p1", server="vm-1", name="web", kind="cap", text="capped on hv1", resource="cpu")])
    yield made
    made.store.close()


def measured(server, cores):
    plain = sample(server, cores=cores)
    return msgspec.structs.replace(plain, cpu=msgspec.structs.replace(plain.cpu, allocation=Cores(0.5)))


@pytest.fixture(scope="module")
def client(program):
    return TestClient(program.app, raise_server_exceptions=False)


def test_live_tells_everything_about_a_server_in_one_answer(client):
    live = msgspec.json.decode(client.get("/v1/servers/web/live", headers=READER).content, type=LiveAnswer)
    cpu, memory = live.resources
    assert (cpu.resource, cpu.demand, cpu.allocated, cpu.entitled, cpu.ceiling, cpu.unit) == ("cpu", 0.1, 0.5, 2.0, 2.0, "cores")
    assert cpu.slack == pytest.approx(0.8)
    assert set(cpu.peak30m) == {"0.5", "0.9", "0.99"}
    assert cpu.peak30m["0.5"] <= cpu.peak30m["0.99"]
    assert cpu.floor is not None
    assert cpu.reason
    assert memory.unit == "MiB"
    assert (live.mode.in_force, live.mode.operators, live.mode.owner) == ("act", "act", "act")
    assert [(c.resource, c.reason) for c in live.caps] == [("cpu", "noisy")]
    assert [n.kind for n in live.notices] == ["cap"]


def test_a_tenant_is_told_no_host(client):
    text = client.get("/v1/servers/web/live", headers=READER).text
    assert "hv1" not in text
    assert "hv1" in client.get("/v1/servers/web/live", headers=ADMIN).text


def test_anothers_server_is_not_there(client):
    for what in ("live", "history"):
        assert client.get(f"/v1/servers/web/{what}", headers=OTHER).status_code == 404
    assert client.get("/v1/hosts/hv1/history", headers=READER).status_code == 403


def series(client, query="", path="/v1/servers/web/history", headers=READER):
    reply = client.get(f"{path}?{query}", headers=headers)
    assert reply.status_code == 200, reply.text
    return msgspec.json.decode(reply.content, type=SeriesAnswer)


def test_a_coarse_step_keeps_the_peak_that_its_mean_would_hide(client):
    fine = series(client, f"resource=cpu&from={T0}&step=300").resources[0]
    coarse = series(client, f"resource=cpu&from={T0}&step=3600")
    assert (coarse.step_s, coarse.at[0]) == (3600, T0)
    (cpu,) = coarse.resources
    assert cpu.max[0] == max(v for v in fine.max[:12] if v is not None) == 1.0
    assert 0.1 < cpu.demand[0] < 0.2
    assert cpu.entitled[0] == 2.0
    assert cpu.coverage[0] == pytest.approx(0.1)  # 10 s of each 100


def test_everything_by_default_and_gaps_are_null(client):
    told = series(client)
    assert [r.resource for r in told.resources] == ["cpu", "memory", "disk", "net"]
    assert len(told.at) == len(told.resources[0].demand) <= 1000
    assert told.resources[0].demand[0] is None
    assert told.resources[0].demand[-2] is not None


def test_operators_see_hosts_over_time(client):
    told = series(client, "days=1", "/v1/hosts/hv1/history", ADMIN)
    assert told.series == "host:hv1"
    assert any(v is not None for v in told.resources[0].demand)


@pytest.mark.parametrize(
    "query",
    ["resource=gpu", "from=nan", "from=inf", "from=yesterdayish", "to=-1", "from=1e300", "step=7", "step=0", "days=nan", "days=0",
     f"from={T0 + 3000}&to={T0}", "step=300&days=399", "from=2h&to=x", "days=inf", "days=1e9", "step=1e9"],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(client, query):
    assert client.get(f"/v1/servers/web/history?{query}", headers=READER).status_code == 400, query


def test_a_declared_profile_is_measured_by_what_came(program, client):
    profiles = program.store.profiles
    profiles.declare("vm-1", Profile(work="steady"), T0)
    for k in range(6):
        profiles.infer({"vm-1": Workload(work=WorkClass.STEADY if k != 2 else WorkClass.BURSTY, confidence=0.9)}, T0 + k)
    told = client.get("/v1/servers/web/profile", headers=READER).json()["accuracy"]
    assert 0.8 < told < 0.9
    assert profiles.accuracies() == {"vm-1": told}
    assert client.get("/v1/servers/web/live", headers=READER).json()["profile_accuracy"] == told
    profiles.declare("vm-1", Profile(work="batch"), T0)
    assert profiles.accuracies() == {}
