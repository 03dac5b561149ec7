"""The copy of the last hours in memory says what the store says, whatever comes in between two plans."""

from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.store.recent import SLICES, Recent
from store_support import DAY, T0, open_store, report, sample

pytestmark = [pytest.mark.functional, pytest.mark.engines]

STEP, BINS = 300, 12
COLUMNS = ("mean", "max", "coverage", "censored")


def same(copy, truth):
    assert (copy.series, copy.start, copy.bins) == (truth.series, truth.start, truth.bins)
    for name in (*COLUMNS, "entitlement"):
        # a packed day keeps 1 part in 2048
        np.testing.assert_allclose(getattr(copy, name), getattr(truth, name), rtol=2e-3, atol=1e-6, err_msg=name)
    assert copy.first_seen.tolist() == truth.first_seen.tolist()


class Told:
    """A store, its copy, and reports of three hosts with a server each."""

    def __init__(self, store=None):
        self.store = store or open_store()
        self.recent = Recent(self.store.history)
        self.sent = 0

    def tell(self, host, taken_at, received_at, cores=1.0, servers=()):
        self.sent += 1
        names = servers or (f"vm-{host}",)
        samples = [sample(s, cores, 400 + 10 * cores, censored=cores > 1.5) for s in names]
        self.store.history.append(report(self.sent, taken_at, samples, host=f"hv{host}", cards=True), received_at)

    def check(self, now, names):
        for resource in ("cpu", "memory"):
            same(self.recent.read(resource, names, now, BINS), self.store.history.read(resource, names, now, BINS))


moves = st.lists(
    st.one_of(
        st.tuples(st.just("report"), st.integers(0, 2), st.floats(0.1, 2.0)),
        st.tuples(st.just("backlog"), st.integers(0, 2), st.integers(0, BINS * STEP)),
        st.tuples(st.just("wait"), st.integers(1, 900)),
        st.tuples(st.just("compact")),
        st.tuples(st.just("plan"), st.permutations(["vm-0", "vm-1", "vm-2", "nobody"]).map(tuple)),
    ),
    max_size=40,
)


DAYS = count(1)
"""Each example has days of its own in the one database, and a copy of its own: to make a database takes longer than an example."""


@pytest.fixture(scope="module")
def shared():
    store = open_store()
    yield store
    store.close()


@settings(max_examples=60)
@given(told=moves)
def test_the_copy_never_differs_from_the_store(shared, told):
    it, now = Told(shared), T0 + 2 * DAY * next(DAYS)
    it.sent = int(now)
    for move in told:
        now += 10
        match move:
            case ("report", host, cores):
                it.tell(host, now, now, cores)
            case ("backlog", host, ago):
                it.tell(host, now - ago, now, 0.5)
            case ("wait", seconds):
                now += seconds
            case ("compact",):
                it.store.history.compact(now)
            case ("plan", names):
                it.check(now, names[: 1 + it.sent % 4])
    it.check(now, ("vm-0", "vm-1", "vm-2"))


def test_a_usual_plan_reads_the_open_bin_and_a_slice_and_nothing_else():
    it = Told()
    names = tuple(f"vm-{i:03d}" for i in range(2 * SLICES))
    it.tell(0, T0 + 10, T0 + 10, servers=names)
    it.check(T0 + 20, names)
    whole, opened = [], []
    read, read_open = it.store.history.read_lean, it.store.history.read_open
    it.store.history.read_lean = lambda resource, of, *span: whole.append(len(of)) or read(resource, of, *span)
    it.store.history.read_open = lambda resource, of, *span: opened.append(span) or read_open(resource, of, *span)
    it.tell(0, T0 + 70, T0 + 70, 1.7, names)
    seen = it.recent.read("cpu", names, T0 + 80, BINS)
    assert (opened, whole) == ([(T0, T0 + STEP)], [2])
    assert seen.mean[:, -1] == pytest.approx(1.35)  # 10 s of 1 and 10 s of 1.7


def test_what_was_handed_out_does_not_change():
    it = Told()
    it.tell(0, T0 + 10, T0 + 10, 1.0)
    first = it.recent.read("cpu", ("vm-0",), T0 + 20, BINS)
    it.tell(0, T0 + 70, T0 + 70, 2.0)
    assert it.recent.read("cpu", ("vm-0",), T0 + 80, BINS).max[0, -1] == 2.0
    assert first.max[0, -1] == 1.0


def test_what_another_process_wrote_is_healed_a_slice_at_a_time(tmp_path):
    it, other = Told(), open_store(tmp_path / "c.db")
    it.store.close()
    it.store = open_store(tmp_path / "c.db")
    it.recent = Recent(it.store.history)
    now = T0 + 40_000.0
    it.tell(0, now, now)
    it.check(now, ("vm-0",))
    other.history.append(report(1, now - 2000, [sample("vm-0", 1.9)], host="hv9"), now)  # a backlog that this process never saw
    other.close()
    for _ in range(SLICES):
        it.recent.read("cpu", ("vm-0",), now, BINS)
    it.check(now, ("vm-0",))


def test_where_something_was_missed_everything_is_read_again_at_once(tmp_path):
    it, other = Told(), open_store(tmp_path / "c.db")
    it.store.close()
    it.store = open_store(tmp_path / "c.db")
    it.recent = Recent(it.store.history)
    now = T0 + 40_000.0
    for _ in range(3):  # the slices are at others' turn
        it.tell(0, now, now, servers=("vm-0", "vm-1"))
        it.check(now, ("vm-0", "vm-1"))
    other.history.append(report(1, now - 2000, [sample("vm-0", 1.9)], host="hv9"), now)
    other.close()
    it.store.history.touched.missed()
    it.check(now, ("vm-0", "vm-1"))


def test_an_empty_cloud_has_an_empty_copy():
    it = Told()
    assert it.recent.read("cpu", (), T0, BINS).mean.shape == (0, BINS)
    it.check(T0 + 60, ())
