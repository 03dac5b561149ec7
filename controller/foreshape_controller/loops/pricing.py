"""Everything about prices, put together: rates in force, metering, statements."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Self

from foreshape_controller.config import Settings
from foreshape_controller.decide.price import by_rates
from foreshape_controller.decide.rate import day_of
from foreshape_controller.decide.segments import Segments, grouped
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.loops.metering import MeteringLoop, MeterTerms
from foreshape_controller.loops.policy import Policy, assigned
from foreshape_controller.loops.rates import Rates
from foreshape_controller.loops.statements import Statements
from foreshape_controller.loops.terms import TermSources
from foreshape_controller.model.group import Member
from foreshape_controller.model.server import ClusterView
from foreshape_controller.model.tier import Tier
from foreshape_controller.store import Store

DAY_S = 86400.0


@dataclass(frozen=True)
class Pricing:
    """``rates`` for quotes, ``statements`` for people, ``loop`` for the clock."""

    rates: Rates
    statements: Statements
    loop: MeteringLoop
    default_tier: Callable[[], str]

    def applied(self, tiers: Tiers, at: float) -> Tiers:
        """The tiers at what the card of that day asks for them."""
        return by_rates(tiers, self.rates.current(), day_of(at))

    @classmethod
    def of(cls, settings: Settings, store: Store, policy: Policy, segments: Segments, clock: Callable[[], float]) -> Self:
        """Raises ConfigError for a rate file with a mistake, where none was ever in force."""

        def names() -> Collection[str]:
            return policy.current().tiers

        def targets() -> Mapping[str, float]:
            return {name: tier.violation_target for name, tier in policy.current().tiers.items()}

        def tiers(view: ClusterView) -> Mapping[str, Tier]:
            groups = grouped([Member.of(s) for s in view.servers], segments, store.profiles.names()).of
            return assigned(policy.state().tiers, view.servers, groups)

        p = settings.pricing
        rates = Rates(p.rates_file, store.rate_cards, clock, names)
        statements = Statements(store.metering, rates, targets, shadow=p.shadow)
        sources = TermSources(
            tiers=tiers,
            default_tier=lambda: policy.current().default,
            floors=store.reclaims.floors,
            accuracy=store.profiles.accuracies,
            pools=store.pools,
            reservations=store.reservations,
        )
        terms = MeterTerms(p.close_after_days * DAY_S, p.late_days * DAY_S)
        return cls(rates, statements, MeteringLoop(store, store.inventory.view, sources, statements, terms), sources.default_tier)
