"""History: every report once, in bins, packed and read back the same, late data included."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from foreshape_controller.errors import ConfigError
from foreshape_controller.main import build
from foreshape_controller.store import seen
from foreshape_wire.order import Mode
from foreshape_wire.reading import DomainState
from foreshape_wire.sample import IoSample
from store_support import DAY, T0, open_store, report, sample, settings

pytestmark = [pytest.mark.functional, pytest.mark.engines]


@pytest.fixture
def store():
    return open_store()


def test_a_bin_holds_mean_maximum_and_coverage(store):
    for n, cores in enumerate((1.0, 2.0, 3.0), 1):
        assert store.history.append(report(n, T0 + 10 * n, [sample(cores=cores)]), T0 + 10 * n)
    h = store.history.read("cpu", ["vm-1"], T0 + 30, 1)
    assert (h.start, h.until) == (T0, T0 + 300)  # the open bin is in it
    assert h.mean[0, 0] == 2.0
    assert h.max[0, 0] == 3.0
    assert h.coverage[0, 0] == pytest.approx(0.1)  # 30 of 300 s


def test_a_replayed_report_changes_nothing(store):
    r = report(1, T0 + 10)
    assert store.history.append(r, T0 + 10) is True
    assert store.history.append(r, T0 + 50) is False
    h = store.history.read("cpu", ["vm-1"], T0 + 30, 1)
    assert h.coverage[0, 0] == pytest.approx(10 / 300)


def test_a_new_epoch_counts_anew(store):
    assert store.history.append(report(1, T0 + 10, epoch="e1"), T0 + 10)
    assert store.history.append(report(1, T0 + 20, epoch="e2"), T0 + 20)


@pytest.mark.engines("sqlite")  # a hundred databases
@examples(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(1, 13)), st.lists(st.integers(1, 12), max_size=10), st.sets(st.integers(0, 21), max_size=3))
def test_reports_in_any_order_with_replays_and_compactions_between_give_the_same_history(order, replays, compactions):
    """Twelve reports over an hour; whatever the order, each counts once and the arrays are those of the straight run."""
    straight, shuffled = open_store(), open_store()
    for n in range(1, 13):
        straight.history.append(report(n, T0 + 300 * n, [sample(cores=n, window_s=10.0)]), T0 + 300 * n)
    for i, n in enumerate([*order, *replays]):
        shuffled.history.append(report(n, T0 + 300 * n, [sample(cores=n, window_s=10.0)]), T0 + 3600)
        if i in compactions:
            shuffled.history.compact(T0 + 2 * DAY)
    a, b = (s.history.read("cpu", ["vm-1"], T0 + 3600, 12) for s in (straight, shuffled))
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-3)
    np.testing.assert_allclose(a.coverage, b.coverage, rtol=1e-3)
    assert a.first_seen[0] == b.first_seen[0] == T0 + 300


def test_packing_closed_bins_changes_no_answer_and_leaves_the_open_ones(store):
    for n in range(1, 61):
        store.history.append(report(n, T0 + 60 * n, [sample(cores=n / 10, mib=100.0 + n)]), T0 + 60 * n)
    before = {r: store.history.read(r, ["vm-1", "host:hv1"], T0 + 3600, 12) for r in ("cpu", "memory")}
    assert store.history.compact(T0 + 3600) == 2 * 10  # two series, 12 bins less two of grace
    assert store.history.compact(T0 + 3600) == 0
    for resource, was in before.items():
        now = store.history.read(resource, ["vm-1", "host:hv1"], T0 + 3600, 12)
        np.testing.assert_allclose(now.mean, was.mean, rtol=1e-3)
        np.testing.assert_allclose(now.max, was.max, rtol=1e-3)
        np.testing.assert_allclose(now.coverage, was.coverage, rtol=1e-3)


def test_a_backlog_after_an_outage_merges_into_what_is_packed(store):
    store.history.append(report(50, T0 + 100, [sample(cores=1.0)]), T0 + 100)
    store.history.compact(T0 + DAY)
    store.history.append(report(3, T0 + 90, [sample(cores=3.0)]), T0 + DAY)  # the same bin, a day late
    for _ in range(2):
        h = store.history.read("cpu", ["vm-1"], T0 + 300, 1)
        assert h.mean[0, 0] == pytest.approx(2.0, rel=1e-3)
        assert h.max[0, 0] == 3.0
        assert h.first_seen[0] == T0 + 90
        store.history.compact(T0 + DAY)


def test_reading_spans_days_and_bins_without_data_are_nan(store):
    store.history.append(report(1, T0 + 10), T0 + 10)
    store.history.append(report(2, T0 + DAY + 10), T0 + DAY + 10)
    store.history.compact(T0 + 3 * DAY)
    h = store.history.read("memory", ["vm-1"], T0 + DAY + 300, 289)
    assert np.flatnonzero(~np.isnan(h.mean[0])).tolist() == [0, 288]
    assert h.coverage[0, 1:288].sum() == 0


def test_old_days_are_deleted_and_young_ones_stay(store):
    for day in range(4):
        store.history.append(report(day + 1, T0 + day * DAY + 10), T0 + day * DAY + 10)
    store.history.compact(T0 + 4 * DAY, retention_s=2 * DAY)
    h = store.history.read("cpu", ["vm-1"], T0 + 4 * DAY, 4 * 288)
    assert [bool(h.coverage[0, d * 288] > 0) for d in range(4)] == [False, False, True, True]


def test_guessed_memory_can_be_told_from_measured(store):
    store.history.append(report(1, T0 + 10, [sample(confidence=0.9)]), T0 + 10)
    store.history.append(report(2, T0 + 20, [sample(confidence=0.4)]), T0 + 20)
    store.history.append(report(3, T0 + 310, [sample(confidence=0.4)]), T0 + 310)
    h = store.history.read("memory", ["vm-1"], T0 + 320, 2)
    assert h.doubtful is not None
    assert h.doubtful[0].tolist() == [0.5, 1.0]
    assert store.history.read("cpu", ["vm-1"], T0 + 320, 2).doubtful is None


def test_censored_is_a_share_of_the_samples(store):
    store.history.append(report(1, T0 + 10, [sample(censored=True)]), T0 + 10)
    store.history.append(report(2, T0 + 20, [sample(), sample("vm-2")]), T0 + 20)
    assert store.history.read("cpu", ["vm-1", "vm-2"], T0 + 30, 1).censored[:, 0].tolist() == [0.5, 0.0]


def test_entitlement_is_the_card_s_and_a_host_s_is_all_it_has(store):
    store.history.append(report(1, T0 + 10, cards=True), T0 + 10)
    cpu = store.history.read("cpu", ["vm-1", "host:hv1", "unknown"], T0 + 30, 1)
    assert cpu.entitlement[:2].tolist() == [2.0, 16.0]
    assert np.isnan(cpu.entitlement[2])
    assert cpu.first_seen[2] == cpu.until  # an unknown series has no age
    assert store.history.read("memory", ["host:hv1"], T0 + 30, 1).mean[0, 0] == 32768.0


def test_a_paused_server_has_no_demand_to_learn_from(store):
    store.history.append(report(1, T0 + 10, [sample(state=DomainState.PAUSED), sample("vm-2", state=DomainState.MIGRATING)]), T0 + 10)
    h = store.history.read("cpu", ["vm-1", "vm-2"], T0 + 30, 1)
    assert (h.coverage[:, 0] > 0).tolist() == [False, True]


def test_the_first_sight_of_a_domain_says_nothing_yet(store):
    store.history.append(report(1, T0 + 10, [sample(window_s=0.0)]), T0 + 10)
    assert store.history.read("cpu", ["vm-1"], T0 + 30, 1).coverage[0, 0] == 0


def test_samples_of_a_clock_far_ahead_are_taken_as_of_their_receipt(store):
    taken = store.history.take(report(1, T0 + 3600 + 10), T0 + 10)
    assert (taken.new, taken.taken_at) == (True, T0 + 10)
    assert store.history.read("cpu", ["vm-1"], T0 + 30, 1).coverage[0, 0] > 0
    assert store.inventory.details()["hv1"].clock_ahead_s == 3600
    near = store.history.take(report(2, T0 + 620), T0 + 20)  # 600 s ahead: within what is tolerated
    assert near.taken_at == T0 + 620


def test_history_survives_a_restart_and_keeps_its_grid(tmp_path):
    store = open_store(tmp_path / "c.db")
    store.history.append(report(1, T0 + 10), T0 + 10)
    store.close()
    again = open_store(tmp_path / "c.db")
    assert again.history.append(report(1, T0 + 10), T0 + 99) is False
    assert again.history.append(report(2, T0 + 20), T0 + 20) is True
    assert again.history.read("cpu", ["vm-1"], T0 + 30, 1).coverage[0, 0] == pytest.approx(20 / 300)
    again.close()
    with pytest.raises(ConfigError, match="bins of 300 s"):
        open_store(tmp_path / "c.db", step_s=60)


def test_a_compressed_grid_packs_288_of_its_own_bins():
    store = open_store(step_s=10, default_mode=Mode.ACT)
    for n in range(1, 601):
        store.history.append(report(n, T0 + 10 * n, [sample(cores=n / 100)]), T0 + 10 * n)
    before = store.history.read("cpu", ["vm-1"], T0 + 6000, 600)
    store.history.compact(T0 + 6000 + DAY)
    after = store.history.read("cpu", ["vm-1"], T0 + 6000, 600)
    np.testing.assert_allclose(after.mean, before.mean, rtol=1e-3)
    assert before.coverage.min() == 1.0


def test_many_holes_in_the_numbers_are_bounded(store, monkeypatch):
    monkeypatch.setattr(seen, "MAX_RANGES", 10)
    for n in range(1, 61, 2):  # the spool thinned every second report
        store.history.append(report(n, T0 + 10 * n), T0 + 10 * n)
    store.history.compact(T0 + 700, retention_s=DAY)
    with store.db.read() as conn:
        assert len(conn.exec_driver_sql("SELECT * FROM seen").all()) <= 10
    assert store.history.append(report(59, T0 + 590), T0 + 700) is False
    assert store.history.append(report(60, T0 + 600), T0 + 700) is True


def test_housekeeping_packs_forgets_and_can_be_repeated(tmp_path):
    now = [T0 + 10]
    program = build(settings(tmp_path), clock=lambda: now[0])
    store = program.store
    store.history.append(report(1), T0 + 10)
    for now[0] in (T0 + 3600, T0 + 3601, T0 + DAY):
        program.tidy()
        assert store.history.read("cpu", ["vm-1"], T0 + 300, 1).coverage[0, 0] == pytest.approx(10 / 300, rel=1e-3)
    now[0] = T0 + 92 * DAY  # retention is 90 days
    program.tidy()
    assert store.history.read("cpu", ["vm-1"], T0 + 300, 1).coverage[0, 0] == 0
    assert store.history.append(report(1), now[0]) is True  # nobody reported in that epoch for so long that it is forgotten
    store.close()


# --- disk and network -------------------------------------------------------------------------------------------------


def test_disk_and_network_are_read_like_cpu_and_memory_with_nothing_sold(store):
    """Two samples of 10 s in a bin: 30 + 10 and 60 + 20 KiB/s of disk, 5 + 1 and 7 + 3 of network."""
    for n, (read, write, rx, tx) in enumerate(((30.0, 10.0, 5.0, 1.0), (60.0, 20.0, 7.0, 3.0)), 1):
        io = IoSample(read_kib_s=read, write_kib_s=write, rx_kib_s=rx, tx_kib_s=tx)
        store.history.append(report(n, T0 + 10 * n, [sample(io=io)], cards=True), T0 + 10 * n)
    disk, net = (store.history.read(r, ["vm-1", "host:hv1"], T0 + 30, 1) for r in ("disk", "net"))
    assert (disk.mean[0, 0], disk.max[0, 0]) == (60.0, 80.0)
    assert (net.mean[0, 0], net.max[0, 0]) == (8.0, 10.0)
    assert disk.coverage[0, 0] == pytest.approx(20 / 300)
    assert np.isnan(disk.entitlement).all()
    assert not disk.censored.any()
    assert np.isnan(disk.mean[1, 0]), "a host's own disks are not measured"


def test_the_share_of_reads_is_known_where_something_was_moved(store):
    """Bin 0: 90 of 120 KiB/s were read. Bin 1: nothing moved. Bin 2: no sample."""
    store.history.append(report(1, T0 + 10, [sample(io=IoSample(read_kib_s=90.0, write_kib_s=30.0))]), T0 + 10)
    store.history.append(report(2, T0 + 310, [sample(io=IoSample())]), T0 + 310)
    for compacted in (False, True):
        share = store.history.read_share(["vm-1", "nobody"], T0 + 900, 3)
        np.testing.assert_allclose(share, [[0.75, np.nan, np.nan], [np.nan] * 3], rtol=1e-6, err_msg=f"{compacted=}")
        store.history.compact(T0 + DAY)


def test_what_the_host_gave_is_read_beside_what_was_wanted(store):
    """1.5 cores wanted and used of 2, 500 MiB wanted of 1024 given."""
    store.history.append(report(1, T0 + 10, [sample(cores=1.5)]), T0 + 10)
    cpu, memory = (store.history.read(r, ["vm-1"], T0 + 30, 2) for r in ("cpu", "memory"))
    assert (cpu.used[0, 1], memory.used[0, 1], memory.mean[0, 1]) == (1.5, 1024.0, 500.0)
    assert np.isnan(cpu.used[0, 0])
