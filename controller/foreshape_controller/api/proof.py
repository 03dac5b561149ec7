"""How decisions did: tiers against their targets, levers and how long guests waited."""

from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.services import Services
from foreshape_controller.decide.leads import figures, learn
from foreshape_controller.decide.proof import DAY_S, alarm, changed_share, tier_figures
from foreshape_controller.errors import Invalid
from foreshape_controller.model.history import STEP_S
from foreshape_controller.model.report import LeverAnswer, TierReportAnswer
from foreshape_controller.store.marks import added


@get("/levers", sync_to_thread=True)
def levers(services: NamedDependency[Services]) -> list[LeverAnswer]:
    """Each lever that was pulled by an order, and how long guests waited for it."""
    pulls = services.store.levers.pulls(services.clock())
    lead = learn(pulls, services.settings.history.step_s / STEP_S).fleet
    return [
        LeverAnswer(
            lever=f.lever.value,
            direction="grow" if f.grew else "shrink",
            pulls=f.pulls,
            failed=f.failed,
            median_s=f.median_s,
            p95_s=f.p95_s,
            own_p95_s=f.own_p95_s,
            lead_s=lead.get(f.lever) if f.grew else None,
        )
        for f in figures(pulls)
    ]


@get("/tiers/report", sync_to_thread=True)
def report(services: NamedDependency[Services], since_s: FromQuery[float] = DAY_S) -> TierReportAnswer:
    """The half-hours that began in the last ``since_s`` seconds and are judged, by tier and resource."""
    if not 0 < since_s <= 3660 * DAY_S:  # NaN fails every comparison
        raise Invalid(f"since_s is {since_s:g}: give the seconds to look back, up to ten years")
    store, now = services.store, services.clock()
    found = store.marks.between(now - since_s, now)
    totals, forecasts_on = added(found), services.settings.plan.forecast != "off"
    rows = tier_figures(totals, services.at_prices(services.policy.state().tiers), store.tier_factors.all(), store.history.step_s)
    return TierReportAnswer(
        since=float(min((k.slot for k, _ in found), default=now - since_s)),
        until=float(store.marks.until() or 0),
        step_s=store.history.step_s,
        alarm=alarm(totals, forecasts_on=forecasts_on),
        changed_share=changed_share(totals),
        rows=rows,
    )


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[levers, report], tags=["operators"])
