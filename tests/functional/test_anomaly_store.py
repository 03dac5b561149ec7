"""Anomalies and classes of work in the store, in the loop that notices them, and over the API."""

from dataclasses import replace

import numpy as np
import pytest
from litestar.testing import TestClient
from sqlalchemy import select, update

from anomaly_support import START, fleet, history
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.loops.notice import Notice
from foreshape_controller.loops.scene import Scene
from foreshape_controller.main import build
from foreshape_controller.model.anomaly import Finding, Findings, Kind
from foreshape_controller.model.group import Groups
from foreshape_controller.model.server import ClusterView
from foreshape_controller.model.workload import Profile, ReadWrite, WorkClass, Workload
from foreshape_controller.store import Store
from foreshape_controller.store.bins import vm_row
from foreshape_controller.store.schema import MAXIMA, SUMS, bins, series, servers
from foreshape_wire.codec import encode
from foreshape_wire.order import Mode
from store_support import T0, card, report, sample, settings

pytestmark = [pytest.mark.functional, pytest.mark.engines]

NOW = START + 86400.0
HOUR = 3600


@pytest.fixture
def store(tmp_path):
    made = Store.open(f"sqlite:///{tmp_path}/foreshape.db", default_mode=Mode.ADVISE)
    yield made
    made.close()


def finding(series="vm-1", since=int(NOW) - HOUR, until=None, **more):
    words = {"resource": "cpu", "kind": Kind.SPIKE, "noticed": since + 300, "strength": 2.0, "confidence": 0.8, "before": 1.5, **more}
    return Finding(series=series, since=since, until=until, **words)


def findings(*found, series=("vm-1", "vm-2")):
    return Findings("cpu", series, np.zeros((len(series), 1), np.bool_), tuple(found), 1.0)


# --- anomalies ---------------------------------------------------------------------------------------------------------


def test_what_is_found_is_kept_as_it_was(store):
    store.anomalies.save(findings(finding()), NOW)
    assert store.anomalies.list() == (finding(),)


def test_a_finding_that_ends_or_changes_its_kind_stays_one_row(store):
    store.anomalies.save(findings(finding()), NOW)
    ended = finding(until=int(NOW), kind=Kind.SHIFT)
    store.anomalies.save(findings(ended), NOW + 300)
    assert store.anomalies.list() == (ended,)
    assert store.anomalies.list(going=True) == ()


def test_what_is_not_found_any_more_is_over_and_others_are_left_alone(store):
    store.anomalies.save(findings(finding(), finding("vm-9"), series=("vm-1", "vm-9")), NOW)
    store.anomalies.save(findings(series=("vm-1",)), NOW + 600)
    assert {f.series: f.until for f in store.anomalies.list()} == {"vm-1": int(NOW) + 600, "vm-9": None}


def test_another_resource_of_the_same_series_is_another_anomaly(store):
    store.anomalies.save(findings(finding()), NOW)
    store.anomalies.save(replace(findings(series=("vm-1",)), resource="memory"), NOW)
    assert store.anomalies.list(going=True) == (finding(),)


def test_old_news_and_near_repetitions_are_not_news(store):
    store.anomalies.save(findings(finding()), NOW)
    store.anomalies.save(findings(finding(), finding(since=int(NOW) - 2 * 86400, until=int(NOW) - 86400)), NOW)
    store.anomalies.save(findings(finding(), finding(since=int(NOW) - HOUR + 600)), NOW)
    assert store.anomalies.list() == (finding(),)


def test_a_list_is_newest_first_and_can_be_narrowed(store):
    old = finding(since=int(NOW) - 6 * HOUR, until=int(NOW) - 5 * HOUR)
    new = finding("vm-2")
    store.anomalies.save(findings(old, new), NOW)
    assert store.anomalies.list() == (new, old)
    assert store.anomalies.list("vm-1") == (old,)
    assert store.anomalies.list(since=NOW - HOUR) == (new,)
    assert store.anomalies.list(limit=1) == (new,)


def test_what_ended_long_ago_is_forgotten_and_what_lasts_is_not(store):
    store.anomalies.save(findings(finding(until=int(NOW)), finding("vm-2")), NOW)
    assert store.anomalies.tidy(NOW + 1) == 1
    assert [f.series for f in store.anomalies.list()] == ["vm-2"]
    store.anomalies.close(["vm-2"], NOW + 5)
    assert store.anomalies.list()[0].until == int(NOW) + 5


# --- classes -----------------------------------------------------------------------------------------------------------


def seen(work=WorkClass.BURSTY, confidence=0.9, disk=ReadWrite.WRITE):
    return Workload(work=work, read_write=disk, confidence=confidence)


