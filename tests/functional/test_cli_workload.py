"""``foreshape anomaly`` and ``foreshape workload``: what is asked, what is shown, how it fails; and once against the real API."""

import json

import pytest
from litestar.testing import TestClient

from cli_support import Operator
from foreshape_controller.cli import workload as command
from foreshape_controller.main import build
from foreshape_controller.model.anomaly import AnomalyAnswer, Kind
from foreshape_controller.model.workload import ReadWrite, WorkClass, Workload, WorkloadAnswer
from sim_support import canned_api
from store_support import T0, card, report, sample, settings

pytestmark = pytest.mark.functional

ODD = AnomalyAnswer(
    series="vm-1", name="web-1", resource="cpu", kind="level_shift", since=T0, until=None, noticed=T0 + 300, strength=2.34,
    confidence=0.85, before=1.5, open=True,
)  # fmt: skip
OVER = AnomalyAnswer(
    series="host:hv1", name="host:hv1", resource="memory", kind="spike", since=T0, until=T0 + 600, noticed=T0 + 300, strength=1.2,
    confidence=0.6, before=900.0, open=False,
)  # fmt: skip


def told(name="web-1", work="batch", **more):
    words = {"declared": True, "confidence": 1.0, "inferred": "bursty", "inferred_confidence": 0.9, "note": "at night", "at": T0, **more}
    return WorkloadAnswer(server="vm-1", name=name, workload=work, read_write="write-heavy", **words)


@pytest.fixture
def api():
    with canned_api() as made:
        made.says("GET", "/v1/anomalies", [ODD, OVER])
        made.says("GET", "/v1/workloads", [told(), told("db-1", "idle", declared=False, confidence=0.75, note="")])
        for method in ("GET", "PUT"):
            made.says(method, "/v1/servers/web-1/profile", told())
        made.says("DELETE", "/v1/servers/web-1/profile", b"", 204)
        yield made


@pytest.fixture
def run(api, tmp_path, capsys):
    token = tmp_path / "token"
    token.write_text("secret\n")
    return Operator(capsys, ("--url", api.url, "--token-file", token))


def asked(api, path):
    return [(a.method, a.query, a.body) for a in api.asked if a.path == path]


def test_anomalies_are_listed_in_words(run):
    code, out, _ = run("anomaly", "list")
    assert code == 0
    assert "level shift" in out
    assert "lasts" in out
    assert "85%" in out


def test_machines_get_the_api_s_own_fields(run):
    code, out, _ = run("anomaly", "list", "-f", "json")
    assert code == 0
    assert set(json.loads(out)[0]) == set(AnomalyAnswer.__struct_fields__)


def test_one_server_and_only_what_lasts_is_asked_for(api, run):
    assert run("anomaly", "list", "web-1", "--open", "--days", "7")[0] == 0
    assert asked(api, "/v1/anomalies") == [("GET", {"open": "true", "days": "7.0", "server": "web-1"}, None)]


def test_classes_are_listed_with_who_said_so(run):
    code, out, _ = run("workload", "list")
    assert code == 0
    assert "declared" in out
    assert "75% sure" in out
    assert "bursty, 90% sure" in out


def test_a_list_can_be_narrowed_to_a_class(run):
    code, out, _ = run("workload", "list", "--class", "idle", "-f", "json")
    assert code == 0
    assert [r["name"] for r in json.loads(out)] == ["db-1"]


def test_a_class_is_shown_declared_and_cleared(api, run):
    assert run("workload", "show", "web-1")[0] == 0
    code, out, _ = run("workload", "declare", "web-1", "batch", "--disk", "write-heavy", "--note", "at night")
    assert code == 0
    assert "at night" in out
    assert "inferred again" in run("workload", "clear", "web-1")[1]
    said = [a for a in asked(api, "/v1/servers/web-1/profile") if a[0] != "GET"]
    assert said == [
        ("PUT", {}, {"class": "batch", "read_write": "write-heavy", "note": "at night"}),
        ("DELETE", {}, None),
    ]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("workload", "declare", "web-1", "busy"), 2),
        (("workload", "declare", "web-1"), 2),
        (("workload", "show", "nobody"), 1),
        (("workload", "clear", "nobody"), 1),
        (("anomaly", "list", "--days", "many"), 2),
    ],
    ids=["class", "no class", "show", "clear", "days"],
)
def test_mistakes_end_in_words_not_in_a_traceback(run, words, code):
    found, _, err = run(*words)
    assert found == code
    assert err
    assert "Traceback" not in err


def test_the_command_offers_what_the_controller_takes():
    assert set(command.WORKS) == {w.value for w in WorkClass if w is not WorkClass.UNKNOWN}
    assert set(command.DISKS) == {r.value for r in ReadWrite if r}


def test_the_real_api_s_answers_are_of_the_shape_that_is_shown(tmp_path):
    program = build(settings(tmp_path), clock=lambda: T0 + 30)
    program.store.history.append(report(1, samples=[sample()], cards=[card(name="web-1")]), T0 + 10)
    program.store.profiles.infer({"vm-1": Workload(work=WorkClass.IDLE, confidence=0.9)}, T0)
    with TestClient(program.app) as client:
        client.headers["Authorization"] = f"Bearer {program.admin_token}"
        (row,) = client.get("/v1/workloads").json()
        assert set(row) == set(WorkloadAnswer.__struct_fields__)
        assert client.get("/v1/anomalies").json() == []
    program.store.close()
    assert ODD.kind in {k.value for k in Kind}
