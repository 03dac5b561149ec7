"""Rate files: what is wrong with one is said in one go, and in words that name the place."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from foreshape_controller.decide.rates_file import BUILT_IN, check_rates
from pricing_support import CARD

pytestmark = pytest.mark.unit

TIERS = ("guaranteed", "standard", "economy")
SHIPPED = Path(__file__).parents[2] / "etc/foreshape/rates.yaml"


def one(line: str) -> str:
    return f"currency: EUR\ncards:\n  - valid_from: 2026-01-01\n    tiers:\n      standard: {line}\n"


def problems(text: str) -> str:
    found = check_rates(text, TIERS)
    assert found.cards is None
    return "\n".join(found.problems)


def test_the_shipped_file_says_what_is_built_in():
    found = check_rates(SHIPPED.read_text(encoding="utf-8"), TIERS)
    assert found.problems == ()
    assert found.warnings == ()
    assert found.cards is not None
    assert found.cards.cards == BUILT_IN.cards
    assert found.cards.currency == BUILT_IN.currency


def test_a_rate_is_the_decimal_that_was_written_and_not_its_nearest_float():
    cards = check_rates(CARD, TIERS).cards
    assert cards is not None
    rates = cards.cards[0].tiers["standard"]
    assert rates.cpu.entitlement == Decimal("0.02")
    assert rates.memory.pool == Decimal("0.0007")
    assert rates.discount(Decimal("0.85")) == Decimal("0.02")
    assert rates.discount(Decimal("0.9")) == Decimal("0.05")
    assert rates.discount(Decimal("0.79")) == 0
    assert rates.discount(None) == 0


def test_the_version_is_another_one_when_the_text_is():
    first, second = (check_rates(text, TIERS).cards for text in (CARD, CARD.replace("0.03", "0.04")))
    assert first is not None
    assert second is not None
    assert first.version != second.version


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (one("{cpu: {entitlement: -1}}"), "card of 2026-01-01, tier standard, cpu: entitlement is -1: it must lie between 0"),
        (one("{cpu: {entitlement: .nan}}"), "entitlement is nan"),
        (one("{memory: {burst: .inf}}"), "burst is inf"),
        (one("{cpu: {entitlement: true}}"), "a number is wanted"),
        (one("{cpu: {entitlement: '1'}}"), "a number is wanted"),
        (one("{cpu: {entitlement: 0.0000000001}}"), "at most 9 decimal places"),
        (one("{cpu: {entitelment: 1}}"), "did you mean 'entitlement'?"),
        (one("{freed_discount: 1.1}"), "freed_discount is 1.1"),
        (one("{opt_in: -2}"), "opt_in is -2"),
        (one("{accuracy: [{at_least: 0.9, discount: 0.1}, {at_least: 0.8, discount: 0.2}]}"), "each step has to ask for more accuracy"),
        (one("{accuracy: 3}"), "a list of steps is wanted"),
        (one("{credits: {claim: -1}}"), "claim is -1"),
        (one("{}").replace("standard", "gold"), "there is no tier 'gold'; known are economy, guaranteed, standard"),
        (CARD.replace("currency: EUR\n", ""), "currency is None: write three capital letters of ISO 4217"),
        (CARD.replace("EUR", "euro"), "currency is 'euro'"),
        (CARD.replace("2026-01-01", "2026-13-01"), "rates is not YAML: month must be in 1..12"),
        (CARD.replace("2026-01-01", "soon"), "card 1: valid_from: a day is wanted"),
        (CARD.replace("2026-01-01", "2026-01-01T10:00:00"), "a day is wanted"),
        ("currency: EUR\n", "a list of at least one card"),
        ("currency: EUR\ncards: []\n", "a list of at least one card"),
        ("currency: EUR\ncards: [3]\n", "keys and values are wanted"),
        ("currency: EUR\ncards:\n  - valid_from: 2026-01-01\n", "a price for at least one tier"),
        ("[1, 2", "is not YAML"),
        (CARD + "currency: USD\n", "stands twice"),
    ],
)
def test_a_mistake_is_named(text, said):
    assert said in problems(text)


def test_every_mistake_is_named_at_once():
    said = problems("currency: e\ncards:\n  - valid_from: 2026-01-01\n    tiers: {standard: {cpu: {burst: -1}}, gold: {}}\n")
    assert "currency" in said
    assert "burst is -1" in said
    assert "gold" in said


def two(first: str, second: str) -> str:
    tiers = "tiers: {guaranteed: {}, standard: {}, economy: {}}"
    return f"currency: EUR\ncards:\n  - {{{first}, {tiers}}}\n  - {{{second}, {tiers}}}\n"


def test_cards_must_not_overlap():
    assert "two cards begin on 2026-01-01" in problems(two("valid_from: 2026-01-01", "valid_from: 2026-01-01"))
    overlapping = two("valid_from: 2026-01-01, valid_until: 2026-03-01", "valid_from: 2026-02-01")
    assert "ends on 2026-03-01, but the next begins on 2026-02-01" in problems(overlapping)
    assert "is not after its beginning" in problems(two("valid_from: 2026-01-01, valid_until: 2026-01-01", "valid_from: 2026-02-01"))


def test_each_day_has_the_card_that_holds_and_a_gap_has_none():
    found = check_rates(two("valid_from: 2026-02-01", "valid_from: 2026-01-01, valid_until: 2026-01-20"), TIERS)
    assert found.cards is not None
    assert "no card holds" in found.warnings[0]
    held = [found.cards.on(date(2026, m, d)) for m, d in ((1, 1), (1, 19), (1, 20), (1, 31), (2, 1))]
    assert [c.valid_from.month if c else None for c in held] == [1, 1, None, None, 2]
    assert found.cards.on(date(2025, 12, 31)) is None


def test_a_tier_without_rates_is_pointed_out():
    found = check_rates(one("{cpu: {entitlement: 1}}"), TIERS)
    assert found.cards is not None
    assert any("tier 'economy' has no rates: its servers cost nothing" in w for w in found.warnings)
