"""Usage, terms and closed statements in the store, on both engines."""

from decimal import Decimal

import pytest

from foreshape_controller.decide.book import Book
from foreshape_controller.decide.rates_file import check_rates
from foreshape_controller.decide.statement import Frame, make
from foreshape_controller.loops.statements import row_of
from foreshape_controller.model.metering import Kind, Published, Since, Terms
from foreshape_controller.store.metering import UNTIL, Booking
from pricing_support import CARD, DAY, since, usage, used
from store_support import open_store

pytestmark = [pytest.mark.functional, pytest.mark.engines]

GONE = Terms(Kind.GONE)


@pytest.fixture
def meter(engine):
    store = open_store()
    yield store.metering
    store.close()


def test_terms_are_those_in_force_and_those_that_came_in_between(meter):
    meter.note([since("a", 100.0), since("b", 150.0)], 150.0)
    meter.note([since("a", 200.0, tier="economy"), Since("b", 250.0, GONE)], 250.0)
    assert [(r.server, r.at) for r in meter.between(160.0, 220.0)] == [("a", 100.0), ("a", 200.0), ("b", 150.0)]
    assert {s: t.tier for s, t in meter.terms(220.0).items()} == {"a": "economy", "b": "standard"}
    assert meter.seen() == 250.0


def test_terms_that_others_followed_are_forgotten_and_those_in_force_stay(meter):
    meter.note([since("a", 100.0), since("a", 200.0, tier="economy"), since("b", 100.0), Since("b", 150.0, GONE)], 200.0)
    meter.tidy(0.0, 300.0)
    assert [(r.server, r.at) for r in meter.between(0.0, 400.0)] == [("a", 200.0)]


def test_usage_and_how_far_it_has_come_are_one_thing(meter):
    day = usage(0, used("a", seconds=3600))
    told = [Published(project="p1", tier="standard", amounts={"entitlement_cores": 4.0})]
    meter.settle({Booking(DAY, "p1", "2026-11"): day}, (UNTIL, DAY + 3600.0), told)
    assert meter.until() == DAY + 3600
    assert meter.days("p1", "2026-11") == [day]
    assert meter.of_day(DAY) == {Booking(DAY, "p1", "2026-11"): day}
    assert (meter.projects("2026-11"), meter.periods()) == (("p1",), ("2026-11",))
    assert meter.published() == tuple(told)
    meter.settle({}, (UNTIL, DAY + 7200.0), [])
    assert meter.published() == ()
    meter.tidy(DAY + 86400, 0.0)
    assert meter.days("p1", "2026-11") == []


def test_a_closed_statement_stays_as_it_is(meter):
    cards = check_rates(CARD).cards
    assert cards is not None
    made = make(Book(cards, "2026-11", {}), [usage(0, used("a", cpu_entitlement=3600 * 1000 * 50))], Frame("p1", DAY, "line", DAY + 1.0))
    meter.close(made, (), row_of(made), DAY + 1.0)
    meter.close(
        made.__class__(**{**{f: getattr(made, f) for f in made.__struct_fields__}, "total": Decimal(9)}), (), row_of(made), DAY + 2.0
    )
    found = meter.closed("p1", "2026-11")
    assert found is not None
    assert (found.statement, found.statement.total) == (made, Decimal("1.00"))
    assert meter.closed_rows("2026-11") == {"p1": row_of(made)}
    assert meter.closed_projects("2026-11") == {"p1"}
    assert meter.closed("p2", "2026-11") is None
