"""Filters of lists: a whole text, or one with ``*`` for any characters."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.api.lists import _like as like

pytestmark = pytest.mark.unit

LETTERS = st.text("ab.[", max_size=8)


@given(text=LETTERS, parts=st.lists(LETTERS, min_size=1, max_size=4))
def test_a_star_is_any_characters_and_nothing_else_is_special(text, parts):
    pattern = ".*".join(map(re.escape, parts))
    assert like(text, "*".join(parts)) == bool(re.fullmatch(pattern, text))
