"""What things cost: rate cards, and quotes made from them. Amounts of money are Decimals, in the card's currency."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import msgspec

from foreshape_controller.errors import Invalid

ZERO = Decimal(0)
ONE = Decimal(1)


class ResourceRates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Money per hour, of a core or of a GiB."""

    entitlement: Decimal = ZERO
    """Of what the flavor sold, the part that the guest really has."""
    guaranteed: Decimal = ZERO
    """Of the floor, on top: what is there whether the guest uses it or not."""
    burst: Decimal = ZERO
    """Above what was sold, for as long as the guest really has it."""
    pool: Decimal = ZERO
    """Of a shadow VM's flavor, while it waits to be claimed. Counted by the second."""
    reservation: Decimal = ZERO
    """Held for somebody who will come."""


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A discount from some accuracy of the declared profile on."""

    at_least: Decimal
    """Accuracy, 0..1."""
    discount: Decimal
    """Share of what was sold, 0..1."""


class Credits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What comes back when the tier's promise was broken."""

    violations: Decimal = ZERO
    """Share of what the resource of the server cost in the period, where more 5-minute bins were short than the tier's target."""
    guarantee: Decimal = ZERO
    """Multiple of the entitlement's price of what was missing below the floor, for as long as it was."""
    claim: Decimal = ZERO
    """Money for each claim that its pool did not serve."""


class TierRates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one tier costs."""

    cpu: ResourceRates = ResourceRates()
    memory: ResourceRates = ResourceRates()
    freed_discount: Decimal = ZERO
    """Share of the entitlement's price that is let off what was sold and given back, 0..1."""
    opt_in: Decimal = ZERO
    """On what was sold, of servers that Foreshape may resize (mode act), −1..1: below 0 a discount, above 0 a premium."""
    accuracy: tuple[Step, ...] = ()
    """The highest step that a declared profile reaches counts. Ascending."""
    credits: Credits = Credits()

    def rates(self, resource: str) -> ResourceRates:
        return self.cpu if resource == "cpu" else self.memory

    def discount(self, accuracy: Decimal | None) -> Decimal:
        """For a declared profile of this accuracy; None: none was declared."""
        reached = [s.discount for s in self.accuracy if accuracy is not None and accuracy >= s.at_least]
        return reached[-1] if reached else ZERO


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """Rates from a day on."""

    valid_from: date
    """UTC, from 00:00 on."""
    valid_until: date | None = None
    """Up to 00:00 of this day; None: until the next card begins."""
    tiers: Mapping[str, TierRates] = msgspec.field(default_factory=dict)

    def holds(self, day: date) -> bool:
        return self.valid_from <= day and (self.valid_until is None or day < self.valid_until)


class RateCards(msgspec.Struct, frozen=True, kw_only=True):
    """A whole rate file, checked."""

    currency: str
    """ISO 4217; XXX: none, the figures are only examples."""
    cards: tuple[Card, ...]
    """Ascending; none overlaps the next."""
    version: str = ""
    """First 12 digits of the SHA-256 of the file's text."""

    def on(self, day: date) -> Card | None:
        """The card of a day; None where none holds: then nothing is charged."""
        return next((c for c in reversed(self.cards) if c.holds(day)), None)


class QuoteWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/prices/quote``: what somebody thinks of asking for."""

    cores: Decimal
    gib: Decimal
    duration_s: float
    tier: str = ""
    """Empty: the default tier."""
    count: int = 1
    reserved_s: float = 0.0
    """How long it is held before it begins."""
    pool_s: float = 0.0
    """How long a shadow VM of this size waits for it."""
    burst_cores: Decimal = ZERO
    burst_gib: Decimal = ZERO
    burst_s: float = 0.0
    """For how long the guests are expected to have that much above the flavor."""
    accuracy: Decimal | None = None
    """Of the declared profile, 0..1."""
    opt_in: bool = False
    """Foreshape may resize them."""


class QuoteLine(msgspec.Struct, frozen=True, kw_only=True):
    """One item."""

    item: str
    quantity: Decimal
    unit: str
    rate: Decimal
    amount: Decimal


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """What it would cost, if what was asked for is also what comes."""

    tier: str
    currency: str
    total: Decimal
    """The sum of the lines, to the cent."""
    per_hour: Decimal
    """Of all of them while they run, to six places."""
    lines: tuple[QuoteLine, ...]
    card: str
    """Version of the rate file."""
    shadow: bool = True
    note: str = ""


def wanted_tier(cards: Mapping[str, TierRates], tier: str) -> TierRates:
    """Raises Invalid for a tier that the card does not name."""
    if tier not in cards:
        raise Invalid(f"the rate card has no tier {tier[:80]!r}; it has {', '.join(cards) or 'none'}")
    return cards[tier]
