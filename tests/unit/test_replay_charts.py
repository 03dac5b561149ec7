"""Charts of a report: well-formed whatever a server is called, and no peak lost between two points."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foreshape_controller.replay import svg

pytestmark = pytest.mark.unit

AXES = svg.Axes("cores", [(0.0, "1 Sep")])
words = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)


@given(words, words, st.lists(st.floats(0, 1e6) | st.just(float("nan")), min_size=1, max_size=20))
@settings(max_examples=60)
def test_a_chart_is_well_formed_whatever_things_are_called(title, name, values):
    x = [float(i) for i in range(len(values))]
    drawn = svg.chart(title, [svg.Series(name, x, values, fill=True), svg.Series(name, x, values, dots=True)], AXES)
    tree = ET.fromstring(drawn)
    assert tree.tag == "figure"
    assert [c.text or "" for c in tree.iter("figcaption")] == [title]
    assert "nan" not in drawn.replace(title, "").replace(name, "")


@given(hnp.arrays(np.float64, st.integers(1, 3000), elements=st.floats(0, 100) | st.just(np.nan)))
@settings(max_examples=60)
def test_thinning_keeps_the_largest(values):
    x, y = svg.thinned(values, np.arange(len(values), dtype=float))
    assert len(x) == len(y) <= svg.MOST_POINTS
    assert all(np.array_equal(values[int(at)], v, equal_nan=True) for at, v in zip(x, y, strict=True)), "each is a real bin"
    known = values[np.isfinite(values)]
    assert max((v for v in y if np.isfinite(v)), default=0.0) == max(known.tolist(), default=0.0)


def test_lines_of_a_chart_show_the_same_moments():
    """1000 bins on 334 points: the allocation is drawn of the bin that wanted most, so that a violation stays one."""
    want, has = np.tile([0.2, 0.9, 0.2, 0.2], 250), np.tile([1.0, 0.5, 1.0, 1.0], 250)
    x = np.arange(1000.0)
    at, drawn = svg.thinned(has, x, want)
    assert at == svg.thinned(want, x, want)[0]
    assert min(drawn) == 0.5


def test_a_gap_breaks_the_line_and_one_day_alone_is_a_dot():
    drawn = ET.fromstring(svg.chart("t", [svg.Series("s", [0.0, 1.0, 2.0, 3.0], [1.0, 2.0, float("nan"), 4.0])], AXES))
    assert len(next(drawn.iter("polyline")).get("points", "").split()) == 2
    assert len(list(drawn.iter("circle"))) == 1


@pytest.mark.parametrize(
    ("top", "share", "said"),
    [
        (30.0, False, ["0.0", "7.5", "15.0", "22.5", "30.0"]),
        (800000.0, False, ["0", "200,000", "400,000", "600,000", "800,000"]),
        (0.001, True, ["0.000%", "0.025%", "0.050%", "0.075%", "0.100%"]),
    ],
)
def test_marks_of_an_axis_differ_and_are_written_out(top, share, said):
    assert [svg._said(top * k / 4, top, share=share) for k in range(5)] == said


def test_values_lie_where_the_axis_says():
    """0 to 4 over 0 to 10: the last point is at the right end, at the top of an axis that ends at 4."""
    drawn = ET.fromstring(svg.chart("t", [svg.Series("s", [0.0, 10.0], [0.0, 4.0])], AXES))
    (line,) = drawn.iter("polyline")
    assert line.get("points") == f"{svg.LEFT:.1f},{svg.HEIGHT - svg.BOTTOM:.1f} {svg.WIDTH - svg.RIGHT:.1f},{svg.TOP:.1f}"


def test_bars_are_as_long_as_they_are_large():
    widths = [float(r.get("width", "0")) for r in ET.fromstring(svg.bars("t", [("a", 10.0), ("b", 5.0)], "")).iter("rect")]
    assert widths[1] == pytest.approx(widths[0] / 2)


@given(st.floats(1e-6, 1e9))
def test_an_axis_ends_at_a_round_number_that_holds_everything(value):
    top = svg._round(value)
    assert value <= top * (1 + 1e-6) <= value * 2.1
