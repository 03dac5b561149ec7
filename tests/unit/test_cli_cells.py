"""Cells of what commands print: nothing that a spreadsheet or a terminal would obey."""

import re
from pathlib import Path

import pytest

import foreshape_controller
from foreshape_controller.cli.view import cell

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", ['=HYPERLINK("http://x")', "+1", "-2+3", "@SUM(A1)", "\t=1", "  =1", "\r=1"])
def test_a_name_is_no_formula_in_csv(name):
    assert cell(name, "csv") == f"'{name}"


@pytest.mark.parametrize("value", ["web-1", "-", "", -1.5, 3, None, "a=b"])
def test_what_is_no_formula_stays(value):
    assert cell(value, "csv") == value


def test_a_terminal_obeys_no_name():
    assert cell("web\x1b[31m\r1", "table") == "web [31m 1"


def test_whoever_writes_csv_is_one_whose_cells_are_no_formulas():
    """Tables of commands (here), statements (``test_statement.py``), the dashboard (in a browser). Another one needs its own test."""
    root = Path(foreshape_controller.__file__).parent
    writers = {str(f.relative_to(root)) for f in root.rglob("*.py") if re.search(r"csv\.(Dict)?[wW]riter|to_csv|write_csv", f.read_text())}
    pages = {f.name for f in root.rglob("*.js") if re.search(r"text/csv", f.read_text())}
    assert (writers, pages) == ({"cli/view.py", "decide/statement.py"}, {"table.js"})
