"""The text of rates.yaml, checked as a whole: every mistake at once, each in a sentence that names its place. Pure."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from foreshape_controller.decide.text import read_yaml
from foreshape_controller.decide.tier_checks import Findings, part
from foreshape_controller.errors import ConfigError
from foreshape_controller.model.rating import ZERO, Card, Credits, RateCards, ResourceRates, Step, TierRates

MONEY = (ZERO, Decimal(1_000_000))
SHARE = (ZERO, Decimal(1))
PLACES = 9
"""Of a rate: more is hardly meant."""

CARDS_MOST = 200
RATE_KEYS = ("entitlement", "guaranteed", "burst", "pool", "reservation")
TIER_KEYS = ("cpu", "memory", "freed_discount", "opt_in", "accuracy", "credits")
CREDITS: Mapping[str, tuple[Decimal, Decimal]] = MappingProxyType({"violations": SHARE, "guarantee": (ZERO, Decimal(100)), "claim": MONEY})


@dataclass(frozen=True)
class CheckedRates:
    """What a text says, or why it cannot be used."""

    cards: RateCards | None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def check_rates(text: str, tiers: Collection[str] | None = None) -> CheckedRates:
    """``tiers``: names that there are; None: nobody knows. An empty text stands for the built-in card."""
    if not text.strip():
        return CheckedRates(BUILT_IN)
    found = Findings()
    try:
        content = read_yaml(text, "rates")
    except ConfigError as e:
        return CheckedRates(None, (str(e),))
    given = part(content, "the file", ("currency", "cards"), found)
    currency = _currency(given.get("currency"), found)
    cards = sorted(_cards(given.get("cards"), tiers, found), key=lambda c: c.valid_from)
    _validity(cards, found)
    if found.problems:
        return CheckedRates(None, tuple(found.problems), tuple(found.warnings))
    version = hashlib.sha256(text.encode()).hexdigest()[:12]
    return CheckedRates(RateCards(currency=currency, cards=tuple(cards), version=version), (), tuple(found.warnings))


def _currency(value: Any, found: Findings) -> str:
    if not (isinstance(value, str) and len(value) == 3 and value.isascii() and value.isalpha() and value.isupper()):
        found.problems.append(f"currency is {value!r}: write three capital letters of ISO 4217, such as EUR; XXX where there is none")
        return ""
    return value


def _cards(value: Any, tiers: Collection[str] | None, found: Findings) -> list[Card]:
    if not isinstance(value, list) or not value:
        found.problems.append("cards: a list of at least one card is wanted here")
        return []
    if len(value) > CARDS_MOST:
        found.problems.append(f"cards: {len(value)} are too many, at most {CARDS_MOST}")
        return []
    made = (_card(body, f"card {i}", tiers, found) for i, body in enumerate(value, 1))
    return [c for c in made if c is not None]


def _card(body: Any, where: str, tiers: Collection[str] | None, found: Findings) -> Card | None:
    given = part(body, where, ("valid_from", "valid_until", "tiers"), found)
    begins = _day(given.get("valid_from"), f"{where}: valid_from", found)
    ends = _day(given["valid_until"], f"{where}: valid_until", found) if given.get("valid_until") is not None else None
    if begins is None:
        return None
    where = f"card of {begins}"
    if ends is not None and ends <= begins:
        found.problems.append(f"{where}: valid_until {ends} is not after its beginning")
    bodies = given.get("tiers")
    if not isinstance(bodies, dict) or not bodies:
        found.problems.append(f"{where}: tiers: a price for at least one tier is wanted here")
        return None
    for name in bodies if tiers is not None else ():
        if tiers is not None and name not in tiers:
            found.problems.append(f"{where}: there is no tier {name!r}; known are {', '.join(sorted(tiers))}")
    for name in sorted(set(tiers or ()) - set(bodies)):
        found.warnings.append(f"{where}: tier {name!r} has no rates: its servers cost nothing")
    return Card(valid_from=begins, valid_until=ends, tiers={str(n): _tier(b, f"{where}, tier {n}", found) for n, b in bodies.items()})


def _day(value: Any, where: str, found: Findings) -> date | None:
    """YAML makes a date of ``2026-01-01`` by itself. A time of day is refused: a day has one card."""
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            value = None
    if not isinstance(value, date) or isinstance(value, datetime):
        found.problems.append(f"{where}: a day is wanted, such as 2026-01-01 (UTC)")
        return None
    return value


def _tier(body: Any, where: str, found: Findings) -> TierRates:
    given = part(body, where, TIER_KEYS, found)
    return TierRates(
        cpu=_resource(given.get("cpu"), f"{where}, cpu", found),
        memory=_resource(given.get("memory"), f"{where}, memory", found),
        freed_discount=_amount(given, "freed_discount", where, SHARE, found),
        opt_in=_amount(given, "opt_in", where, (Decimal(-1), Decimal(1)), found),
        accuracy=_steps(given.get("accuracy"), f"{where}, accuracy", found),
        credits=_credits(given.get("credits"), f"{where}, credits", found),
    )


def _resource(body: Any, where: str, found: Findings) -> ResourceRates:
    given = part(body, where, RATE_KEYS, found)
    return ResourceRates(**{k: _amount(given, k, where, MONEY, found) for k in given})


def _credits(body: Any, where: str, found: Findings) -> Credits:
    given = part(body, where, tuple(CREDITS), found)
    return Credits(**{k: _amount(given, k, where, CREDITS[k], found) for k in given})


def _steps(body: Any, where: str, found: Findings) -> tuple[Step, ...]:
    if body is None:
        return ()
    if not isinstance(body, list):
        found.problems.append(f"{where}: a list of steps is wanted here")
        return ()
    parts = [part(b, f"{where}, step {i}", ("at_least", "discount"), found) for i, b in enumerate(body, 1)]
    made = [Step(**{k: _amount(p, k, where, SHARE, found) for k in ("at_least", "discount")}) for p in parts]
    if any(a.at_least >= b.at_least or a.discount > b.discount for a, b in pairwise(made)):
        found.problems.append(f"{where}: each step has to ask for more accuracy than the one before, and to give no less")
    return tuple(made)


def _amount(given: Mapping[str, Any], key: str, where: str, limits: tuple[Decimal, Decimal], found: Findings) -> Decimal:
    """0 where it is left out. A float of YAML is taken as it was written."""
    value = given.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        found.problems.append(f"{where}: {key} is {value!r}: a number is wanted")
        return ZERO
    number = Decimal(repr(value))
    if not (number.is_finite() and limits[0] <= number <= limits[1]):
        found.problems.append(f"{where}: {key} is {value}: it must lie between {limits[0]} and {limits[1]}")
        return ZERO
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > PLACES:
        found.problems.append(f"{where}: {key} is {value}: at most {PLACES} decimal places")
        return ZERO
    return number


def _validity(cards: list[Card], found: Findings) -> None:
    """Cards in order: none overlaps the next; a gap is odd."""
    for card, following in pairwise(cards):
        if card.valid_from == following.valid_from:
            found.problems.append(f"two cards begin on {card.valid_from}: a day has one card")
        elif card.valid_until is not None and card.valid_until > following.valid_from:
            found.problems.append(
                f"the card of {card.valid_from} ends on {card.valid_until}, but the next begins on {following.valid_from}"
            )
        elif card.valid_until is not None and card.valid_until < following.valid_from:
            found.warnings.append(f"from {card.valid_until} to {following.valid_from} no card holds: nothing costs anything then")


def _example(entitlement: str, memory: str, more: Mapping[str, Any]) -> TierRates:
    cpu, gib = Decimal(entitlement), Decimal(memory)

    def rates(base: Decimal) -> ResourceRates:
        return ResourceRates(
            entitlement=base,
            guaranteed=base * Decimal("0.1"),
            burst=base * Decimal("1.2"),
            pool=base * Decimal("0.25"),
            reservation=base * Decimal("0.5"),
        )

    return TierRates(cpu=rates(cpu), memory=rates(gib), freed_discount=Decimal("0.5"), **more)


def _more(opt_in: str, violations: str, guarantee: int, claim: str) -> Mapping[str, Any]:
    steps = (Step(at_least=Decimal("0.8"), discount=Decimal("0.02")), Step(at_least=Decimal("0.9"), discount=Decimal("0.05")))
    back = Credits(violations=Decimal(violations), guarantee=Decimal(guarantee), claim=Decimal(claim))
    return {"opt_in": Decimal(opt_in), "accuracy": steps, "credits": back}


BUILT_IN = RateCards(
    currency="XXX",
    cards=(
        Card(
            valid_from=date(2020, 1, 1),
            tiers={
                "guaranteed": _example("0.030", "0.0040", _more("-0.01", "0.25", 10, "1.0")),
                "standard": _example("0.020", "0.0030", _more("-0.02", "0.10", 10, "0.5")),
                "economy": _example("0.012", "0.0020", _more("-0.05", "0.05", 5, "0.1")),
            },
        ),
    ),
    version="built-in",
)
"""Examples without a currency: what proportions look like, before an operator says what his things cost."""
