"""What sizes cost by their tier's price, in the operator's unit of money. Pure.

A customer pays for the entitlement, and for a burst above it as long as the guest really has it (domain.md §10). Less than the
entitlement costs the customer no less: what is freed is worth its price to whoever can sell it again.
"""

from datetime import date

import msgspec

from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.model.rating import RateCards, TierRates
from foreshape_controller.model.tier import Price

MIB = 1024.0
NO_CURRENCY = "XXX"
"""ISO 4217's word for none: the rates are only examples, and nothing is worth so much."""


def by_rates(tiers: Tiers, cards: RateCards, day: date) -> Tiers:
    """The tiers at the prices that statements use, too. Where the card is only an example, what tiers.yaml says still counts."""
    if cards.currency == NO_CURRENCY:
        return tiers
    card = cards.on(day)
    rates = card.tiers if card is not None else {}
    priced = {name: msgspec.structs.replace(t, price=asked(rates.get(name, TierRates()))) for name, t in tiers.tiers.items()}
    return msgspec.structs.replace(tiers, tiers=priced)


def asked(rates: TierRates) -> Price:
    """What the card asks for what was sold, and for a burst."""
    return Price(
        cpu_core=float(rates.cpu.entitlement),
        memory_gib=float(rates.memory.entitlement),
        burst_cpu_core=float(rates.cpu.burst),
        burst_memory_gib=float(rates.memory.burst),
    )


def rate(price: Price, resource: str) -> tuple[float, float]:
    """Money per hour of one core or MiB: sold, and burst."""
    if resource == "cpu":
        return price.cpu_core, price.burst_cpu_core
    return price.memory_gib / MIB, price.burst_memory_gib / MIB


def priced(price: Price, resource: str) -> bool:
    """Whether the operator says what it costs."""
    return any(rate(price, resource))


def per_hour(price: Price, resource: str, entitlement: float, allocation: float) -> float:
    """What one resource of one server costs its customer an hour, at this size. Cores or MiB."""
    sold, burst = rate(price, resource)
    return sold * entitlement + burst * max(0.0, allocation - entitlement)


def freed_per_hour(price: Price, resource: str, entitlement: float, allocation: float) -> float:
    """What can be sold again of what was sold, an hour."""
    return rate(price, resource)[0] * max(0.0, entitlement - allocation)


def change_per_hour(price: Price, resource: str, entitlement: float, sizes: tuple[float, float]) -> float:
    """What going from the first size to the second brings an hour: capacity to sell again, and burst that is paid for."""
    before, after = (freed_per_hour(price, resource, entitlement, s) + per_hour(price, resource, entitlement, s) for s in sizes)
    return after - before


def money(amount: float) -> str:
    """Four decimals below ten, two above; without a currency, which is the operator's."""
    return f"{amount:,.4f}" if abs(amount) < 10 else f"{amount:,.2f}"


def worth(price: Price, resource: str, entitlement: float, sizes: tuple[float, float]) -> str:
    """A sentence about a change of size; empty where no price is set."""
    if not priced(price, resource):
        return ""
    name = "CPU" if resource == "cpu" else "Memory"
    now = per_hour(price, resource, entitlement, sizes[0])
    change = change_per_hour(price, resource, entitlement, sizes)
    if abs(change) < 5e-7:
        return f"  {name} costs {money(now)} an hour at its tier's price, and stays so."
    verb = "frees capacity" if change > 0 and sizes[1] < sizes[0] else "is burst paid for" if change > 0 else "takes up capacity"
    return f"  {name} costs {money(now)} an hour at its tier's price; the change {verb}, worth {money(abs(change))} an hour."