def test_what_history_says_counts_until_somebody_declares_and_again_after(store):
    store.profiles.infer({"vm-1": seen()}, NOW)
    assert store.profiles.effective(NOW) == {"vm-1": seen()}
    store.profiles.declare("vm-1", Profile(work="batch", note="nightly"), NOW + 5)
    told = store.profiles.effective(NOW + 5)["vm-1"]
    assert (told.work, told.declared, told.read_write) == (WorkClass.BATCH, True, ReadWrite.WRITE)
    assert told.note == "nightly; its history looks bursty (confidence 0.90)"
    store.profiles.clear("vm-1")
    assert store.profiles.effective(NOW + 6) == {"vm-1": seen()}


def test_no_note_where_history_is_unsure_or_agrees(store):
    store.profiles.infer({"vm-1": seen(confidence=0.3), "vm-2": seen(WorkClass.BATCH)}, NOW)
    for server in ("vm-1", "vm-2"):
        store.profiles.declare(server, Profile(work="batch", read_write="mixed"), NOW)
    told = store.profiles.effective(NOW)
    assert [(w.note, w.read_write) for w in told.values()] == [("", ReadWrite.MIXED)] * 2


def test_segments_are_told_classes_that_are_known(store):
    store.profiles.infer({"vm-1": seen(), "vm-2": seen(WorkClass.UNKNOWN)}, NOW)
    assert store.profiles.names() == {"vm-1": "bursty"}


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        (Profile(work="busy"), r"\$.class is 'busy': write one of idle, steady, diurnal, bursty, batch"),
        (Profile(work="unknown"), r"\$.class is 'unknown'"),
        (Profile(work="idle", read_write="reads"), r"\$.read_write is 'reads': write one of read-heavy, write-heavy, mixed"),
        (Profile(work="idle", note="x" * 1001), r"\$.note has 1001 characters"),
    ],
    ids=["class", "unknown", "disk", "note"],
)
def test_what_makes_no_sense_is_refused_in_words(store, profile, says):
    with pytest.raises(Invalid, match=says):
        store.profiles.declare("vm-1", profile, NOW)
    assert store.profiles.declared() == {}


def test_nothing_declared_is_nothing_to_clear(store):
    with pytest.raises(NotFound, match="nothing is declared for vm-1"):
        store.profiles.clear("vm-1")


# --- the loop that notices ---------------------------------------------------------------------------------------------


class Histories:
    """Answers with the last bins of what it was made with."""

    def __init__(self, known):
        self.known, self.asked = known, []

    def read(self, resource, names, until, count):
        self.asked.append(tuple(names))
        return self.known.pick([self.known.series.index(n) for n in names])

    def read_share(self, names, until, count):
        return np.full((len(names), 4), [0.9, np.nan, 0.9, 0.9], np.float32)


def scene_of(h):
    view = ClusterView(at=float(h.until), hosts=(), servers=())
    return Scene(view=view, now=float(h.until), history=h, groups=Groups())


@pytest.fixture
def spiking():
    y = fleet(8)
    y[0, -2:] = 5 * np.nanmax(y[0])
    return history(y)


def test_a_spike_widens_its_forecast_and_is_kept(store, spiking):
    notice = Notice(store.anomalies, store.profiles, Histories(spiking))
    before = Baseline().predict(spiking, spiking.until)
    after = notice.adjust(before, scene_of(spiking))
    notice.observe(after, scene_of(spiking))
    assert after.peak24h[0, -1] > before.peak24h[0, -1]
    (kept,) = store.anomalies.list(going=True)
    assert (kept.series, kept.kind, kept.resource) == ("vm0", Kind.SPIKE, "cpu")


def test_servers_are_classified_every_six_hours_and_groups_never(store, spiking):
    named = replace(spiking, series=(*spiking.series[:-1], "host:h1"))
    histories = Histories(named)
    notice = Notice(store.anomalies, store.profiles, histories)
    forecast = Baseline().predict(named, named.until)
    for hours in (0, 3, 6.1):
        notice.observe(forecast, replace(scene_of(named), now=named.until + hours * HOUR))
    assert [len(names) for names in histories.asked] == [7, 7]
    told = store.profiles.effective(NOW)
    assert set(told) == set(named.series[:-1])
    assert {w.read_write for w in told.values()} == {ReadWrite.READ}


def test_remainders_of_hosts_are_not_sensors(store, spiking):
    renamed = replace(spiking, series=("overhead:h1", *spiking.series[1:]))
    notice = Notice(store.anomalies, store.profiles, Histories(renamed))
    forecast = Baseline().predict(renamed, renamed.until)
    assert notice.adjust(forecast, scene_of(renamed)) is forecast


def test_counts_of_servers_are_not_judged(store, spiking):
    counts = replace(spiking, resource="servers")
    forecast = replace(Baseline().predict(spiking, spiking.until), resource="servers")
    assert Notice(store.anomalies, store.profiles, Histories(spiking)).adjust(forecast, scene_of(counts)) is forecast


