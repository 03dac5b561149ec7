"""Usage of one project in one month, and the lines that it comes to (``decide/statement.py`` says how they add up). Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import zip_longest
from typing import NamedTuple

from foreshape_controller.decide.rate import UNITS, cents, cost, day_of, fine, hours, rates_of
from foreshape_controller.errors import Invalid
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.metering import AT, METERS, Proof, UsageDay, Used, bits, mask
from foreshape_controller.model.rating import RateCards, TierRates
from foreshape_controller.model.statement import ZERO, Line

CHARGED = ("entitlement", "freed", "guaranteed", "burst", "pool", "reservation")
CAUSES_TOLD = 10
LEAST_BINS = 12
"""Fewer measured bins (an hour) say nothing about a share."""


def period_of(at: float) -> str:
    """The month that an instant lies in, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m")


def span_of(period: str) -> tuple[int, int]:
    """Beginning and end of a month, epoch seconds. Raises Invalid."""
    try:
        first = date.fromisoformat(f"{period}-01") if len(period) == 7 else None
    except ValueError:
        first = None
    if first is None or not 1970 <= first.year < 9999:
        raise Invalid(f"period {period[:40]!r}: write a month, such as 2026-11")
    year, month = (first.year + 1, 1) if first.month == 12 else (first.year, first.month + 1)
    begins, ends = (datetime(y, m, 1, tzinfo=UTC) for y, m in ((first.year, first.month), (year, month)))
    return int(begins.timestamp()), int(ends.timestamp())


class _Group(NamedTuple):
    """Usage under one price."""

    late: str
    """Month of an adjustment; empty: the period's own."""
    card: date | None
    server: str
    tier: str
    accuracy: int
    act: bool


class _Key(NamedTuple):
    """One line."""

    late: str
    card: date | None
    server: str
    tier: str
    kind: str
    item: str
    rate: Decimal


@dataclass
class _Sum:
    quantity: Fraction = Fraction(0)
    exact: Fraction = Fraction(0)
    unit: str = ""


