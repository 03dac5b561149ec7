"""The shipped alert rules under Prometheus' own tool: each fires when it should, is silent when not, and leads to a section of the docs."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (devstack/packages.txt: prometheus)"),
]

ROOT = Path(__file__).parents[2]
RULES = ROOT / "etc/prometheus/foreshape.rules.yaml"
DAY = "2880"


class Case(NamedTuple):
    """Series by name, a value a minute, in promtool's notation; the alert is looked at after ``at``."""

    fires: dict[str, str]
    silent: dict[str, str]
    at: str = "40m"


def steady(value: float, minutes: int = 60) -> str:
    return f"{value}x{minutes}"


def rising(step: float, minutes: int = 60) -> str:
    return f"0+{step}x{minutes}"


CASES: dict[str, Case] = {
    "ForeshapeControllerDown": Case({'up{job="foreshape"}': steady(0)}, {'up{job="foreshape"}': steady(1)}),
    "ForeshapeLoopSilent": Case(
        {'foreshape_loop_late_seconds{loop="plan"}': steady(60)}, {'foreshape_loop_late_seconds{loop="plan"}': steady(0)}
    ),
    "ForeshapeLoopFailing": Case(
        {'foreshape_loop_runs_total{loop="plan",result="failed"}': rising(1)},
        {
            'foreshape_loop_runs_total{loop="plan",result="failed"}': steady(7),
            'foreshape_loop_runs_total{loop="plan",result="ok"}': rising(1),
        },
    ),
    "ForeshapeScrapePartFailed": Case(
        {'foreshape_scrape_part_failed{part="fleet.fleet"}': steady(1)}, {'foreshape_scrape_part_failed{part="fleet.fleet"}': steady(0)}
    ),
    "ForeshapeStoreNearlyFull": Case(
        {"foreshape_store_disk_free_bytes": steady(5e9), "foreshape_store_disk_bytes": steady(1e11)},
        {"foreshape_store_disk_free_bytes": steady(5e10), "foreshape_store_disk_bytes": steady(1e11)},
    ),
    "ForeshapeStoreSlow": Case(
        {f'foreshape_store_write_wait_seconds_bucket{{le="{le}"}}': rising(n) for le, n in (("1.0", 0), ("2.5", 9), ("+Inf", 9))},
        {f'foreshape_store_write_wait_seconds_bucket{{le="{le}"}}': rising(n) for le, n in (("0.01", 9), ("2.5", 9), ("+Inf", 9))},
    ),
    "ForeshapeReportsSlow": Case(
        {f'foreshape_report_duration_seconds_bucket{{le="{le}"}}': rising(n) for le, n in (("1.0", 0), ("2.5", 9), ("+Inf", 9))},
        {f'foreshape_report_duration_seconds_bucket{{le="{le}"}}': rising(n) for le, n in (("0.05", 9), ("2.5", 9), ("+Inf", 9))},
    ),
    "ForeshapeReportsRefused": Case(
        {'foreshape_reports_total{result="taken"}': rising(90), 'foreshape_reports_total{result="refused"}': rising(10)},
        {'foreshape_reports_total{result="taken"}': rising(99), 'foreshape_reports_total{result="refused"}': rising(1)},
    ),
    "ForeshapeCoverageLost": Case({"foreshape_servers_coverage_ratio": steady(0.8)}, {"foreshape_servers_coverage_ratio": steady(0.95)}),
    "ForeshapeAgentsLost": Case(
        {"foreshape_hosts": steady(10), "foreshape_hosts_fresh": steady(9)},
        {"foreshape_hosts": steady(10), "foreshape_hosts_fresh": steady(10)},
    ),
    "ForeshapeAgentsInSafeMode": Case({"foreshape_hosts_safe_mode": steady(1)}, {"foreshape_hosts_safe_mode": steady(0)}),
    "ForeshapeClockSkew": Case(
        {'foreshape_host_clock_ahead_seconds{host="hv1"}': steady(45)}, {'foreshape_host_clock_ahead_seconds{host="hv1"}': steady(2)}
    ),
    "ForeshapeForecastChangesNothing": Case(
        {"foreshape_decisions_total": rising(4, 600), "foreshape_decisions_changed_by_forecast_total": steady(5, 600)},
        {"foreshape_decisions_total": rising(4, 600), "foreshape_decisions_changed_by_forecast_total": rising(0.1, 600)},
        "8h",
    ),
    "ForeshapeForecastOld": Case(
        {'foreshape_forecast_age_seconds{resource="cpu"}': steady(4000)}, {'foreshape_forecast_age_seconds{resource="cpu"}': steady(300)}
    ),
    "ForeshapeForecastMiscalibrated": Case(
        {'foreshape_forecast_inside80_ratio{head="peak30m",resource="cpu"}': steady(0.5, 600)},
        {'foreshape_forecast_inside80_ratio{head="peak30m",resource="cpu"}': steady(0.78, 600)},
        "8h",
    ),
    "ForeshapeModelStale": Case(
        {
            "foreshape_model_office_timestamp_seconds": steady(-31 * 86400, 200),
            "foreshape_training_last_timestamp_seconds": steady(-8 * 86400, 200),
        },
        {
            "foreshape_model_office_timestamp_seconds": steady(-31 * 86400, 200),
            "foreshape_training_last_timestamp_seconds": steady(-86400, 200),
        },
        "2h",
    ),
    "ForeshapeBudgetHit": Case({"foreshape_budget_hits_total": rising(1)}, {"foreshape_budget_hits_total": rising(0.1)}),
    "ForeshapeHaltLasts": Case(
        {'foreshape_halt_since_timestamp_seconds{kind="failures"}': steady(-3600)},
        {'foreshape_halt_since_timestamp_seconds{kind="failures"}': steady(1800)},
    ),
    "ForeshapeStopForgotten": Case({"foreshape_stopped_scopes": steady(1, 800)}, {"foreshape_stopped_scopes": steady(0, 800)}, "13h"),
    "ForeshapeOrdersFailing": Case(
        {'foreshape_orders_closed_total{verdict="failed"}': rising(1, 90), "foreshape_orders_total": rising(5, 90)},
        {'foreshape_orders_closed_total{verdict="failed"}': rising(1, 90), "foreshape_orders_total": rising(50, 90)},
        "80m",
    ),
    "ForeshapePromiseBroken": Case(
        {
            f'foreshape_tier_violation_{n}{{tier="standard",resource="cpu"}}': steady(v, 100)
            for n, v in (("ratio", 0.1), ("target_ratio", 0.01))
        },
        {
            f'foreshape_tier_violation_{n}{{tier="standard",resource="cpu"}}': steady(v, 100)
            for n, v in (("ratio", 0.001), ("target_ratio", 0.01))
        },
        "90m",
    ),
    "ForeshapeOrphanFound": Case({"foreshape_reservation_orphans_total": "0x20 1x40"}, {"foreshape_reservation_orphans_total": steady(3)}),
    "ForeshapeReservationLost": Case(
        {"foreshape_reservation_slots_lost_total": "0x20 2x40"}, {"foreshape_reservation_slots_lost_total": steady(2)}
    ),
    "ForeshapeServerElsewhere": Case({"foreshape_servers_elsewhere": steady(1)}, {"foreshape_servers_elsewhere": steady(0)}),
    "ForeshapeNeedOpen": Case({'foreshape_needs_open{resource="cpu"}': steady(2)}, {'foreshape_needs_open{resource="cpu"}': steady(0)}),
    "ForeshapePoolEmpty": Case(
        {'foreshape_pool_wanted{pool="web"}': steady(2), 'foreshape_pool_shadows{pool="web",state="ready"}': steady(0)},
        {'foreshape_pool_wanted{pool="web"}': steady(2), 'foreshape_pool_shadows{pool="web",state="ready"}': steady(1)},
    ),
}
ALIVE = {'up{job="foreshape"}': f"1x{DAY}"}


