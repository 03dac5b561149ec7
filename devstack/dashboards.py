"""Writes ``etc/grafana/*.json``: dashboards are kept here as tables of panels, built and checked by Grafana's own types.

python devstack/dashboards.py
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import dashboard as d
from grafana_foundation_sdk.builders import prometheus as p
from grafana_foundation_sdk.builders import stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

FOLDER = Path(__file__).parents[1] / "etc/grafana"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDE, NARROW, HIGH = 12, 6, 8


class Line(NamedTuple):
    """One query and what its lines are called."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """A chart of one or several queries; ``stat``: the newest value as a number."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    says: str = ""
    kind: str = "chart"


class Board(NamedTuple):
    """One file. ``hosts``: a variable lets the reader choose some."""

    file: str
    title: str
    rows: dict[str, tuple[Panel, ...]]
    hosts: bool = False


def _stat(title: str, unit: str, expr: str, says: str = "") -> Panel:
    return Panel(title, unit, (Line(expr),), says, "stat")


def _amounts(resource: str, unit: str) -> tuple[Line, ...]:
    return tuple(Line(f"foreshape_{resource}_{what}_{unit}", what) for what in ("demand", "allocated", "entitled", "capacity"))


def _of_hosts(name: str, whole: str) -> tuple[Line, ...]:
    """What the chosen hosts' servers need, have and were sold, and what the hosts have."""
    parts = (Line(f'foreshape_host_{name.format(w)}{{host=~"$host"}}', f"{{{{host}}}} {w}") for w in ("demand", "allocated", "entitled"))
    return (*parts, Line(f'foreshape_host_{whole}{{host=~"$host"}}', "{{host}} has"))


FLEET = Board(
    "fleet.json",
    "Foreshape: fleet",
    {
        "Now": (
            _stat("Servers", "none", "foreshape_servers"),
            _stat("Coverage", "percentunit", "foreshape_servers_coverage_ratio", "Servers with fresh data over all that are known."),
            _stat("CPU given back", "percentunit", "1 - foreshape_cpu_allocated_cores / foreshape_cpu_entitled_cores"),
            _stat("Memory given back", "percentunit", "1 - foreshape_memory_allocated_bytes / foreshape_memory_entitled_bytes"),
        ),
        "Amounts": (
            Panel("CPU", "none", _amounts("cpu", "cores"), "Cores: what is used, what servers have, what was sold, what hosts have."),
            Panel("Memory", "bytes", _amounts("memory", "bytes")),
        ),
        "Decisions": (
            Panel(
                "Choices a second",
                "ops",
                (Line("sum by (resource, choice) (rate(foreshape_choices_total[5m]))", "{{resource}} {{choice}}"),),
            ),
            Panel("What held changes back", "ops", (Line("topk(10, sum by (code) (rate(foreshape_reasons_total[15m])))", "{{code}}"),)),
            Panel(
                "Decisions that the forecast changed",
                "percentunit",
                (Line("rate(foreshape_decisions_changed_by_forecast_total[1h]) / (2 * rate(foreshape_decisions_total[1h]))", "share"),),
                "Zero for hours: forecasts do not reach the plan.",
            ),
            Panel(
                "Orders an hour",
                "none",
                (
                    Line("increase(foreshape_orders_closed_total[1h])", "{{verdict}}"),
                    Line("increase(foreshape_reflexes_total[1h])", "by agents themselves"),
                ),
            ),
        ),
        "Promises": (
            Panel(
                "Bins that were short, last 24 h",
                "percentunit",
                (
                    Line("foreshape_tier_violation_ratio", "{{tier}} {{resource}}"),
                    Line("foreshape_tier_violation_target_ratio", "{{tier}} {{resource}} promised"),
                ),
            ),
            Panel("What servers have of what was sold", "percentunit", (Line("foreshape_tier_allocation_ratio", "{{tier}} {{resource}}"),)),
        ),
        "Safety": (
            Panel("Mode", "none", (Line("foreshape_servers_by_mode", "{{mode}}"),), "Servers by the mode in force for them."),
            Panel(
                "Halts and stops",
                "none",
                (Line("foreshape_halts", "{{kind}}"), Line("foreshape_stopped_scopes", "stopped by people")),
            ),
            Panel("Plans that met a budget, an hour", "none", (Line("increase(foreshape_budget_hits_total[1h])", "plans"),)),
        ),
    },
)

