"""Money from amounts and rates, exact until it is rounded once. Pure.

Amounts are whole numbers (millicores × seconds, MiB × seconds), rates are Decimals: their product is kept as a fraction, so that it does
not matter in which order, or in how many parts, things are added up. Only a finished line is rounded, to the cent, halves to even; a
total is the sum of its rounded lines.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

from foreshape_controller.errors import Invalid
from foreshape_controller.model.rating import Card, Quote, QuoteLine, QuoteWish, RateCards, ResourceRates, TierRates, wanted_tier

CENT = 2
PLACES = 9
"""Of amounts that are asked for."""
FINE = 6
"""Decimal places of amounts that are shown before they are rounded."""

HOUR = {"cpu": 1000 * 3600, "memory": 1024 * 3600}
"""Whole units of an amount in one core-hour, one GiB-hour."""

UNITS = {"cpu": "core-hours", "memory": "GiB-hours"}
MOST_S = 10 * 366 * 86400.0
MOST_SIZE = Decimal(1_000_000)
MOST_COUNT = 100_000

NOTE = "Shadow prices: this is what it would cost. It is no offer and no invoice."


def cents(exact: Fraction) -> Decimal:
    """To the cent, halves to even."""
    return _places(exact, CENT)


def fine(exact: Fraction) -> Decimal:
    """To six places, halves to even: for showing, never for adding up."""
    return _places(exact, FINE)


def hours(quantity: int, resource: str) -> Fraction:
    """Core-hours or GiB-hours of a whole amount."""
    return Fraction(quantity, HOUR[resource])


def cost(quantity: int, resource: str, rate: Decimal) -> Fraction:
    """Exact money of a whole amount at so much per hour."""
    return hours(quantity, resource) * Fraction(rate)


def day_of(at: float) -> date:
    """UTC."""
    return datetime.fromtimestamp(at, UTC).date()


def quote(cards: RateCards, wish: QuoteWish, now: float, default_tier: str = "standard", *, shadow: bool = True) -> Quote:
    """What a wish costs by the card of today. Raises Invalid."""
    _sensible(wish)
    card = cards.on(day_of(now))
    if card is None:
        raise Invalid(f"no rate card holds today, {day_of(now)}: the operator has to add one to rates_file")
    name = wish.tier or default_tier
    rates = wanted_tier(card.tiers, name)
    lines = tuple(_quoted(rates, wish))
    return Quote(
        tier=name,
        currency=cards.currency,
        total=sum((line.amount for line in lines), Decimal(0)),
        per_hour=fine(_running(rates, wish) * wish.count),
        lines=lines,
        card=cards.version,
        shadow=shadow,
        note=NOTE if shadow else "",
    )


def _places(exact: Fraction, places: int) -> Decimal:
    return Decimal(round(exact * 10**places)).scaleb(-places)


def _sensible(wish: QuoteWish) -> None:
    for name in ("cores", "gib", "burst_cores", "burst_gib"):
        value = getattr(wish, name)
        if not _written(value) or not 0 <= value <= MOST_SIZE:
            raise Invalid(f"$.{name} is {str(value)[:40]}: write a number from 0 to {MOST_SIZE}, with {PLACES} decimal places at most")
    for name in ("duration_s", "reserved_s", "pool_s", "burst_s"):
        value = getattr(wish, name)
        if not 0 <= value <= MOST_S:
            raise Invalid(f"$.{name} is {value}: write seconds, from 0 to {MOST_S:.0f}")
    if not 1 <= wish.count <= MOST_COUNT:
        raise Invalid(f"$.count is {wish.count}: write a whole number from 1 to {MOST_COUNT}")
    if wish.accuracy is not None and (not _written(wish.accuracy) or not 0 <= wish.accuracy <= 1):
        raise Invalid(f"$.accuracy is {str(wish.accuracy)[:40]}: write a number from 0 to 1")


def _written(value: Decimal) -> bool:
    """A number as people write it: 1e-999999999 would take the controller's memory to count with."""
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and -PLACES <= exponent <= PLACES


def _sizes(wish: QuoteWish) -> tuple[tuple[str, Decimal, Decimal], ...]:
    return ("cpu", wish.cores, wish.burst_cores), ("memory", wish.gib, wish.burst_gib)


def _quoted(rates: TierRates, wish: QuoteWish) -> Iterator[QuoteLine]:
    """Lines that cost something, or give something back."""
    runs = wish.duration_s
    for resource, size, burst in _sizes(wish):
        of = rates.rates(resource)
        for item, amount, seconds, rate in (
            ("entitlement", size, runs, of.entitlement),
            ("burst", burst, wish.burst_s, of.burst),
            ("pool", size, wish.pool_s, of.pool),
            ("reservation", size, wish.reserved_s, of.reservation),
        ):
            if rate and amount and seconds:
                yield _line(f"{resource} {item}", _hours(amount, seconds, wish.count), UNITS[resource], rate)
    sold = _sold(rates, wish) * Fraction(wish.duration_s) / 3600 * wish.count
    for item, share in (("accuracy discount", -rates.discount(wish.accuracy)), ("opt-in", rates.opt_in if wish.opt_in else Decimal(0))):
        if share and sold:
            yield QuoteLine(item=item, quantity=fine(sold), unit="money", rate=share, amount=cents(sold * Fraction(share)))


def _hours(amount: Decimal, seconds: float, count: int) -> Fraction:
    return Fraction(amount) * Fraction(seconds) / 3600 * count


def _line(item: str, quantity: Fraction, unit: str, rate: Decimal) -> QuoteLine:
    return QuoteLine(item=item, quantity=fine(quantity), unit=unit, rate=rate, amount=cents(quantity * Fraction(rate)))


def _sold(rates: TierRates, wish: QuoteWish) -> Fraction:
    """Of one of them in an hour, without what depends on what comes."""
    return sum((Fraction(size) * Fraction(rates.rates(r).entitlement) for r, size, _ in _sizes(wish)), Fraction(0))


def _running(rates: TierRates, wish: QuoteWish) -> Fraction:
    share = Fraction(1) - Fraction(rates.discount(wish.accuracy)) + (Fraction(rates.opt_in) if wish.opt_in else 0)
    return _sold(rates, wish) * share


def rates_of(card: Card | None, tier: str) -> TierRates:
    """Rates of nothing where no card holds, or it does not name the tier: what has no price is not charged."""
    return _FREE if card is None else card.tiers.get(tier, _FREE)


_FREE = TierRates(cpu=ResourceRates(), memory=ResourceRates())
