"""What was metered last, as metrics for rating systems: by project and tier, never by server (docs/pricing.md)."""

from collections.abc import Iterator

from foreshape_controller.api.services import Services
from foreshape_controller.model.metering import GAUGES, PREFIX
from foreshape_controller.model.metric import Metric, gauge, gauges


def metered(services: Services) -> Iterator[Metric]:
    """Gauges of the hour that was metered last. The store bounds their number."""
    meter = services.store.metering
    told = meter.published()
    for name, text in GAUGES.items():
        rows = {(p.project, p.tier): p.amounts.get(name, 0.0) for p in told}
        yield gauges(f"{PREFIX}{name}", text, ("project_id", "tier"), rows)
    until = meter.until()
    if until is not None:
        yield gauge(f"{PREFIX}until_timestamp_seconds", "End of the last hour that was metered.", until)
