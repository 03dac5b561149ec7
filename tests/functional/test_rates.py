"""The rates in force: read again when the file changes, kept when it is broken, remembered over a restart."""

from pathlib import Path

import pytest

from foreshape_controller.errors import ConfigError
from foreshape_controller.loops.rates import Rates
from pricing_support import CARD
from store_support import T0, open_store

pytestmark = pytest.mark.functional

TIERS = ("guaranteed", "standard", "economy")
DEARER = CARD.replace("0.02,", "0.05,")
BROKEN = CARD.replace("0.02,", "-1,")


@pytest.fixture
def store():
    made = open_store()
    yield made
    made.close()


def written(path: Path, text: str) -> Path:
    """Replaced as editors do it: another file takes the name."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
    return path


def rates(file, store):
    return Rates(str(file) if file else "", store.rate_cards, lambda: T0, lambda: TIERS)


def core(found):
    return str(found.current().cards[0].tiers["standard"].cpu.entitlement)


def test_a_changed_file_is_in_force_at_the_next_look(tmp_path, store):
    found = rates(written(tmp_path / "rates.yaml", CARD), store)
    first = found.current().version
    written(tmp_path / "rates.yaml", DEARER)
    assert core(found) == "0.05"
    assert found.current().version != first


@pytest.mark.parametrize(
    "harm", [lambda f: written(f, BROKEN), lambda f: f.unlink(), lambda f: f.write_bytes(b"\xff\xfe"), lambda f: written(f, "")]
)
def test_a_broken_file_keeps_the_rates_before_also_over_a_restart(tmp_path, store, harm):
    file = written(tmp_path / "rates.yaml", DEARER)
    found = rates(file, store)
    harm(file)
    assert core(found) == "0.05"
    assert found.state().problems
    again = rates(file, store)
    assert core(again) == "0.05"
    assert again.state().problems
    written(file, CARD)
    assert (core(again), again.state().problems) == ("0.02", ())


def test_the_first_start_needs_a_good_file(tmp_path, store):
    with pytest.raises(ConfigError, match=r"rates_file: .*entitlement is -1"):
        rates(written(tmp_path / "rates.yaml", BROKEN), store)


def test_without_a_file_there_are_examples_in_no_currency(store):
    found = rates(None, store)
    assert (found.current().currency, found.current().version) == ("XXX", "built-in")


def test_a_tier_that_went_is_a_problem_at_the_next_reload_and_not_before(tmp_path, store):
    known = list(TIERS)
    found = Rates(str(written(tmp_path / "rates.yaml", CARD)), store.rate_cards, lambda: T0, lambda: known)
    known.remove("economy")
    assert found.state().problems == ()
    assert "there is no tier 'economy'" in found.reload().problems[0]
    assert core(found) == "0.02"
