"""``GET /metrics``: what Prometheus scrapes. The only place that imports prometheus_client.

The figures themselves are made in ``meters_fleet`` and ``meters_work``; a part of them that fails costs its own metrics only, and
``foreshape_scrape_part_failed`` names it.
"""

from collections.abc import Callable, Iterable, Iterator
from hmac import compare_digest
from typing import Any, TypeAlias

from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.handlers.base import BaseRouteHandler
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder

from foreshape_controller.api import meters_fleet as fleet
from foreshape_controller.api import meters_money as money
from foreshape_controller.api import meters_work as work
from foreshape_controller.api.auth import PUBLIC, SCHEME, Connection, bearer, permitted
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Unauthenticated
from foreshape_controller.log import get_logger
from foreshape_controller.model.metric import Metric, gauges
from foreshape_controller.model.tally import Tally

Part: TypeAlias = Callable[[Services], Iterable[Metric]]
PARTS: tuple[Part, ...] = (
    work.build,
    work.loops,
    work.reports,
    work.requests,
    work.store,
    fleet.fleet,
    fleet.hosts,
    fleet.servers,
    fleet.decisions,
    fleet.safety,
    fleet.tiers,
    work.forecasts,
    work.cloud,
    money.metered,
)
FAMILIES: Any = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily, "histogram": HistogramMetricFamily}

_log = get_logger("metrics")


class Collector:
    """Asks every part anew at each scrape."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Any]:
        failed: dict[str, float] = {}
        for part in PARTS:
            name = f"{part.__module__.rpartition('_')[2]}.{part.__name__}"
            found, failed[name] = self._of(part, name)
            yield from found
        yield _family(gauges("foreshape_scrape_part_failed", "1 where a part of these figures could not be made.", "part", failed))

    def _of(self, part: Part, name: str) -> tuple[list[Any], float]:
        try:
            return [_family(m) for m in part(self._services)], 0.0
        except Exception as e:  # noqa: BLE001  one odd figure does not hide the others
            _log.error("metrics failed", what=name, exc_info=e)
            return [], 1.0


def _family(metric: Metric) -> Any:
    family = FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
    for labels, value in metric.rows.items():
        if isinstance(value, Tally):
            family.add_metric(labels, buckets=_buckets(value), sum_value=value.total)
        else:
            family.add_metric(labels, value)
    return family


def _buckets(tally: Tally) -> list[tuple[str, float]]:
    """Added up, as the format wants them."""
    total, rows = 0, []
    for bound, n in zip((*map(str, tally.bounds), "+Inf"), list(tally.counts), strict=True):
        total += n
        rows.append((bound, float(total)))
    return rows


async def scraper(connection: Connection, _: BaseRouteHandler) -> None:
    """Guard: Prometheus with its own token, or whoever reads all of the cloud."""
    services: Services = connection.app.state.services
    token = services.metrics_token
    if token and SCHEME in connection.headers and compare_digest(bearer(connection).encode(), token.encode()):
        return
    try:
        await permitted(connection, "operator")
    except Unauthenticated as e:
        raise Unauthenticated("this is not the scraper's token: the controller keeps it in [api] metrics_token_file") from e


@get("/metrics", opt=PUBLIC, guards=[scraper], sync_to_thread=True, include_in_schema=False)
def metrics(request: Request[Any, Any, Any], services: NamedDependency[Services]) -> Response[bytes]:
    """OpenMetrics where it is asked for, Prometheus' text otherwise."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(Collector(services))
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), media_type=content_type)


ROUTER = Router("/", route_handlers=[metrics])
