"""Forecasts of everything watched: in batches, on their own rhythm, whatever breaks."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import structlog

from decide_support import HOUR, NOW, MemoryStore, history, host, server
from foreshape_controller.decide.segments import load_segments
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.reactive import Reactive
from foreshape_controller.forecast.reconcile import expected
from foreshape_controller.loops import foresight as module
from foreshape_controller.loops.foresight import Foresight, ForesightSettings
from foreshape_controller.loops.scene import Hooks
from foreshape_controller.model.forecast import HEADS, NO_FORECAST
from foreshape_controller.model.group import Member
from foreshape_controller.model.history import BINS_PER_DAY
from foreshape_controller.model.kinds import kind_of
from foreshape_controller.model.server import ClusterView

pytestmark = pytest.mark.functional

BINS = 2 * BINS_PER_DAY
SEGMENTS = load_segments("segments: {web: [{name: 'web-*'}]}\nzones: {assign: [{zone: az1, host: 'hv[12]'}]}")


@pytest.fixture(autouse=True)
def said(monkeypatch):
    """What is logged, as data: printed with its traceback and all arrays in it, it would take minutes."""
    log = structlog.testing.CapturingLogger()
    monkeypatch.setattr(module, "_log", log)
    return log.calls


def cloud(n=6, hosts=3, bins=BINS):
    """Server i on host i mod hosts, of project i mod 2, wants about i + 1 cores; each host uses half a core more."""
    servers = [
        msgspec.structs.replace(server(f"vm{i}"), host=f"hv{i % hosts}", project=f"p{i % 2}", name=f"{'web' if i < 2 else 'db'}-{i}")
        for i in range(n)
    ]
    noise = np.random.default_rng(3).normal(1, 0.05, (n, bins)).astype(np.float32)
    wants = noise * np.arange(1, n + 1, dtype=np.float32)[:, None]
    uses = np.stack([wants[h::hosts].sum(axis=0) + 0.5 for h in range(hosts)])
    names = [s.id for s in servers] + [f"host:hv{h}" for h in range(hosts)]
    histories = {
        "cpu": history(np.concatenate([wants, uses]), names=names, entitlement=32.0),
        "memory": history(np.concatenate([wants, uses]) * 100, resource="memory", names=names, entitlement=4096.0),
        "disk": history(wants * 10, resource="disk", names=names[:n], entitlement=np.nan),
        "net": history(wants * 20, resource="net", names=names[:n], entitlement=np.nan),
    }
    return MemoryStore(ClusterView(at=NOW, hosts=tuple(host(f"hv{h}") for h in range(hosts)), servers=tuple(servers)), histories)


def foresight(store, look=Baseline, hooks=None, **settings):
    words = {"history_bins": BINS, "forecast_batch": 4, **settings}
    return Foresight(store, look, ForesightSettings(**words), segments=SEGMENTS, hooks=hooks)


def saved(store, resource):
    """Everything saved of a resource: by series, its forecast and row."""
    return {s: (f, i) for f in store.saved if f.resource == resource for i, s in enumerate(f.series)}


def middle(store, resource, series):
    f, i = saved(store, resource)[series]
    return float(expected(f.steps[i])[0])


def test_servers_and_all_their_groups_are_forecast():
    store = cloud()
    forecasts = foresight(store).run_once(NOW, store.cluster)
    assert set(forecasts) == {"cpu", "memory"}
    assert sorted(forecasts["cpu"].series) == [f"vm{i}" for i in range(6)]
    groups = {"host:hv0", "host:hv1", "host:hv2", "project:p0", "project:p1", "segment:web", "zone:az1", "zone:nova"}
    for resource in ("cpu", "memory", "disk", "net"):
        assert set(saved(store, resource)) == groups | set(forecasts["cpu"].series), resource
    assert set(saved(store, "servers")) == groups


def test_a_group_is_expected_to_want_what_its_members_want_together():
    """Servers want 1 … 6: project p0 has 1, 3, 5; segment web 1, 2; zone az1 (hv1, hv2) 2, 5, 3, 6."""
    store = cloud()
    foresight(store).run_once(NOW, store.cluster)
    for name, wants in (("project:p0", 9), ("project:p1", 12), ("segment:web", 3), ("zone:az1", 16), ("zone:nova", 5)):
        assert middle(store, "cpu", name) == pytest.approx(wants, rel=0.1), name
        assert middle(store, "net", name) == pytest.approx(20 * wants, rel=0.1), name
    assert middle(store, "servers", "project:p0") == pytest.approx(3)


def test_a_hosts_servers_and_its_own_overhead_add_up_to_it():
    """hv0 has the servers of 1 and 4 cores; its overhead of half a core is not forecast apart, and is what is left."""
    store = cloud()
    foresight(store).run_once(NOW, store.cluster)
    for name, members, wants in (("host:hv0", ("vm0", "vm3"), 5), ("host:hv2", ("vm2", "vm5"), 9)):
        left = middle(store, "cpu", name) - sum(middle(store, "cpu", m) for m in members)
        assert left == pytest.approx(0.5, abs=0.1)
        assert middle(store, "cpu", name) == pytest.approx(wants + 0.5, rel=0.1)
        disk = [middle(store, "disk", s) for s in (name, *members)]
        assert disk[0] == pytest.approx(disk[1] + disk[2], rel=1e-3), "of disks the host itself measures nothing"


def test_a_server_that_left_counts_in_the_past_of_its_project():
    """It wanted 10 cores until a day ago, as many as the others together: p0's demand was 19 until then, and is 9."""
    store = cloud()
    seen = []
    store.left = [Member("gone", "hv0", "gone", "p0", "m1", "", "standard", NOW - 72 * HOUR, NOW - 24 * HOUR)]
    was = np.where(np.arange(BINS) < BINS_PER_DAY, 10.0, np.nan).astype(np.float32)
    cpu = store.histories["cpu"]
    store.histories["cpu"] = history(np.concatenate([cpu.mean, was[None]]), names=[*cpu.series, "gone"], entitlement=32.0)
    foresight(store, hooks=Hooks(observers=(lambda f, scene: seen.append(scene.history),))).run_once(NOW, store.cluster)
    p0 = next(h for h in seen if h.resource == "cpu" and "project:p0" in h.series)
    sums = p0.mean[p0.series.index("project:p0")]
    assert np.median(sums[:BINS_PER_DAY]) == pytest.approx(19, rel=0.05)
    assert np.median(sums[BINS_PER_DAY:]) == pytest.approx(9, rel=0.05)
    assert "gone" not in saved(store, "cpu"), "nobody asks what it will want"
    counted = next(h for h in seen if h.resource == "servers")
    assert counted.mean[counted.series.index("project:p0")][[0, -1]].tolist() == [4, 3]


