"""What is measured of the controller's own work, as metrics: reports, requests, loops, forecasts, models, the store, the cloud, money."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from foreshape_controller.api.services import Services
from foreshape_controller.decide.proof import DAY_S
from foreshape_controller.model.metric import Metric, counter, counters, gauge, gauges, histograms
from foreshape_controller.model.migration import State as Migration
from foreshape_controller.model.pool import State as Shadow
from foreshape_controller.model.request import RequestState
from foreshape_controller.model.reservation import State as Reservation
from foreshape_controller.store.models import BASELINE

WEEK_S = 7 * DAY_S


def build(services: Services) -> Iterator[Metric]:
    """What this is."""
    labels = {(version("foreshape"), ".".join(map(str, sys.version_info[:3])), str(services.settings.simulated).lower()): 1.0}
    yield gauges("foreshape_build_info", "Version of the controller.", ("version", "python", "simulated"), labels)


def reports(services: Services) -> Iterator[Metric]:
    """Agents' reports, since the start of this process."""
    told = services.traffic
    yield counters("foreshape_reports_total", "Reports of agents by what came of them.", "result", told.reports)
    yield histograms("foreshape_report_duration_seconds", "From a report's first byte to its answer's last.", (), {(): told.report_s})


def requests(services: Services) -> Iterator[Metric]:
    """Everything else that was asked over HTTP, since the start of this process."""
    told = services.traffic
    yield counters("foreshape_http_requests_total", "Requests by route and class of status.", ("method", "route", "status"), told.requests)
    yield histograms(
        "foreshape_http_request_duration_seconds", "Time to the last byte of the answer, by route.", ("route",), told.request_s
    )
    yield gauge("foreshape_http_requests_in_progress", "Requests that are being answered.", told.under_way)


def loops(services: Services) -> Iterator[Metric]:
    """Everything that happens by the clock, since the start of this process."""
    beats = services.pulse.beats()
    yield gauges("foreshape_loop_interval_seconds", "How often a loop is due.", "loop", {n: b.every_s for n, b in beats.items()})
    ok = {n: b.succeeded if b.succeeded is not None else 0.0 for n, b in beats.items()}
    yield gauges("foreshape_loop_last_success_timestamp_seconds", "When a loop succeeded last; 0: never yet.", "loop", ok)
    late = {n: b.late(services.clock()) for n, b in beats.items()}
    yield gauges("foreshape_loop_late_seconds", "How long a loop has been silent beyond three intervals; 0: it is in time.", "loop", late)
    yield gauges("foreshape_loop_duration_seconds", "What the last run of a loop took.", "loop", {n: b.took_s for n, b in beats.items()})
    runs = {(n, r): float(v) for n, b in beats.items() for r, v in (("ok", b.runs), ("failed", b.failures))}
    yield counters("foreshape_loop_runs_total", "Runs that ended, by loop and result.", ("loop", "result"), runs)


def store(services: Services) -> Iterator[Metric]:
    """The database."""
    db, head = services.store.db, services.store.headcount
    yield histograms("foreshape_store_write_wait_seconds", "How long a writer waited for the one before.", (), {(): db.waited})
    yield histograms("foreshape_store_write_duration_seconds", "How long a transaction that writes took.", (), {(): db.wrote})
    if sizes := head.store_bytes():
        yield gauges("foreshape_store_size_bytes", "Size of the database's files.", "file", sizes)
    if (folder := head.folder()) is not None:
        disk = shutil.disk_usage(folder)
        yield gauge("foreshape_store_disk_free_bytes", "Free space on the disk of the database.", disk.free)
        yield gauge("foreshape_store_disk_bytes", "Size of the disk of the database.", disk.total)


def forecasts(services: Services) -> Iterator[Metric]:
    """How old forecasts are, and how those of the last week did."""
    now = services.clock()
    made = services.foresight.made_at if services.foresight is not None else {}
    yield gauges("foreshape_forecast_age_seconds", "Age of the newest forecasts.", "resource", {r: now - at for r, at in made.items()})
    learn = services.learn
    model = learn.office.model if learn else BASELINE
    yield gauges("foreshape_model_info", "The model in office.", "model", {model: 1.0})
    if learn is None:
        return
    since = next((e.at for e in learn.office.models.events() if e.model == model and e.event in ("promoted", "rolled back")), None)
    if since is not None:
        yield gauge("foreshape_model_office_timestamp_seconds", "Since when the model is in office.", since)
    lesson = learn.office.models.lesson()
    yield gauge("foreshape_training_last_timestamp_seconds", "When the last training began; 0: there was none.", lesson.started or 0.0)
    yield gauge("foreshape_training_under_way", "1 while a model is being taught.", float(learn.apprentice.busy))
    yield from _accuracy(services, now)