def rules() -> list[dict[str, Any]]:
    return [r for g in yaml.safe_load(RULES.read_text())["groups"] for r in g["rules"]]


def test_promtool_accepts_the_file() -> None:
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True, capture_output=True, timeout=30)


def test_every_alert_has_its_cases() -> None:
    assert sorted(CASES) == sorted(r["alert"] for r in rules())


def test_each_alert_fires_when_it_should_and_is_silent_when_not(tmp_path: Path) -> None:
    groups = []
    for alert, case in CASES.items():
        for series, fires in ((case.fires, True), (case.silent, False)):
            told = {**({} if "up{" in "".join(series) else ALIVE), **series}
            firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
            groups.append(
                {
                    "name": f"{alert}: {'fires' if fires else 'silent'}",
                    "interval": "1m",
                    "input_series": [{"series": s, "values": v} for s, v in told.items()],
                    "promql_expr_test": [
                        {"expr": firing, "eval_time": case.at, "exp_samples": [{"labels": "{}", "value": 1}] if fires else []}
                    ],
                }
            )
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": groups}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_controller_that_prometheus_does_not_even_know_is_an_alert(tmp_path: Path) -> None:
    file = tmp_path / "tests.yaml"
    asked = {"expr": 'count(ALERTS{alertname="ForeshapeControllerDown",alertstate="firing"})', "eval_time": "10m"}
    test = {"interval": "1m", "input_series": [], "promql_expr_test": [{**asked, "exp_samples": [{"labels": "{}", "value": 1}]}]}
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", rules(), ids=lambda r: str(r["alert"]))
def test_every_alert_leads_to_a_section_that_is_there(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}
    assert anchor in anchors


@pytest.mark.parametrize("rule", rules(), ids=lambda r: str(r["alert"]))
def test_every_alert_says_how_bad_it_is_and_what_it_is(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"].endswith(".")
