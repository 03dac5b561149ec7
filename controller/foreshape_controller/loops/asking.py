"""Requests and webhooks, put together from the configuration."""

from collections.abc import Callable
from decimal import Decimal

from foreshape_controller.config import Settings
from foreshape_controller.decide import rate
from foreshape_controller.decide.requests import RequestRule
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.errors import ControllerError
from foreshape_controller.loops.acting import Acting
from foreshape_controller.loops.clouding import PLACING
from foreshape_controller.loops.cloudwork import CloudWork
from foreshape_controller.loops.hook_door import HookDoor, HookTerms, networks
from foreshape_controller.loops.pricing import Pricing
from foreshape_controller.loops.request_supply import SupplyTerms, WithCloud, WithoutCloud
from foreshape_controller.loops.requests import Doors, RequestTerms, RequestWork
from foreshape_controller.loops.webhooks import Webhooks
from foreshape_controller.model.cloud import MEMORY, VCPU, Resources
from foreshape_controller.model.rating import QuoteWish
from foreshape_controller.store import Store


def requests(
    settings: Settings,
    store: Store,
    cloud: CloudWork | None,
    tiers: Callable[[], Tiers],
    pricing: Pricing | None,
    clock: Callable[[], float],
) -> RequestWork:
    """With OpenStack room is held in Placement; without one it is kept in the books."""
    terms = terms_of(settings)
    acting = Acting(store)
    if cloud is None:
        doors = Doors(WithoutCloud(store, terms.supply), acting.why_not, quote=_quote(pricing, clock))
        return RequestWork(store.requests, doors, tiers, terms)
    watch = cloud.watch
    look = WithCloud(store, watch.view, lambda now: watch.why_not(now, PLACING), terms.supply)
    doors = Doors(look, acting.why_not, cloud.reservations, cloud.requests.of_flavor, _quote(pricing, clock))
    return RequestWork(store.requests, doors, tiers, terms)


def webhooks(settings: Settings, store: Store) -> Webhooks:
    """Raises ConfigError."""
    r = settings.requests
    return Webhooks(store.requests, HookDoor(HookTerms(networks(r.webhook_networks), plain=r.webhook_http)))


def terms_of(settings: Settings) -> RequestTerms:
    """What ``[requests]`` says."""
    r = settings.requests
    rule = RequestRule(
        full=r.full,
        fleet_peak=r.fleet_peak,
        share=r.project_share,
        spare=r.critical_share,
        newcomer_cpu=r.newcomer_cpu,
        newcomer_memory=r.newcomer_memory,
        normal_wait_s=r.normal_wait_s,
        flexible_wait_s=r.flexible_wait_s,
        look_s=r.interval_s,
    )
    supply = SupplyTerms(
        cpu_ratio=r.cpu_ratio,
        memory_ratio=r.memory_ratio,
        memory_reserved_mib=settings.plan.memory_reserved_mib,
        silent_s=settings.plan.stale_after_s,
    )
    return RequestTerms(rule=rule, supply=supply, per_project=r.per_project, take_s=r.take_s)


def _quote(pricing: Pricing | None, clock: Callable[[], float]) -> Callable[[Resources, int, str, float], str]:
    def quoted(each: Resources, count: int, tier: str, seconds: float) -> str:
        """Empty where no card holds, or the size is beyond what is priced."""
        if pricing is None:
            return ""
        cores, gib = Decimal(each.get(VCPU, 0)), Decimal(each.get(MEMORY, 0)) / 1024
        try:
            wish = QuoteWish(cores=cores, gib=gib, duration_s=seconds, tier=tier, count=count)
            found = rate.quote(pricing.rates.current(), wish, clock(), pricing.default_tier(), shadow=pricing.statements.shadow)
        except ControllerError:
            return ""
        return f"{found.total} {found.currency}"

    return quoted
