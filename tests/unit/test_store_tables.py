"""A plan's columns as bytes and back: nothing is lost, whatever the numbers are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foreshape_controller.model.columns import CODES, MASKS, PlanTable, Sizes
from foreshape_controller.store import tables
from long_support import LONG

pytestmark = pytest.mark.unit

FLOATS = ("allocation", "target", "wanted", "floor", "ceiling", "reactive")
TEXTS = ("servers", "hosts", "tiers", "modes", "causes")

amounts = st.one_of(st.floats(allow_infinity=False, width=64), st.sampled_from([0.0, 0.05, 2.0, 1.7, float("nan")]))
few = st.sampled_from(["a", "b", "", "ein Wort mit ü"])


@st.composite
def sizes(draw, resource, n):
    def column():
        return draw(hnp.arrays(np.float64, n, elements=amounts))

    def pointing(words):
        return np.array(draw(st.lists(st.sampled_from([np.nan, *range(-1, len(words))]), min_size=n, max_size=n)), np.float64)

    words = {"peak_reason": ("so", "thus", "that is how", "never used"), "levers": ("cpu.quota", "cpu.hotplug"), "code": CODES}
    return Sizes(
        resource=resource,
        choice=draw(hnp.arrays(np.int32, n, elements=st.integers(0, 2))),
        code=draw(hnp.arrays(np.int32, n, elements=st.integers(0, len(CODES) - 1))),
        asked=draw(hnp.arrays(np.uint32, n, elements=st.integers(0, 2**32 - 1))),
        passed=draw(hnp.arrays(np.uint32, n, elements=st.integers(0, 2**17))),
        inputs={"peak": column(), "peak_reason": pointing(words["peak_reason"]), "levers": np.arange(n) % 4.0},
        words=words,
        **{name: column() for name in FLOATS},
    )


@st.composite
def plan_tables(draw):
    n = draw(st.integers(0, 30))
    servers = draw(st.lists(st.text(min_size=1, max_size=36), min_size=n, max_size=n, unique=True))
    hosts, tiers, modes = (tuple(draw(few) for _ in range(n)) for _ in range(3))
    causes = tuple(f"cause-{i}" for i in range(n))
    return PlanTable("plan-1", 5.5, tuple(servers), hosts, tiers, modes, causes, draw(sizes("cpu", n)), draw(sizes("memory", n)))


def told(one, name):
    """What a column says, codes of texts as texts."""
    values = getattr(one, name) if hasattr(one, name) else one.inputs[name]
    if name in one.words and name not in MASKS:
        return [one.words[name][int(v)] if v >= 0 else str(v) for v in values]
    return values.tolist()


def same(a, b):
    assert [getattr(a, t) for t in TEXTS] == [getattr(b, t) for t in TEXTS]
    for of in ("cpu", "memory"):
        one, other = a.sizes(of), b.sizes(of)
        assert one.words.get("levers") == other.words.get("levers") or not len(a)
        for name in (*FLOATS, "choice", "code", "asked", "passed", *one.inputs):
            np.testing.assert_array_equal(told(one, name), told(other, name), err_msg=name)
        assert (other.choice.dtype, other.asked.dtype, other.target.dtype) == (np.int32, np.uint32, np.float64)


def alone_of(table, row):
    """A table of one of its rows."""

    def cut(sizes):
        columns = {name: getattr(sizes, name)[[row]] for name in (*FLOATS, "choice", "code", "asked", "passed")}
        return replace(sizes, inputs={name: values[[row]] for name, values in sizes.inputs.items()}, **columns)

    return PlanTable(table.plan, table.at, *((getattr(table, t)[row],) for t in TEXTS), cut(table.cpu), cut(table.memory))


@settings(max_examples=min(LONG, 300))
@given(plan_tables(), st.integers(1, 12))
def test_a_table_comes_back_as_it_was(table, rows):
    """Bit for bit, in the order it had, however many parts it was dealt to."""
    before, tables.PART_ROWS = tables.PART_ROWS, rows
    try:
        parts = tables.pack(table)
        assert len(parts) == (max(1, round(len(table) / rows)) if len(table) else 0)
        if parts:
            same(table, tables.unpack([p.data for p in parts], "plan-1", 5.5))
        for server in table.servers:
            mine = parts[tables.part_of(server, len(parts))]
            assert tables.holds(mine.data, server)
            alone = tables.unpack([mine.data], "plan-1", 5.5)
            i, j = table.row(server), alone.row(server)
            assert table.hosts[i] == alone.hosts[j]
            assert told(table.cpu, "peak_reason")[i] == told(alone.cpu, "peak_reason")[j]
            assert np.array_equal(table.memory.target[i], alone.memory.target[j], equal_nan=True)
            assert tables.alone(mine.data, server, "plan-1", 5.5).servers == (server,)
        if table.servers:
            last = table.servers[-1]
            mine = parts[tables.part_of(last, len(parts))].data
            same(alone_of(table, len(table) - 1), tables.alone(mine, last, "plan-1", 5.5))
    finally:
        tables.PART_ROWS = before


def test_a_server_whose_name_is_part_of_another_s_is_not_found_in_it():
    none = np.zeros(1)
    codes, bits = np.zeros(1, np.int32), np.zeros(1, np.uint32)
    one = Sizes("cpu", codes, codes, none, none, none, none, none, none, bits, bits)
    (part,) = tables.pack(PlanTable("p", 0.0, ("vm-10",), ("h",), ("t",), ("act",), ("c",), one, one))
    assert tables.holds(part.data, "vm-10")
    assert not tables.holds(part.data, "vm-1")
    assert not tables.holds(part.data, "10")
    assert tables.alone(part.data, "vm-1", "p", 0.0) is None


@pytest.mark.parametrize(
    ("values", "kind", "size"),
    [
        ([2.0] * 1000, b"c", 9),  # one value
        ([0.05 * (i % 40) for i in range(1000)], b"d", 2 + 40 * 8 + 1000),  # sizes in steps: codes of a byte
        ([float(np.float32(i / 7)) for i in range(1000)], b"f", 4001),  # single precision loses nothing
        ([i / 7 for i in range(1000)], b"g", 8001),
    ],
)
def test_a_column_takes_its_shortest_exact_form(values, kind, size):
    data = tables._column(np.array(values))
    assert (data[:1], len(data)) == (kind, size)
    assert tables._values(data, len(values)).tolist() == values


def test_another_format_is_refused():
    data = tables._encode(tables._Rows(format=99, row=b"", texts={}, cpu=tables._Sizes({}, {}, {}), memory=tables._Sizes({}, {}, {})))
    part = (0).to_bytes(4, "little") + tables.zlib.compress(data)
    with pytest.raises(ValueError, match="format 99"):
        tables.unpack([part], "p", 0.0)