@dataclass
class Book:
    """Usage of one project in one period, day by day, and the lines it comes to so far."""

    cards: RateCards
    period: str
    targets: Mapping[str, float]
    """By tier: share of 5-minute bins that may be short."""
    _groups: dict[_Group, list[int]] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _proofs: dict[tuple[str, str, str, str], list[Proof]] = field(default_factory=lambda: defaultdict(list))

    def add(self, day: UsageDay) -> None:
        """A day's usage; each at most once."""
        month, when = period_of(day.day), day_of(day.day)
        late = "" if month == self.period else month
        card = self.cards.on(when)
        since = card.valid_from if card else None
        for used in day.used:
            sums = self._groups.setdefault(_Group(late, since, used.server, used.tier, used.accuracy, used.act), [0] * len(METERS))
            for i, amount in enumerate(used.amounts):
                sums[i] += amount
            self._names[used.server] = used.name
        for proof in day.proofs:
            self._proofs[late, proof.server, proof.tier, proof.item].append(proof)

    def lines(self, *, final: bool = True) -> list[Line]:
        """Lines of more than nothing, sorted. ``final``: with the credits that hang on the whole period."""
        charges = self._charges()
        found = [self._line(key, s) for key, s in charges.items()]
        found += [line for line in self._claims() if line.amount]
        found += list(self._missing())
        if final:
            found += list(self._violations(charges))
        return sorted((line for line in found if line.amount or line.quantity), key=lambda n: (n.item, n.name, n.server, n.tier, n.why))

    def total(self, *, final: bool) -> Decimal:
        return total(self.lines(final=final))

    def static(self) -> Decimal:
        """Everything that was sold, at the entitlement's price."""
        exact = Fraction(0)
        for group, sums in self._groups.items():
            rates = self._rates(group)
            for r in RESOURCES:
                sold = sums[AT[f"{r}_entitlement"]] + sums[AT[f"{r}_freed"]]
                exact += cost(sold, r, rates.rates(r).entitlement)
        return cents(exact)

    def could_save(self) -> Decimal:
        """What could have been freed, at the discount for it."""
        exact = Fraction(0)
        for group, sums in self._groups.items():
            rates = self._rates(group)
            for r in RESOURCES:
                exact += cost(sums[AT[f"{r}_could_free"]], r, rates.rates(r).entitlement) * Fraction(rates.freed_discount)
        return cents(exact)

    def measured_h(self) -> Decimal:
        return fine(Fraction(sum(s[AT["seconds"]] for s in self._groups.values()), 3600))

    # --- lines ---

    def _rates(self, group: _Group) -> TierRates:
        card = next((c for c in self.cards.cards if c.valid_from == group.card), None)
        return rates_of(card, group.tier)

    def _charges(self) -> dict[_Key, _Sum]:
        found: dict[_Key, _Sum] = defaultdict(_Sum)
        for group, sums in self._groups.items():
            rates = self._rates(group)
            sold = Fraction(0)
            for resource in RESOURCES:
                for meter in CHARGED:
                    quantity = sums[AT[f"{resource}_{meter}"]]
                    if not quantity:
                        continue
                    rate = _rate(rates, resource, meter)
                    exact = cost(quantity, resource, rate)
                    _add(found, _key(group, "charge", f"{resource} {meter}", rate), (hours(quantity, resource), exact, UNITS[resource]))
                    sold += exact if meter in ("entitlement", "freed") else 0
            for kind, item, share in _shares(group, rates):
                _add(found, _key(group, kind, item, share), (sold, sold * Fraction(share), "money"))
        return found

    def _missing(self) -> Iterator[Line]:
        """Credits for floors that were not kept."""
        found: dict[_Key, _Sum] = defaultdict(_Sum)
        for group, sums in self._groups.items():
            rates = self._rates(group)
            for resource in RESOURCES:
                quantity = sums[AT[f"{resource}_missing"]]
                rate = -rates.rates(resource).entitlement * rates.credits.guarantee
                if quantity and rate:
                    key = _key(group, "credit", f"credit {resource} guarantee", rate)
                    _add(found, key, (hours(quantity, resource), cost(quantity, resource, rate), UNITS[resource]))
        for key, s in found.items():
            resource = key.item.split()[1]
            proofs = self._proofs.get((key.late, key.server, key.tier, f"{resource} broken"), [])
            bins = sum(p.bins for p in proofs)
            yield self._line(key, s, f"it had less than its guaranteed {resource} in {bins} five-minute bins{_from(proofs)}", proofs)

    def _violations(self, charges: Mapping[_Key, _Sum]) -> Iterator[Line]:
        """Credits where a server was short more often than its tier's target."""
        sold = self._sold(charges)
        for (late, server, tier, resource), (known, short) in self._shorts().items():
            target = self.targets.get(tier)
            if target is None or known < LEAST_BINS or short <= Fraction(target) * known:
                continue
            proofs = self._proofs.get((late, server, tier, f"{resource} short"), [])
            share = f"{short} of {known} five-minute bins ({short / known:.2%}; the tier's target is {target:.2%})"
            why = f"it wanted more {resource} than it had, and had less than was sold, in {share}{_from(proofs)}"
            for card, exact in sold.get((late, server, tier, resource), {}).items():
                rate = -self._rates(_Group(late, card, server, tier, -1, False)).credits.violations
                key = _Key(late, card, server, tier, "credit", f"credit {resource} violations", rate)
                if rate:
                    yield self._line(key, _Sum(exact, exact * Fraction(rate), "money"), why, proofs)

    def _shorts(self) -> dict[tuple[str, str, str, str], tuple[int, int]]:
        """Known and short bins by month, server, tier and resource."""
        found: dict[tuple[str, str, str, str], tuple[int, int]] = {}
        for group, sums in self._groups.items():
            for r in RESOURCES:
                key = (group.late, group.server, group.tier, r)
                known, short = found.get(key, (0, 0))
                found[key] = (known + sums[AT[f"{r}_known"]], short + sums[AT[f"{r}_short"]])
        return {key: counts for key, counts in found.items() if counts[1]}

    def _sold(self, charges: Mapping[_Key, _Sum]) -> dict[tuple[str, str, str, str], dict[date | None, Fraction]]:
        """What a resource of a server cost, by card."""
        found: dict[tuple[str, str, str, str], dict[date | None, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
        for key, s in charges.items():
            resource, _, meter = key.item.partition(" ")
            if key.kind == "charge" and meter in ("entitlement", "freed"):
                found[key.late, key.server, key.tier, resource][key.card] += s.exact
        return found

    def _claims(self) -> Iterator[Line]:
        for group, sums in self._groups.items():
            count, rate = sums[AT["missed_claims"]], -self._rates(group).credits.claim
            if count and rate:
                proofs = self._proofs.get((group.late, group.server, group.tier, "claim"), [])
                said = next((p.said for p in proofs if p.said), "")
                key = _key(group, "credit", "credit claim not served", rate)
                yield self._line(key, _Sum(Fraction(count), count * Fraction(rate), "claims"), said or "its pool was empty", proofs)

    def _line(self, key: _Key, s: _Sum, why: str = "", proofs: Sequence[Proof] = ()) -> Line:
        late = f"used in {key.late}, known after its statement was closed" if key.late else ""
        return Line(
            server=key.server,
            name=self._names.get(key.server, ""),
            tier=key.tier,
            item=key.item,
            kind=key.kind,
            quantity=fine(s.quantity),
            unit=s.unit,
            rate=key.rate,
            amount=cents(s.exact),
            why="; ".join(part for part in (why, late) if part),
            causes=tuple(dict.fromkeys(c for p in proofs for c in p.causes))[:CAUSES_TOLD],
            used_in=key.late,
        )


def total(lines: Iterable[Line]) -> Decimal:
    return sum((n.amount for n in lines), ZERO)


def _rate(rates: TierRates, resource: str, meter: str) -> Decimal:
    of = rates.rates(resource)
    if meter == "freed":
        return of.entitlement * (1 - rates.freed_discount)
    found: Decimal = getattr(of, meter)
    return found


def _shares(group: _Group, rates: TierRates) -> Iterator[tuple[str, str, Decimal]]:
    """What is given back of, or put onto, what was sold."""
    discount = rates.discount(None if group.accuracy < 0 else Decimal(group.accuracy) / 10)
    if discount:
        yield "discount", "accuracy discount", -discount
    if group.act and rates.opt_in:
        yield ("premium" if rates.opt_in > 0 else "discount"), "opt-in", rates.opt_in


def _key(group: _Group, kind: str, item: str, rate: Decimal) -> _Key:
    return _Key(group.late, group.card, group.server, group.tier, kind, item, rate)


def _add(found: dict[_Key, _Sum], key: _Key, more: tuple[Fraction, Fraction, str]) -> None:
    s = found[key]
    s.quantity, s.exact, s.unit = s.quantity + more[0], s.exact + more[1], more[2]


def _from(proofs: Sequence[Proof]) -> str:
    """When it began."""
    if not proofs:
        return ""
    return f", first at {datetime.fromtimestamp(min(p.first for p in proofs), UTC):%Y-%m-%dT%H:%MZ}"


def merged(into: UsageDay, more: Iterable[Used], proofs: Iterable[Proof]) -> UsageDay:
    """A day with more usage in it. Bins must be new to it: metering sees to that."""
    found = {u.key: u for u in into.used}
    for new in more:
        old = found.get(new.key)
        if old is None:
            found[new.key] = new
        else:
            amounts = tuple(a + b for a, b in zip_longest(old.amounts, new.amounts, fillvalue=0))
            found[new.key] = Used(
                old.server, new.name or old.name, old.tier, old.accuracy, old.act, bits(mask(old.bins) | mask(new.bins)), amounts
            )
    return UsageDay(into.day, into.booked, list(found.values()), [*into.proofs, *proofs])