HOSTS = Board(
    "hosts.json",
    "Foreshape: hosts and agents",
    {
        "Hosts": (
            Panel(
                "CPU",
                "none",
                _of_hosts("cpu_{}_cores", "cpus"),
            ),
            Panel(
                "Memory",
                "bytes",
                _of_hosts("memory_{}_bytes", "memory_bytes"),
            ),
            Panel("Servers", "none", (Line('foreshape_host_servers{host=~"$host"}', "{{host}}"),)),
            Panel(
                "Sold",
                "none",
                (Line('foreshape_host_sold_ratio{host=~"$host"}', "{{host}} {{resource}}"),),
                "Allocation ratios in Placement.",
            ),
        ),
        "Agents": (
            Panel(
                "Since the last report", "s", (Line('time() - foreshape_host_last_report_timestamp_seconds{host=~"$host"}', "{{host}}"),)
            ),
            Panel("Clock ahead", "s", (Line('foreshape_host_clock_ahead_seconds{host=~"$host"}', "{{host}}"),)),
            Panel("Safe mode", "none", (Line('foreshape_host_safe_mode{host=~"$host"}', "{{host}}"),)),
            Panel(
                "Cycle (agents with a metrics_file)",
                "s",
                (
                    Line(
                        "rate(foreshape_agent_cycle_duration_seconds_sum[5m]) / rate(foreshape_agent_cycle_duration_seconds_count[5m])",
                        "{{instance}}",
                    ),
                ),
            ),
            Panel("Reports that wait", "none", (Line("foreshape_agent_reports_waiting", "{{instance}}"),)),
        ),
    },
    hosts=True,
)

MODELS = Board(
    "models.json",
    "Foreshape: forecasts and models",
    {
        "Forecasts": (
            Panel("Age", "s", (Line("foreshape_forecast_age_seconds", "{{resource}}"),)),
            Panel(
                "Skill over the baseline",
                "percentunit",
                (Line("foreshape_forecast_skill_ratio", "{{resource}} {{head}}"),),
                "1 - error over the baseline's, last 7 days.",
            ),
            Panel(
                "Inside the 80 % range",
                "percentunit",
                (Line("foreshape_forecast_inside80_ratio", "{{resource}} {{head}}"),),
                "0.8 is honest; above is too careful, below too sure.",
            ),
            Panel("Headroom that feedback made", "none", (Line("foreshape_tier_headroom_factor", "{{tier}} {{resource}}"),)),
        ),
        "Models": (
            Panel("In office", "none", (Line("foreshape_model_info", "{{model}}"),)),
            _stat("In office for", "s", "time() - foreshape_model_office_timestamp_seconds"),
            _stat("Last training", "s", "time() - foreshape_training_last_timestamp_seconds"),
            Panel("Training under way", "none", (Line("foreshape_training_under_way", "training"),)),
        ),
    },
)

CLOUD = Board(
    "cloud.json",
    "Foreshape: reservations, migrations, pools",
    {
        "Reservations": (
            Panel("Reservations", "none", (Line('foreshape_reservations{state=~"planned|held|handed_over"}', "{{state}}"),)),
            Panel(
                "Found by audits",
                "none",
                (
                    Line("increase(foreshape_reservation_orphans_total[1h])", "orphans"),
                    Line("increase(foreshape_reservation_slots_lost_total[1h])", "lost"),
                ),
            ),
        ),
        "Migrations": (
            Panel("Migrations", "none", (Line("foreshape_migrations", "{{state}}"),), "Ended ones as long as they are kept."),
            Panel("Hosts that will be short", "none", (Line("foreshape_needs_open", "{{resource}}"),)),
        ),
        "Pools": (
            Panel(
                "Shadow VMs",
                "none",
                (
                    Line('foreshape_pool_shadows{state=~"ready|booting|planned"}', "{{pool}} {{state}}"),
                    Line("foreshape_pool_wanted", "{{pool}} wanted"),
                ),
            ),
            Panel("Claims, last 24 h", "none", (Line("foreshape_pool_claims", "{{pool}} {{result}}"),)),
            Panel("A claim takes", "s", (Line("foreshape_pool_claim_seconds", "{{pool}}"),)),
        ),
    },
)


