"""A packed day keeps what it was given, to half or single precision, and late data adds up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.store import chunks

pytestmark = pytest.mark.unit

rows = st.fixed_dictionaries(
    {
        "cpu_s": st.floats(1, 300),
        "cpu_mean": st.floats(0.001, 200),
        "memory_s": st.floats(1, 300),
        "memory_mean": st.floats(1, 4e6),
    }
)


def row(told):
    """A row of bins with these means; everything else is derived."""
    cpu, memory = told["cpu_s"] * told["cpu_mean"], told["memory_s"] * told["memory_mean"]
    return {
        "cpu_s": told["cpu_s"],
        "cpu_sum": cpu,
        "cpu_used_sum": cpu / 2,
        "cpu_alloc_sum": cpu * 2,
        "cpu_capped_s": told["cpu_s"] / 4,
        "cpu_max": told["cpu_mean"] * 1.5,
        "cpu_used_max": told["cpu_mean"],
        "memory_s": told["memory_s"],
        "memory_sum": memory,
        "memory_alloc_sum": memory,
        "memory_capped_s": 0.0,
        "memory_doubt_s": told["memory_s"],
        "memory_max": told["memory_mean"],
    }


@given(st.dictionaries(st.integers(0, 287), rows, min_size=1, max_size=20))
def test_packing_loses_no_more_than_the_precision_said(told):
    for part, names in chunks.PARTS.items():
        if part == "io":
            continue
        day = chunks.empty(part)
        for slot, values in told.items():
            chunks.add(day, slot, row(values))
        back = chunks.unpack(part, chunks.pack(part, day))
        for name in names:
            # half precision keeps 1 part in 2048; a sum is a mean times seconds, each rounded once
            np.testing.assert_allclose(back[name], day[name], rtol=2 / 2048, atol=1e-3)


@given(rows, rows)
def test_late_data_adds_up_in_the_same_bin(first, late):
    day = chunks.empty("memory")
    chunks.add(day, 5, row(first))
    day = chunks.unpack("memory", chunks.pack("memory", day))
    chunks.add(day, 5, row(late))
    back = chunks.unpack("memory", chunks.pack("memory", day))
    seconds = first["memory_s"] + late["memory_s"]
    mean = (first["memory_s"] * first["memory_mean"] + late["memory_s"] * late["memory_mean"]) / seconds
    assert back["memory_s"][5] == pytest.approx(seconds, rel=1e-3)
    assert back["memory_sum"][5] / back["memory_s"][5] == pytest.approx(mean, rel=1e-3)
    assert back["memory_max"][5] == pytest.approx(max(first["memory_mean"], late["memory_mean"]), rel=1e-6)


def test_a_day_is_small():
    rng = np.random.default_rng(1)
    sizes = []
    for part in chunks.PARTS:
        day = {name: rng.uniform(0, 100, 288) for name in chunks.PARTS[part]}
        sizes.append(len(chunks.pack(part, day)))
    assert sum(sizes) < 288 * 17 * 4  # noise does not deflate, and is still smaller than 17 columns of float32
