"""How tiers did, in figures, and whether somebody has to look. Pure."""

from collections.abc import Mapping

from foreshape_controller.decide.price import priced, rate
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.mark import Factors, Mark
from foreshape_controller.model.report import TierFigures
from foreshape_controller.model.tier import Tier

ALARM_FROM = 200
"""Decisions without a single one changed by the forecast that are no chance."""

DAY_S = 86400.0

Totals = Mapping[tuple[str, str], Mark]
"""By tier and resource."""


def tier_figures(totals: Totals, policy: Tiers, factors: Mapping[tuple[str, str], Factors], step_s: int) -> tuple[TierFigures, ...]:
    """Every tier of the policy that has bins, and tiers that are no longer in it; the order of the policy."""
    names = [*policy.tiers, *sorted({name for name, _ in totals} - policy.tiers.keys())]
    rows = []
    for name in names:
        tier = policy.tiers.get(name) or policy.tiers[policy.default]
        for resource in RESOURCES:
            mark = totals.get((name, resource))
            if mark is not None:
                rows.append(_figures(name, tier, (resource, mark), factors.get((name, resource), Factors()), step_s))
    return tuple(rows)


def changed_share(totals: Totals) -> float | None:
    """Share of decisions that the forecast changed, all tiers and resources together."""
    decisions = sum(m.decisions for m in totals.values())
    return sum(m.changed for m in totals.values()) / decisions if decisions else None


def alarm(totals: Totals, *, forecasts_on: bool) -> str:
    """Why somebody should look: forecasts are on, and change nothing. Empty: all is well."""
    decisions = sum(m.decisions for m in totals.values())
    if not forecasts_on or decisions < ALARM_FROM or changed_share(totals):
        return ""
    return (
        f"forecasts are on, and none of {decisions:.0f} decisions was changed by one: servers are sized by what was, "
        "not by what comes; see 'foreshape forecast show SERVER' and the controller's log"
    )


def _figures(name: str, tier: Tier, found: tuple[str, Mark], factors: Factors, step_s: int) -> TierFigures:
    resource, m = found
    hours = step_s / 3600.0
    sold, burst = rate(tier.price, resource)
    has_price = priced(tier.price, resource)
    return TierFigures(
        tier=name,
        resource=resource,
        bins=round(m.bins),
        missing_share=_share(m.missing, m.bins + m.missing),
        violation_share=m.violation_share,
        capped_share=_share(m.capped, m.bins),
        violation_target=tier.violation_target,
        short_share=m.short_share,
        sold_out_share=_share(m.sold_out, m.bins),
        unmet_share=_share(m.unmet, m.bins),
        slack=m.slack,
        demand=_share(m.demand, m.bins),
        allocation=_share(m.allocation, m.bins),
        entitlement=_share(m.entitlement, m.bins),
        allocation_of_entitlement=_share(m.allocation, m.entitlement),
        resizes_per_vm_day=_share(m.resizes, m.bins * step_s / DAY_S),
        headroom=factors.headroom,
        hold=factors.hold,
        factor_reason=factors.reason,
        factor_at=factors.at or None,
        decisions=round(m.decisions),
        changed_share=m.changed_share,
        predictions=round(m.windows),
        exceeded_share=_share(m.exceeded, m.windows),
        grew=round(m.grew),
        grew_came_share=_share(m.grew_came, m.grew),
        shrank=round(m.shrank),
        shrank_short_share=_share(m.shrank_short, m.shrank),
        held=round(m.held),
        held_short_share=_share(m.held_short, m.held),
        price_sold=m.entitlement * hours * sold if has_price else None,
        price_burst=m.burst * hours * burst if has_price else None,
        price_freed=m.freed * hours * sold if has_price else None,
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