def _accuracy(services: Services, now: float) -> Iterator[Metric]:
    """Added up over strata: a metric per resource and head."""
    assert services.learn is not None
    error: dict[tuple[str, str], list[float]] = {}
    inside: dict[tuple[str, str], list[float]] = {}
    for pair in services.learn.accuracy(now - WEEK_S, now):
        key, s = (pair.mine.resource, pair.mine.head), pair.mine
        if pair.base is not None and pair.base.wql > 0:
            sums = error.setdefault(key, [0.0, 0.0])
            sums[0], sums[1] = sums[0] + sum(s.pinball), sums[1] + sum(pair.base.pinball)
        held = inside.setdefault(key, [0.0, 0.0])
        held[0], held[1] = held[0] + s.count * _number(s.inside(0.8)), held[1] + s.count
    by = ("resource", "head")
    skill = {k: 1.0 - mine / base for k, (mine, base) in error.items() if base > 0}
    yield gauges("foreshape_forecast_skill_ratio", "1 - error over the baseline's, last 7 days; 0: no better.", by, skill)
    cover = {k: n / all_ for k, (n, all_) in inside.items() if all_ > 0}
    yield gauges("foreshape_forecast_inside80_ratio", "What came inside the 80 % range, last 7 days; 0.8 is honest.", by, cover)


def _number(value: float) -> float:
    return value if value == value else 0.0  # noqa: PLR0124 - NaN


def cloud(services: Services) -> Iterator[Metric]:
    """Room in Placement, migrations, pools, ratios, needs: nothing of most where no OpenStack is configured."""
    head = services.store.headcount
    held, moved = head.reservations(), head.migrations()
    yield gauges("foreshape_reservations", "Reservations by state, ended ones as long as they are kept.", "state", _all(Reservation, held))
    yield gauges("foreshape_migrations", "Migrations by state, ended ones as long as they are kept.", "state", _all(Migration, moved))
    asked = _all(RequestState, head.requests())
    yield gauges("foreshape_requests", "Tenants' requests by state, ended ones as long as they are kept.", "state", asked)
    needs = {r: head.needs().get(r, 0) for r in ("cpu", "memory")}
    yield gauges("foreshape_needs_open", "Hosts that somebody has to leave, by the resource that will be short.", "resource", needs)
    if services.cloud is None:
        return
    found = services.cloud.reservations.found
    yield counter(
        "foreshape_reservation_slots_lost_total", "Slots that could not be held again, since the start of this process.", found["lost"]
    )
    yield counter(
        "foreshape_reservation_orphans_total", "Consumers of ours without an owner that audits found, since the start.", found["orphans"]
    )
    astray = float(len(services.cloud.elsewhere.found))
    yield gauge("foreshape_servers_elsewhere", "Guests that run on another host than where Nova has them: an operator has to act.", astray)
    sales = {(s.host, s.resource): s.ratio for s in services.store.sales.all()}
    yield gauges("foreshape_host_sold_ratio", "Allocation ratio of a host in Placement.", ("host", "resource"), sales)
    yield from _pools(services)


def _pools(services: Services) -> Iterator[Metric]:
    pools, now = services.store.pools, services.clock()
    names = {p.id: p.name for p in pools.all(closing=True)}
    wanted = {names[p]: float(d.wanted) for p in names if (d := pools.decided(p)) is not None}
    yield gauges("foreshape_pool_wanted", "Shadow VMs that a pool should have.", "pool", wanted)
    states = {(name, s.value): 0.0 for name in names.values() for s in Shadow}
    states |= {(names[p], state): float(n) for (p, state), n in services.store.headcount.shadows().items() if p in names}
    yield gauges("foreshape_pool_shadows", "Shadow VMs of a pool by state, ended ones as long as they are kept.", ("pool", "state"), states)
    told = {names[p.id]: services.cloud.pools.report(p, now - DAY_S, now) for p in pools.all(closing=True)} if services.cloud else {}
    yield gauges("foreshape_pool_claims", "Claims of the last 24 h by what they got.", ("pool", "result"), _claims(told))
    claim_s = {n: r.claim_s for n, r in told.items() if r.claim_s is not None}
    yield gauges("foreshape_pool_claim_seconds", "Mean time from a claim to its server, last 24 h.", "pool", claim_s)


def _claims(told: Mapping[str, object]) -> Mapping[tuple[str, str], float]:
    return {(n, what): float(getattr(r, f)) for n, r in told.items() for what, f in (("hit", "hits"), ("miss", "misses"))}


def _all(states: type[Reservation] | type[Migration] | type[RequestState], counts: Mapping[str, int]) -> Mapping[str, float]:
    """Every state has a row: one that is missing cannot be told from one that nobody is in."""
    return {s.value: float(counts.get(s.value, 0)) for s in states}
