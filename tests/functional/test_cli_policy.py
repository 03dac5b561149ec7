"""`foreshape policy show` and `set`: the text behind the tiers goes out, is edited, and comes back; nobody's change is overwritten."""

import json
import logging

import pytest
import structlog

from cli_support import Operator
from foreshape_controller.main import build
from foreshape_demo.serve import Serving
from store_support import T0, settings

pytestmark = pytest.mark.functional

GOOD = "# ours\ntiers:\n  gold: {weight: 8.0}\n"


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "tiers.yaml"
    made.write_text(GOOD)
    return made


@pytest.fixture
def ask(tmp_path, file, capsys):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    program = build(settings(tmp_path, tiers_file=str(file)), clock=lambda: T0)
    with Serving(program, 0) as api:
        yield Operator(capsys, ("--url", api.url, "--token-file", str(tmp_path / "admin-token")))
    program.store.close()


def test_what_is_shown_can_be_edited_and_set(ask, file, tmp_path):
    code, out, err = ask("policy", "show")
    assert (code, out) == (0, GOOD)
    edited = tmp_path / "edited.yaml"
    edited.write_text(out + "default: gold\n")
    in_force = err.split()[2]
    code, out, _ = ask("policy", "set", edited, "--replaces", in_force, "--reason", "gold for all")
    assert code == 0
    assert file.read_text() == GOOD + "default: gold\n"
    assert "yes" in out
    assert json.loads(ask("policy", "show", "-f", "json")[1])["in_force"].startswith(in_force) is False


def test_a_change_of_somebody_else_is_not_overwritten(ask, file, tmp_path):
    first = ask("policy", "show")[2].split()[2]
    file.write_text(GOOD + "default: gold\n")
    (tmp_path / "mine.yaml").write_text(GOOD)
    code, _, err = ask("policy", "set", tmp_path / "mine.yaml", "--replaces", first)
    assert code == 1
    assert "somebody has changed it meanwhile" in err
    assert file.read_text() == GOOD + "default: gold\n"


def test_a_text_with_a_mistake_changes_nothing_and_is_told(ask, file, tmp_path):
    (tmp_path / "bad.yaml").write_text("tiers: {gold: {weight: -1}}")
    code, _, err = ask("policy", "set", tmp_path / "bad.yaml")
    assert code == 1
    assert "weight is -1" in err
    assert file.read_text() == GOOD
    assert ask("policy", "set", tmp_path / "nowhere.yaml")[0] == 1


def test_a_file_that_was_broken_by_hand_is_shown_with_what_is_wrong(ask, file):
    ask("policy", "show")
    file.write_text("tiers: {gold: {weight: -1}}")
    code, out, err = ask("policy", "show")
    assert (code, out) == (0, "tiers: {gold: {weight: -1}}\n")
    assert "NOT this text" in err