def _p99(metric: str, by: str = "") -> str:
    return f"histogram_quantile(0.99, sum by (le{by}) (rate({metric}_bucket[5m])))"


CONTROLLER = Board(
    "controller.json",
    "Foreshape: controller",
    {
        "Reports": (
            Panel("Reports a second", "reqps", (Line("sum by (result) (rate(foreshape_reports_total[5m]))", "{{result}}"),)),
            Panel(
                "A report takes",
                "s",
                (
                    Line(_p99("foreshape_report_duration_seconds"), "p99"),
                    Line(_p99("foreshape_report_duration_seconds").replace("0.99", "0.5"), "p50"),
                ),
            ),
            Panel("Requests a second", "reqps", (Line("sum by (status) (rate(foreshape_http_requests_total[5m]))", "{{status}}"),)),
            Panel(
                "Slowest routes, p99", "s", (Line(f"topk(10, {_p99('foreshape_http_request_duration_seconds', ', route')})", "{{route}}"),)
            ),
        ),
        "Loops": (
            Panel("Since the last success", "s", (Line("time() - foreshape_loop_last_success_timestamp_seconds", "{{loop}}"),)),
            Panel("A run takes", "s", (Line("foreshape_loop_duration_seconds", "{{loop}}"),)),
            Panel("Failures an hour", "none", (Line('increase(foreshape_loop_runs_total{result="failed"}[1h])', "{{loop}}"),)),
        ),
        "Store and process": (
            Panel(
                "Writers wait, and write",
                "s",
                (
                    Line(_p99("foreshape_store_write_wait_seconds"), "wait p99"),
                    Line(_p99("foreshape_store_write_duration_seconds"), "write p99"),
                ),
            ),
            Panel("Size", "bytes", (Line("foreshape_store_size_bytes", "{{file}}"), Line("foreshape_store_disk_free_bytes", "free"))),
            Panel(
                "CPU", "none", (Line('rate(process_cpu_seconds_total{job="foreshape"}[5m])', "cores"),), "Of the process that answers here."
            ),
            Panel("Memory", "bytes", (Line('process_resident_memory_bytes{job="foreshape"}', "resident"),)),
        ),
    },
)
BOARDS = (FLEET, HOSTS, MODELS, CLOUD, CONTROLLER)


def build(board: Board) -> str:
    """The file's text."""
    made = (
        d.Dashboard(board.title)
        .uid(f"foreshape-{board.file.removesuffix('.json')}")
        .tags(["foreshape"])
        .refresh("1m")
        .time("now-6h", "now")
    )
    made = made.with_variable(d.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    if board.hosts:
        made = made.with_variable(
            d.QueryVariable("host")
            .label("Host")
            .query("label_values(foreshape_host_servers, host)")
            .datasource(SOURCE)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
        )
    for title, panels in board.rows.items():
        made = made.with_row(d.Row(title))
        for panel in panels:
            made = made.with_panel(_panel(panel))
    told = json.loads(JSONEncoder().encode(made.build()))
    return json.dumps(_whole(told), sort_keys=True, indent=1) + "\n"


def _whole(thing: Any) -> Any:
    """Without what is not said: Grafana takes null for a value."""
    if isinstance(thing, dict):
        return {k: _whole(v) for k, v in thing.items() if v is not None}
    return [_whole(v) for v in thing] if isinstance(thing, list) else thing


def _panel(panel: Panel) -> Any:
    made: Any = (stat if panel.kind == "stat" else timeseries).Panel()
    made = made.title(panel.title).unit(panel.unit).datasource(SOURCE).height(HIGH).span(NARROW if panel.kind == "stat" else WIDE)
    if panel.says:
        made = made.description(panel.says)
    for name, line in zip("ABCDEFGH", panel.lines, strict=False):
        made = made.with_target(p.Dataquery().ref_id(name).datasource(SOURCE).expr(line.expr).legend_format(line.legend))
    return made


def main() -> None:
    for board in BOARDS:
        (FOLDER / board.file).write_text(build(board))


if __name__ == "__main__":
    main()
