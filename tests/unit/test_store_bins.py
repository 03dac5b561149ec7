"""Samples become rows: seconds, amounts times seconds, maxima."""

import pytest

from foreshape_controller.store.bins import WIDTH, bin_start, host_row, vm_row
from foreshape_controller.store.schema import MAXIMA, SUMS
from foreshape_wire.sample import IoSample
from store_support import T0, host_sample, sample

pytestmark = pytest.mark.unit

COLUMNS = ("bin", "series", *SUMS, *MAXIMA)


def named(row):
    assert len(row) == len(COLUMNS) == WIDTH + 2
    return dict(zip(COLUMNS, row, strict=True))


def test_a_sample_belongs_to_the_bin_of_its_window_s_middle():
    assert bin_start(T0 + 10, 10, 300) == T0
    assert bin_start(T0 + 300, 10, 300) == T0  # the ten seconds before the bin's end
    assert bin_start(T0 + 310, 10, 300) == T0 + 300
    assert bin_start(T0 + 300, 300, 300) == T0  # a compressed bed: one sample is the whole bin


def test_amounts_are_weighted_by_the_seconds_they_speak_for():
    row = named(vm_row(sample(cores=1.5, mib=600.0, io=IoSample(read_kib_s=2.0, write_kib_s=3.0, rx_kib_s=1.0)), int(T0), 7, 300))
    assert row["cpu_s"] == row["memory_s"] == row["io_s"] == 10
    assert row["cpu_sum"] == 15.0  # 1.5 cores × 10 s
    assert row["memory_sum"] == 6000.0
    assert row["disk_kib"] == 50.0  # (2 + 3) KiB/s × 10 s
    assert row["net_kib"] == 10.0
    assert (row["cpu_max"], row["memory_max"]) == (1.5, 600.0)


def test_censored_and_doubtful_seconds_are_counted_apart():
    capped = named(vm_row(sample(censored=True), 0, 1, 300))
    assert (capped["cpu_capped_s"], capped["memory_capped_s"]) == (10, 0)
    guessed = named(vm_row(sample(confidence=0.49), 0, 1, 300))
    assert guessed["memory_doubt_s"] == 10
    assert named(vm_row(sample(confidence=0.5), 0, 1, 300))["memory_doubt_s"] == 0


def test_a_window_longer_than_a_bin_fills_one_bin():
    assert named(vm_row(sample(window_s=1200.0), 0, 1, 300))["cpu_s"] == 300


def test_a_host_s_own_series_has_its_whole_as_allocation():
    row = named(host_row(host_sample(used=4.0, free_mib=32768.0), 0, 1, 10.0))
    assert row["cpu_sum"] == 40.0
    assert row["cpu_alloc_sum"] == 160.0  # 16 CPUs × 10 s
    assert row["memory_max"] == 32768.0  # 65536 − 32768 MiB
