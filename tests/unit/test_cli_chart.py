"""The terminal chart of a forecast."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.cli.chart import HEIGHT, fan, quantile
from foreshape_controller.cli.view import ago, amounts
from foreshape_controller.model.forecast import LEVELS

pytestmark = pytest.mark.unit

FLAT = [tuple(float(i) for i in range(1, 14))] * 10


def test_a_chart_has_its_height_and_one_column_a_step():
    lines = fan(LEVELS, FLAT)
    assert len(lines) == HEIGHT
    assert {len(line.split("│")[1]) for line in lines} == {10}


def test_the_median_lies_inside_its_bands():
    column = [line.split("│")[1][0] for line in fan(LEVELS, FLAT)]
    assert column.count("━") == 1
    middle = column.index("━")
    assert "░" in column[:middle]
    assert "░" in column[middle + 1 :]


def test_the_present_allocation_is_a_line_where_no_band_is():
    lines = fan(LEVELS, FLAT, has=100.0)
    assert "·" * 10 in lines[0]


def test_the_nearest_level_speaks_for_a_quantile():
    assert quantile((0.1, 0.5, 0.9), (1.0, 2.0, 3.0), 0.95) == 3.0


@given(
    st.lists(st.lists(st.floats(0, 1e6), min_size=13, max_size=13).map(sorted), min_size=1, max_size=54),
    st.one_of(st.none(), st.floats(0, 1e6)),
)
def test_any_fan_can_be_drawn(steps, has):
    assert len(fan(LEVELS, steps, has)) == HEIGHT


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172800, "2 d")])
def test_an_age_is_said_in_a_person_s_unit(seconds, said):
    assert ago(seconds) == said


def test_an_unknown_amount_is_a_dash():
    assert amounts(None, 1.5) == "- / 1.50"
