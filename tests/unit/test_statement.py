"""Statements add up to the cent, whichever way they are cut."""

import itertools
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.decide.book import Book, merged, period_of, span_of, total
from foreshape_controller.decide.rates_file import check_rates
from foreshape_controller.decide.statement import Frame, cell, make
from foreshape_controller.errors import Invalid
from foreshape_controller.model.metering import Proof, UsageDay, bits, mask
from pricing_support import CARD, DAY, usage, used

pytestmark = pytest.mark.unit

CARDS = check_rates(CARD).cards
assert CARDS is not None
TARGETS = {"guaranteed": 0.005, "standard": 0.01, "economy": 0.02}
H_CPU, H_MEM = 1000 * 3600, 1024 * 3600


def statement(days, by="meter", cards=CARDS, period="2026-11", **more):
    return make(Book(cards, period, TARGETS), days, Frame("p1", DAY + 30 * 86400.0, by, **more))


def by_item(made):
    return {n.item: n.amount for n in made.lines}


def test_a_month_of_one_server():
    """100 core-hours × 0.02 = 2.00, 50 freed at half = 0.50, 300 GiB-hours × 0.003 = 0.90, 10 burst × 0.03 = 0.30; opt-in −2 % of 3.40."""
    given_ = {"cpu_entitlement": 100 * H_CPU, "cpu_freed": 50 * H_CPU, "memory_entitlement": 300 * H_MEM, "cpu_burst": 10 * H_CPU}
    made = statement([usage(0, used("s", act=True, seconds=360000, **given_))])
    assert by_item(made) == {
        "cpu entitlement": Decimal("2.00"),
        "cpu freed": Decimal("0.50"),
        "memory entitlement": Decimal("0.90"),
        "cpu burst": Decimal("0.30"),
        "opt-in": Decimal("-0.07"),
    }
    assert made.total == Decimal("3.63")
    assert made.static == Decimal("3.90")
    assert made.saved == Decimal("0.27")
    assert made.shadow
    assert "no invoice" in made.note
    assert made.currency == "EUR"
    assert made.measured_h == 100
    assert statement([usage(0, used("s", act=True, **given_))], shadow=False).note != made.note


def test_what_was_given_back_costs_the_rest_of_its_price():
    """100 core-hours × 0.03 less 40 %."""
    assert by_item(statement([usage(0, used("g", "guaranteed", cpu_freed=100 * H_CPU))])) == {"cpu freed": Decimal("1.80")}


def test_each_day_says_what_it_cost():
    days = [usage(d, used("s", cpu_entitlement=(d + 1) * 100 * H_CPU)) for d in range(3)]
    told = {n.item: n.amount for n in statement(days, "day").lines}
    assert told == {"2026-11-01": Decimal("2.00"), "2026-11-02": Decimal("4.00"), "2026-11-03": Decimal("6.00")}


def test_accurate_profiles_are_cheaper_and_premiums_are_premiums():
    days = [usage(0, used("s", accuracy=9, cpu_entitlement=100 * H_CPU), used("g", "guaranteed", act=True, cpu_entitlement=100 * H_CPU))]
    found = by_item(statement(days))
    assert found["accuracy discount"] == Decimal("-0.10")
    assert found["opt-in"] == Decimal("0.06")


def test_pools_and_reservations_are_beside_the_comparison_with_static_flavors():
    made = statement([usage(0, used("v", cpu_pool=100 * H_CPU), used("reservation:r", cpu_reservation=10 * H_CPU))])
    assert made.total == Decimal("0.60")
    assert made.static == 0
    assert made.saved == 0


def test_a_tier_that_no_card_names_costs_nothing():
    assert statement([usage(0, used("s", "gold", cpu_entitlement=100 * H_CPU))]).total == 0


