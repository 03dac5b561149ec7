"""Selling on an emulated Placement over HTTP and a real store: rising, going back, being stopped, being overwritten, being killed."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cloud_emulator import Emulator, Fault, running
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.loops.sell import Selling
from foreshape_controller.model.cloud import VCPU
from foreshape_controller.model.sale import MOVED, OVERWRITTEN, WATCHED, WRITING
from foreshape_controller.store import Store
from foreshape_wire.order import Mode
from sell_support import HOUR, SELLS, Bed

pytestmark = pytest.mark.functional


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def bed() -> Iterator[Bed]:
    with running(Emulator()) as emulator:
        bed = Bed(emulator)
        yield bed
        bed.store.close()


def test_what_is_free_for_a_day_is_sold_and_moved_back_before_the_load_comes(bed):
    for _ in range(10):
        bed.emulator.boot("hv1", vcpus=8)  # 80 of 100 cores
    bed.day(20.0)
    assert bed.ratio == 1.25
    bed.day(20.0)
    assert bed.ratio == 1.5
    for _ in range(5):
        bed.emulator.boot("hv1", vcpus=8)  # 120: twenty more than the host had to sell
    bed.expects(*[20.0] * 13, 90.0)  # 90 cores from 6.5 hours on
    assert bed.look().ratio == 1.5, "further away than the lead time"
    bed.expects(*[20.0] * 11, 90.0)
    sale = bed.look(0.1)
    assert bed.ratio == 1.2, "exactly what is allocated: no more can be bought"
    assert "90.0 of 100 is expected within 6 h" in sale.reason
    assert sale.short == 0.0, "90 of 90 fit"
    with pytest.raises(Exception, match="No valid host"):
        bed.emulator.boot("hv1", vcpus=8)
    moves = bed.store.sales.moves("hv1")
    assert [(m.was, m.target, m.result) for m in moves] == [
        (1.5, 1.2, "done: 1.2 is there"),
        (1.25, 1.5, "done: 1.5 is there"),
        (1.0, 1.25, "done: 1.25 is there"),
    ]


def test_what_was_bought_and_does_not_fit_any_more_is_somebodys_need_to_leave(bed):
    bed.day(20.0)
    for _ in range(15):
        bed.emulator.boot("hv1", vcpus=8)
    bed.expects(20.0, 20.0, 100.0)
    bed.look()
    need = bed.sell.needs(bed.now)[0]
    assert (need.host, need.resource, need.amount) == ("hv1", "cpu", 10.0), "100 expected of 90"
    assert need.starts == pytest.approx(bed.now + HOUR, abs=1)
    assert need.deadline >= bed.now
    bed.expects(20.0)
    bed.look(0.1)
    assert bed.sell.needs(bed.now) == ()


def test_boots_between_the_decision_and_the_write_are_never_undercut(bed):
    bed.day(20.0)
    assert bed.ratio == 1.25
    bed.expects(89.0)
    bed.watch.run_once(bed.now)
    for _ in range(11):
        bed.emulator.boot("hv1", vcpus=10)  # the view does not know these 110
    bed.sell.run_once(bed.now)
    assert bed.ratio == 1.1
    assert bed.cpu.ratio == 1.1


def test_in_advise_it_is_proposed_and_nothing_is_written(bed):
    bed.store.modes.set("cloud", Mode.ADVISE, "look first", 0.0)
    sale = bed.day(20.0)
    assert (sale.state, sale.wanted) == (WATCHED, 1.25)
    assert bed.sell.proposal(sale) == "the mode there is advise, not act"
    assert bed.writes() == 0
    bed.store.modes.set("cloud", Mode.ACT, "go", 0.0)
    bed.look()
    assert bed.ratio == 1.25


def test_a_cloud_that_was_not_read_freezes_it(bed):
    bed.day(20.0)
    bed.expects(89.0)
    bed.now += 0.2 * HOUR
    bed.sell.run_once(bed.now)
    assert "the cloud was last read 720 s ago" in bed.sell.frozen
    assert bed.ratio == 1.25


def test_a_forecast_that_falls_silent_moves_it_back(bed):
    bed.day(20.0)
    assert bed.look(0.9).ratio == 1.25
    sale = bed.look(0.2)
    assert bed.ratio == 1.0
    assert sale.state == WATCHED
    assert "its forecast is 66 minutes old" in bed.store.sales.moves("hv1")[0].reason


@pytest.mark.parametrize("how", ["stop of the host", "stop of all", "switched off"])
def test_an_operators_word_puts_the_original_back_also_in_advise(bed, how):
    bed.day(20.0)
    bed.store.modes.set("cloud", Mode.ADVISE, "careful", 0.0)
    if how == "switched off":
        bed.start(replace(SELLS, enabled=False))
    else:
        bed.sell.stop("hv1" if how == "stop of the host" else "", "no more", bed.now)
    bed.expects(20.0)
    sale = bed.look(0.1)
    assert bed.ratio == 1.0
    assert (sale.state, sale.ratio) == (WATCHED, 1.0)
    bed.day(20.0)
    assert bed.ratio == 1.0, "and it stays there"


def test_where_all_is_stopped_even_that_waits(bed):
    bed.day(20.0)
    bed.sell.stop("", "no more", bed.now)
    bed.store.modes.stop("cloud", "incident", bed.now)
    bed.expects(20.0)
    sale = bed.look(0.1)
    assert bed.ratio == 1.25
    assert bed.sell.proposal(sale) == "the mode there is observe"
    bed.store.modes.resume("cloud", "over", bed.now)
    bed.look(0.1)
    assert bed.ratio == 1.0


def test_what_was_bought_goes_back_step_by_step_as_it_is_given_up(bed):
    bed.day(20.0)
    servers = [bed.emulator.boot("hv1", vcpus=10) for _ in range(12)]
    bed.sell.stop("hv1", "no more", bed.now)
    bed.expects(20.0)
    bed.look(0.1)
    assert bed.ratio == 1.2
    for server in servers[:3]:
        bed.emulator.nova.delete(server)
    bed.look(0.1)
    assert bed.ratio == 1.0
    assert bed.cpu.state == WATCHED


def test_start_after_a_stop_sells_again_and_without_one_is_refused(bed):
    bed.look()
    with pytest.raises(Invalid, match="not stopped on host:hv1"):
        bed.sell.start("hv1", "why not")
    with pytest.raises(NotFound, match="no host 'hv9'"):
        bed.sell.stop("hv9", "typo", bed.now)
    bed.sell.stop("hv1", "no more", bed.now)
    bed.sell.start("hv1", "again")
    bed.day(20.0)
    assert bed.ratio == 1.25


def test_nova_compute_that_writes_its_own_ratio_ends_it_with_a_sentence_until_somebody_says_start(bed):
    bed.day(20.0)
    with bed.emulator.lock:
        provider = bed.emulator.placement.providers[bed.provider]
        provider.inventories[VCPU]["allocation_ratio"] = 16.0
        provider.generation += 1
    bed.expects(20.0)
    sale = bed.look(0.1)
    assert sale.state == OVERWRITTEN
    assert "cpu_allocation_ratio is set in its nova.conf" in sale.reason
    writes = bed.writes()
    bed.day(89.0)
    bed.sell.stop("", "even a stop does not fight", bed.now)
    bed.look(0.1)
    assert (bed.writes(), bed.ratio) == (writes, 16.0)
    bed.sell.start("", "unset in nova.conf")
    assert bed.look(0.1).original == 16.0


# -- killed, and faults


class DyingStore:
    """The store, whose process dies before or after its n-th transaction of a write."""

    def __init__(self, sales, step: str) -> None:
        self._sales, self._step = sales, step

    def __getattr__(self, name):
        def call(*args, **more):
            if self._step == f"before {name}":
                raise Killed
            done = getattr(self._sales, name)(*args, **more)
            if self._step == f"after {name}":
                raise Killed
            return done

        return call


class _Parts:
    def __init__(self, store: Store, sales: object) -> None:
        self.sales, self.forecasts, self.modes = sales, store.forecasts, store.modes


@pytest.mark.parametrize("step", ["before keep", "after keep", "before begin", "after begin", "before settle", "after settle"])
@pytest.mark.parametrize("way", ["up", "back"])
def test_killed_between_any_two_steps_it_knows_afterwards_what_is_there(bed, step, way):
    bed.day(20.0) if way == "back" else None
    for _ in range(24 if way == "up" else 0):
        bed.expects(20.0)
        bed.look()
        bed.now += HOUR
    bed.expects(20.0 if way == "up" else 89.0)
    before, goal = (1.0, 1.25) if way == "up" else (1.25, 1.0)
    assert bed.ratio == before
    dying = _Parts(bed.store, DyingStore(bed.store.sales, step))
    bed.watch.run_once(bed.now)
    with pytest.raises(Killed):
        Selling(dying, bed.watch, bed.cloud.placement, lambda host: "", SELLS).run_once(bed.now)
    bed.start()
    bed.now += 60
    bed.expects(20.0 if way == "up" else 89.0)
    sale = bed.look()
    assert bed.ratio == goal == sale.ratio
    assert sale.state == (MOVED if way == "up" else WATCHED)
    assert sale.original == 1.0
    assert all(m.settled_at for m in bed.store.sales.moves("hv1")), "no write is left without its outcome"


@pytest.mark.parametrize("kind", ["lost", "drop", "storm", "status"])
def test_a_write_without_an_answer_is_settled_by_what_is_there(bed, kind):
    bed.emulator.faults.append(Fault("placement PUT .*/inventories/", kind, times=2, status=500))
    bed.day(20.0)
    bed.expects(20.0)
    bed.look(0.1)
    assert bed.ratio == 1.25
    assert bed.cpu.state == MOVED
    assert not [m for m in bed.store.sales.moves("hv1") if m.settled_at is None]


def test_one_hosts_trouble_is_not_the_others(bed):
    other = bed.emulator.add_host("hv2", vcpus=100, ram=524288, ratio=1.0)
    bed.emulator.add_host("hv3", vcpus=100, ram=524288, ratio=1.0)
    bed.emulator.faults.append(Fault(f"placement PUT .*{other}/inventories/", "status", times=100, status=403))
    for _ in range(25):
        for host in ("hv1", "hv2"):
            bed.expects(20.0, host=host)
        bed.expects(math.nan, host="hv3")
        bed.look()
        bed.now += HOUR
    found = {s.host: s for s in bed.sell.sales() if s.resource == "cpu"}
    assert bed.ratio == 1.25
    assert (found["hv2"].state, found["hv2"].ratio) == (WATCHED, 1.0)
    assert bed.store.sales.moves("hv2")[0].result.startswith("not done:")
    assert found["hv3"].reason == "nothing is sold: its forecast has no numbers"
    assert WRITING not in {s.state for s in found.values()}


def test_headroom_is_told_of_hosts_whose_forecasts_are_known(bed):
    bed.emulator.add_host("hv2", vcpus=100, ram=524288, ratio=1.0)
    bed.expects(25.0, memory=52377.6)
    bed.look()
    at, free = bed.sell.headroom()
    assert at == bed.now
    assert free == {"hv1": pytest.approx(0.75)}, "of its CPU; nine tenths of its memory are free"


def lands(bed, ratio):
    """A write takes effect, whosever it was."""
    provider = bed.emulator.placement.providers[bed.provider]
    provider.inventories[VCPU]["allocation_ratio"] = ratio
    provider.generation += 1


def test_a_write_that_arrives_after_it_was_given_up_is_ours_and_never_becomes_the_original(bed):
    """It left us, no answer came, and at the next look it was not there yet; then Placement took it."""
    bed.emulator.faults.append(Fault("placement PUT .*/inventories/", "drop", times=2))
    bed.day(20.0)
    bed.expects(20.0)
    bed.sell._why_not = lambda _host: "nothing more is written in this test"
    assert bed.look(0.1).state == WATCHED
    lands(bed, 1.25)
    bed.expects(20.0)
    late = bed.look(0.1)
    assert (late.state, late.ratio, late.original) == (MOVED, 1.25, 1.0)
    bed.sell._why_not = lambda _host: ""
    bed.sell.stop("", "enough", bed.now)
    bed.look(0.1)
    assert bed.ratio == 1.0


def test_the_same_ratio_from_somebody_else_much_later_is_his(bed):
    bed.emulator.faults.append(Fault("placement PUT .*/inventories/", "drop", times=2))
    bed.day(20.0)
    bed.expects(20.0)
    bed.sell._why_not = lambda _host: "nothing more is written in this test"
    bed.look(0.1)
    for _ in range(3):
        bed.expects(20.0)
        bed.look(1.0)
    lands(bed, 1.25)
    bed.expects(20.0)
    assert (bed.look(0.1).state, bed.cpu.original) == (WATCHED, 1.25)