# --- the whole controller ------------------------------------------------------------------------------------------------


def fill(store, y):
    """History of servers vm-0, vm-1 … from T0 on, as reports of whole bins would have left it."""
    names = [f"vm-{i}" for i in range(len(y))]
    last = T0 + y.shape[1] * 300
    store.history.append(report(1, last - 5, [sample(n) for n in names], cards=[card(n, cores=8.0) for n in names]), last)
    with store.db.write() as conn:
        number = {r.name: r.id for r in conn.execute(select(series.c.name, series.c.id))}
        rows = [
            vm_row(sample(n, float(y[i, k]), window_s=300.0), int(T0) + k * 300, number[n], 300)
            for i, n in enumerate(names)
            for k in range(y.shape[1])
        ]
        store.db.upsert(bins, ["bin", "series"], add=SUMS, most=MAXIMA).run(conn, rows)
        conn.execute(update(series).values(first_seen=T0))
        conn.execute(update(servers).values(first_seen=T0))
    return last


def test_a_controller_in_service_finds_an_anomaly_and_widens_the_plan_s_forecast(tmp_path):
    clock = [T0]
    program = build(settings(tmp_path), clock=lambda: clock[0])
    y = np.minimum(np.nan_to_num(fleet(3, 8, gaps=0)), 1.5)
    y[0, -2:] = 7.5
    clock[0] = fill(program.store, y)
    made = program.foresight.run_once(clock[0], program.store.inventory.view(clock[0]))["cpu"]
    odd = {f.series for f in program.store.anomalies.list(going=True)}
    assert "vm-0" in odd
    assert not {"vm-1", "vm-2"} & odd
    assert "spike since" in made.reason[made.row("vm-0")]
    assert set(program.store.profiles.effective(clock[0])) == {"vm-0", "vm-1", "vm-2"}
    program.store.close()


# --- the API -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path):
    made = build(settings(tmp_path), clock=lambda: T0 + 30)
    made.store.history.append(report(1, samples=[sample(), sample("vm-2")], cards=[card(name="web-1"), card("vm-2", name="db-1")]), T0 + 10)
    yield made
    made.store.close()


@pytest.fixture
def ask(program):
    with TestClient(program.app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {program.admin_token}"
        yield client


def test_anomalies_are_asked_for_by_server_name_group_and_state(program, ask):
    at = int(T0) - 600
    program.store.anomalies.save(findings(finding(since=at), finding("host:hv1", at, at + 300), series=("vm-1", "host:hv1")), T0)
    rows = ask.get("/v1/anomalies").json()
    assert {(r["name"], r["kind"], r["open"]) for r in rows} == {("web-1", "spike", True), ("host:hv1", "spike", False)}
    assert [r["series"] for r in ask.get("/v1/anomalies", params={"open": "true"}).json()] == ["vm-1"]
    assert [r["series"] for r in ask.get("/v1/anomalies", params={"server": "web-1"}).json()] == ["vm-1"]
    assert [r["series"] for r in ask.get("/v1/anomalies", params={"server": "host:hv1"}).json()] == ["host:hv1"]
    assert ask.get("/v1/anomalies", params={"server": "nobody"}).status_code == 404


def test_a_class_is_declared_shown_and_cleared(program, ask):
    program.store.profiles.infer({"vm-1": seen(WorkClass.IDLE, 0.95)}, T0)
    put = ask.put("/v1/servers/web-1/profile", json={"class": "batch", "note": "reports at night"}).json()
    assert (put["workload"], put["declared"], put["inferred"], put["read_write"]) == ("batch", True, "idle", "write-heavy")
    assert "its history looks idle" in put["note"]
    assert {r["name"]: r["workload"] for r in ask.get("/v1/workloads").json()} == {"web-1": "batch", "db-1": "unknown"}
    assert ask.delete("/v1/servers/web-1/profile").status_code == 204
    assert ask.get("/v1/servers/web-1/profile").json()["workload"] == "idle"
    assert ask.delete("/v1/servers/web-1/profile").status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("web-1", {"class": "busy"}, 400),
        ("web-1", {"class": "idle", "size": 3}, 400),
        ("web-1", {}, 400),
        ("nobody", {"class": "idle"}, 404),
    ],
    ids=["class", "field", "empty", "server"],
)
def test_a_wrong_declaration_is_a_problem_in_words(ask, path, body, status):
    answer = ask.put(f"/v1/servers/{path}/profile", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_all_of_it_is_for_operators_only(program):
    with TestClient(program.app, raise_server_exceptions=False) as client:
        assert client.get("/v1/anomalies").status_code == 401
        assert client.put("/v1/servers/vm-1/profile", content=encode(Profile(work="idle"))).status_code == 401