def test_a_broken_floor_gives_back_ten_times_its_price_with_its_proof():
    day = usage(0, used("s", cpu_entitlement=100 * H_CPU, cpu_missing=2 * H_CPU, cpu_known=100, cpu_broken=3))
    day.proofs.append(Proof("s", "standard", "cpu broken", 3, DAY + 600, ("cause-1",)))
    (line,) = [n for n in statement([day], "line").lines if n.kind == "credit"]
    assert line.amount == Decimal("-0.40")
    assert line.causes == ("cause-1",)
    assert "in 3 five-minute bins, first at 2026-11-01T00:10Z" in line.why


def short_days(short, known=288):
    days = [usage(d, used("s", cpu_entitlement=96 * H_CPU, cpu_known=known, cpu_short=short if d == 0 else 0)) for d in range(10)]
    days[0].proofs.append(Proof("s", "standard", "cpu short", short, DAY, ("why-1", "why-2")))
    return days


def test_short_more_often_than_the_tier_says_gives_back_a_share_of_what_it_cost():
    """29 of 2,880 bins are more than 1 %; 960 core-hours cost 19.20, a tenth of it comes back."""
    (line,) = [n for n in statement(short_days(29), "line").lines if n.kind == "credit"]
    assert line.amount == Decimal("-1.92")
    assert line.causes == ("why-1", "why-2")
    assert "29 of 2880 five-minute bins (1.01%; the tier's target is 1.00%)" in line.why


def test_as_often_as_the_tier_says_is_what_was_promised():
    assert statement(short_days(28)).credits == 0


def test_a_few_bins_say_nothing_about_a_share():
    assert statement([usage(0, used("s", cpu_entitlement=H_CPU, cpu_known=11, cpu_short=11))]).credits == 0


def test_a_claim_that_was_not_served_is_credited_with_the_reason():
    day = usage(0, used("pool:web", missed_claims=2))
    day.proofs.append(Proof("pool:web", "standard", "claim", 2, DAY, ("shadow-7",), "no shadow VM was ready"))
    made = statement([day], "line")
    assert made.total == Decimal("-1.00")
    assert made.saved == 0
    assert made.lines[0].why == "no shadow VM was ready"
    assert made.lines[0].causes == ("shadow-7",)


def test_rates_change_at_midnight_and_each_day_has_its_own():
    later = CARD.split("cards:\n")[1].replace("2026-01-01", "2026-11-02").replace("0.02,", "0.05,")
    cards = check_rates(CARD + later).cards
    assert cards is not None
    days = [usage(d, used("s", cpu_entitlement=100 * H_CPU)) for d in (0, 1)]
    assert [n.amount for n in statement(days, "line", cards).lines] == [Decimal("2.00"), Decimal("5.00")]


def test_late_usage_of_a_closed_month_is_an_adjustment_that_says_so():
    october = UsageDay(DAY - 86400, "2026-11", [used("s", cpu_entitlement=100 * H_CPU)])
    made = statement([october, usage(0, used("s", cpu_entitlement=50 * H_CPU))], "line")
    assert made.adjustments == Decimal("2.00")
    assert made.total == Decimal("3.00")
    (line,) = [n for n in made.lines if n.used_in]
    assert line.used_in == "2026-10"
    assert "used in 2026-10" in line.why


def test_a_day_with_more_in_it_adds_up():
    day = merged(usage(0, used("s", seconds=1)), [used("s", seconds=2), used("t", seconds=4)], [])
    day.used[0].bins = bits(mask(day.used[0].bins) | 2)
    assert {u.server: u.amounts[-2] for u in day.used} == {"s": 3, "t": 4}


def test_months():
    assert period_of(DAY) == "2026-11"
    assert span_of("2026-12") == (1796083200, 1798761600)
    for bad in ("2026-13", "2026-1", "", "2026-11-01", "yyyy-mm", "../etc"):
        with pytest.raises(Invalid, match="write a month"):
            span_of(bad)
    with pytest.raises(Invalid, match="by='tier'"):
        statement([], "tier")


# --- properties