def test_a_newcomer_gets_its_forecast_with_the_next_plan_and_nobody_else_a_new_one():
    store = cloud()
    f = foresight(store)
    f.run_once(NOW, store.cluster)
    before = len(store.saved)
    newcomer = server("new", host="hv0", project="p0", first_seen=NOW - 600)
    view = msgspec.structs.replace(store.cluster, servers=(*store.cluster.servers, newcomer))
    forecasts = f.run_once(NOW + 60, view)
    assert "new" in forecasts["cpu"].series
    assert {s for made in store.saved[before:] for s in made.series} == {"new"}
    assert forecasts["cpu"].source[forecasts["cpu"].row("new")] == "fleet", "it is judged by its peers"
    before = len(store.saved)
    f.run_once(NOW + 120, view)
    assert store.saved[before:] == []


def test_hosts_without_servers_are_forecast_by_what_they_use_themselves():
    store = cloud()
    empty = msgspec.structs.replace(store.cluster, servers=())
    assert foresight(store).run_once(NOW, empty) == {}
    assert middle(store, "cpu", "host:hv1") == pytest.approx(2 + 5 + 0.5, rel=0.1), "what it used, whoever it was"


# --- what is hung in ---------------------------------------------------------------------------------------------------


def test_preparers_adjusters_and_observers_see_servers_and_groups_and_their_word_counts():
    store = cloud()
    seen = []

    def halved(scene):
        return replace(scene.history, mean=scene.history.mean / 2, max=scene.history.max / 2)

    def doubled(forecast, scene):
        assert forecast.series == scene.history.series
        assert scene.history.resource == forecast.resource
        assert not any(s.startswith("overhead:") for s in forecast.series), "a part of a sum is nobody's series"
        return replace(forecast, **{head: 2 * getattr(forecast, head) for head in HEADS})

    hooks = Hooks(preparers=(halved,), adjusters=(doubled, doubled), observers=(lambda f, scene: seen.append((f, scene)),))
    foresight(store, hooks=hooks).run_once(NOW, store.cluster)
    assert middle(store, "net", "vm3") == pytest.approx(2 * 80, rel=0.1), "80 KiB/s halved, and doubled twice"
    assert {id(f) for f, _ in seen} == {id(f) for f in store.saved}
    assert {kind_of(s) for f, _ in seen for s in f.series} == {None, "host", "project", "segment", "zone"}
    assert all(f.series == scene.history.series for f, scene in seen)
    of = next(scene for _, scene in seen).groups.of
    assert of["vm0"] == ("host:hv0", "project:p0", "zone:nova", "segment:web")


