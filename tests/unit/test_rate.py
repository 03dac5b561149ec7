"""Money: exact until it is rounded once."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.decide.rate import cents, cost, quote
from foreshape_controller.decide.rates_file import check_rates
from foreshape_controller.errors import Invalid
from foreshape_controller.model.rating import QuoteWish
from pricing_support import CARD, HOUR

pytestmark = pytest.mark.unit

CARDS = check_rates(CARD).cards
assert CARDS is not None

amounts = st.integers(0, 10**15)
rates = st.decimals(0, 1000, places=6, allow_nan=False)


def test_a_core_for_an_hour_costs_its_rate():
    assert cost(1000 * 3600, "cpu", Decimal("0.02")) == Fraction("0.02")
    assert cost(1024 * 3600, "memory", Decimal("0.003")) == Fraction("0.003")


def test_halves_go_to_the_even_cent():
    assert [str(cents(Fraction(x))) for x in ("0.005", "0.015", "0.025", "-0.005", "-0.015")] == ["0.00", "0.02", "0.02", "0.00", "-0.02"]


@given(st.lists(amounts, max_size=20), rates)
def test_it_does_not_matter_in_how_many_parts_an_amount_is_priced(parts, rate):
    assert sum((cost(p, "cpu", rate) for p in parts), Fraction(0)) == cost(sum(parts), "cpu", rate)


@given(amounts, rates)
def test_rounding_moves_an_amount_by_half_a_cent_at_most(quantity, rate):
    exact = cost(quantity, "memory", rate)
    assert abs(Fraction(cents(exact)) - exact) <= Fraction(1, 200)


def wish(**more):
    return QuoteWish(**{"cores": Decimal(2), "gib": Decimal(4), "duration_s": 720 * 3600.0, **more})


def test_a_quote_is_the_sum_of_its_lines():
    """2 cores × 720 h × 0.02 = 28.80; 4 GiB × 720 h × 0.003 = 8.64; of 37.44 the opt-in gives back 2 % = 0.7488."""
    made = quote(CARDS, wish(opt_in=True), HOUR)
    assert {n.item: str(n.amount) for n in made.lines} == {"cpu entitlement": "28.80", "memory entitlement": "8.64", "opt-in": "-0.75"}
    assert str(made.total) == "36.69"
    assert made.currency == "EUR"
    assert made.shadow
    assert "no invoice" in made.note
    assert str(made.per_hour) == "0.050960"


def test_what_is_reserved_waits_or_bursts_has_lines_of_its_own():
    made = quote(CARDS, wish(reserved_s=3600.0, pool_s=7200.0, burst_cores=Decimal(1), burst_s=36000.0, accuracy=Decimal("0.95")), HOUR)
    found = {n.item: n.amount for n in made.lines}
    assert found["cpu reservation"] == Decimal("0.02")
    assert found["cpu pool"] == Decimal("0.02")
    assert found["cpu burst"] == Decimal("0.30")
    assert found["accuracy discount"] == Decimal("-1.87")
    assert sum(found.values()) == made.total


@given(st.integers(1, 500), st.decimals(0, 64, places=2), st.decimals(0, 512, places=2), st.integers(0, 10**7))
def test_a_quote_adds_up_whatever_is_asked(count, cores, gib, seconds):
    made = quote(CARDS, wish(count=count, cores=cores, gib=gib, duration_s=float(seconds), pool_s=60.0, opt_in=True), HOUR)
    assert made.total == sum((n.amount for n in made.lines), Decimal(0))
    assert made.total == made.total.quantize(Decimal("0.01"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tier": "gold"}, "no tier 'gold'"),
        ({"cores": Decimal("NaN")}, "$.cores"),
        ({"cores": Decimal("-1")}, "$.cores"),
        ({"cores": Decimal("1e-999999999")}, "$.cores"),
        ({"gib": Decimal("1e999999999")}, "$.gib"),
        ({"accuracy": Decimal("1e-999999999")}, "$.accuracy"),
        ({"gib": Decimal("Infinity")}, "$.gib"),
        ({"duration_s": float("nan")}, "$.duration_s"),
        ({"duration_s": -1.0}, "$.duration_s"),
        ({"count": 0}, "$.count"),
        ({"count": 10**9}, "$.count"),
        ({"accuracy": Decimal(2)}, "$.accuracy"),
    ],
)
def test_nonsense_is_refused_in_words(more, said):
    with pytest.raises(Invalid) as e:
        quote(CARDS, wish(**more), HOUR)
    assert said in str(e.value)


def test_before_the_first_card_nothing_is_quoted():
    with pytest.raises(Invalid, match="no rate card holds today, 1970-01-01"):
        quote(CARDS, wish(), 0.0)