servers = st.sampled_from(["a", "b", "c", "d"])
tiers = st.sampled_from(["guaranteed", "standard", "economy", "gold"])
quantities = st.integers(0, 3 * 10**10)


@st.composite
def days(draw):
    """Up to ten days of up to four servers, in odd amounts."""
    found = []
    for d in range(draw(st.integers(1, 10))):
        names = draw(st.lists(servers, unique=True, max_size=4))
        rows = []
        for name in names:
            meters = draw(
                st.fixed_dictionaries(
                    {
                        "cpu_entitlement": quantities,
                        "cpu_freed": quantities,
                        "cpu_burst": quantities,
                        "memory_entitlement": quantities,
                        "memory_guaranteed": quantities,
                        "cpu_missing": st.integers(0, 10**7),
                        "cpu_pool": quantities,
                        "cpu_known": st.just(288),
                        "cpu_short": st.integers(0, 6),
                    }
                )
            )
            rows.append(used(name, draw(tiers), act=draw(st.booleans()), accuracy=draw(st.integers(-1, 10)), **meters))
        found.append(usage(d, *rows))
    return found


@settings(max_examples=60, deadline=None)
@given(days())
def test_the_total_is_the_sum_of_the_lines_and_the_same_however_they_are_added_up(found):
    made = {by: statement(found, by) for by in ("meter", "server", "day", "line")}
    assert len({m.total for m in made.values()}) == 1
    for m in made.values():
        assert total(m.lines) == m.total == m.total.quantize(Decimal("0.01"))


@settings(max_examples=60, deadline=None)
@given(days(), st.data())
def test_cutting_a_month_into_parts_changes_no_total(found, data):
    """What a part comes to is what the lines come to at its end, less what they came to at its beginning."""
    cuts = sorted({0, len(found), *data.draw(st.lists(st.integers(0, len(found)), max_size=3))})
    book, ends = Book(CARDS, "2026-11", TARGETS), [Decimal(0)]
    for a, b in itertools.pairwise(cuts):
        for day in found[a:b]:
            book.add(day)
        ends.append(book.total(final=b == len(found)))
    parts = [b - a for a, b in itertools.pairwise(ends)]
    assert sum(parts, Decimal(0)) == statement(found).total


@settings(max_examples=60, deadline=None)
@given(days())
def test_it_does_not_matter_in_which_pieces_a_day_was_metered(found):
    """Twice half of each day's rows, or all at once."""
    pieces = [merged(merged(UsageDay(d.day, d.booked), d.used[::2], []), d.used[1::2], []) for d in found]
    assert statement(pieces, "line").lines == statement(found, "line").lines


@settings(max_examples=60, deadline=None)
@given(days())
def test_rounding_moves_a_total_by_half_a_cent_a_line_at_most(found):
    lines = statement(found, "line").lines
    exact = sum((Fraction(n.quantity) * Fraction(n.rate) for n in lines), Fraction(0))
    assert abs(Fraction(total(lines)) - exact) <= Fraction(len(lines), 200) + Fraction(len(lines), 10**4)


@settings(max_examples=40, deadline=None)
@given(days())
def test_projects_add_up_to_meters(found):
    """Servers a and b are one project's, c and d another's: what both pay is what all meters come to."""
    mine, theirs = ([usage_of(d, names) for d in found] for names in ({"a", "b"}, {"c", "d"}))
    assert statement(mine).total + statement(theirs).total == statement(found).total


def usage_of(day, names):
    return UsageDay(day.day, day.booked, [u for u in day.used if u.server in names])


@given(st.text(max_size=30))
def test_no_cell_is_a_formula_and_each_is_on_one_line(text):
    made = cell(text)
    assert not made.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert len(made.splitlines()) <= 1


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n=1"])
def test_a_name_that_would_be_a_formula_begins_with_an_apostrophe(name):
    assert cell(name).startswith("'")


def test_an_amount_keeps_its_minus():
    assert cell(Decimal("-1.50")) == "-1.50"