def test_what_breaks_is_left_out_and_the_rest_goes_on(said):
    store = cloud()

    def broken(*_):
        raise RuntimeError("broken")

    hooks = Hooks(preparers=(broken,), adjusters=(broken,), observers=(broken,))
    store.save = broken
    forecasts = foresight(store, hooks=hooks).run_once(NOW, store.cluster)
    assert len(forecasts["cpu"].series) == 6
    assert {call.args[0].split()[0] for call in said} == {"preparer", "adjuster", "observer", "store"}


class Breaks:
    """A predictor that works until it is told to stop."""

    name = "breaks"
    broken = False

    def predict(self, history, origin):
        if self.broken:
            raise RuntimeError("out of order")
        made = Baseline().predict(history, origin)
        return replace(made, source=("model",) * len(made.series))


def test_where_the_predictor_fails_the_baseline_speaks():
    store, model = cloud(), Breaks()
    f = foresight(store, lambda: model)
    assert set(f.run_once(NOW, store.cluster)["cpu"].source) == {"model"}
    model.broken = True
    assert set(f.run_once(NOW + 300, store.cluster)["cpu"].source) == {"baseline"}


def test_a_new_champion_speaks_with_the_next_forecast():
    store, champions = cloud(), [Baseline(), Breaks()]
    f = foresight(store, lambda: champions[0])
    assert set(f.run_once(NOW, store.cluster)["cpu"].source) == {"baseline"}
    champions.pop(0)
    assert set(f.run_once(NOW + 300, store.cluster)["cpu"].source) == {"model"}


def test_when_history_cannot_be_read_the_last_forecast_holds_and_is_made_anew_when_it_can():
    store = cloud()
    f = foresight(store)
    first = f.run_once(NOW, store.cluster)

    def unreadable(*_):
        raise OSError("disk")

    store.read, read = unreadable, store.read
    assert f.run_once(NOW + 300, store.cluster) == first
    store.read = read
    assert f.run_once(NOW + 360, store.cluster)["cpu"].origin == NOW + 360


def test_batches_of_any_size_tell_the_same_of_hosts_and_groups():
    """Servers have the same history behind them whatever the batch; all of them are old enough to speak for themselves."""
    small, large = cloud(), cloud()
    foresight(small, forecast_batch=1).run_once(NOW, small.cluster)
    foresight(large, forecast_batch=100).run_once(NOW, large.cluster)
    for name in ("vm4", "host:hv1", "project:p1", "zone:az1"):
        assert middle(small, "cpu", name) == pytest.approx(middle(large, "cpu", name), rel=0.02), name


def test_what_was_measured_is_not_argued_with_where_nobody_looks_ahead():
    """A host's own history holds half a core more than its servers': with forecasts both would move."""
    store = cloud()
    forecast = foresight(store, Reactive).run_once(NOW, store.cluster)["cpu"]
    known = store.history.read("cpu", forecast.series, NOW, BINS)
    assert forecast.peak30m == pytest.approx(np.broadcast_to(known.max[:, -6:].max(axis=1)[:, None], (6, 13)))
    assert set(forecast.source) == {NO_FORECAST}


def test_a_host_that_nobody_measured_lately_is_not_told_to_want_all_that_it_has():
    """Where nobody looks ahead, too: it would have to be left at once, when the controller first starts."""
    store = cloud()
    past = store.histories["memory"]
    mean, most = past.mean.copy(), past.max.copy()
    on = [past.series.index(name) for name in ("host:hv1", "vm1", "vm4")]
    mean[on, -12:] = most[on, -12:] = np.nan
    store.histories["memory"] = replace(past, mean=mean, max=most)
    foresight(store, Reactive).run_once(NOW, store.cluster)
    sources = {name: f.source[i] for name, (f, i) in saved(store, "memory").items() if name.startswith("host:")}
    assert sources == {"host:hv0": NO_FORECAST, "host:hv1": "entitlement", "host:hv2": NO_FORECAST}
