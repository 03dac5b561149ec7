"""Runs in CloudKitty's own environment: its schema over metrics.yml, and its Prometheus collector over samples that a test made.

Reads {"metrics": PATH, "series": {METRIC: [[project, tier, [[at, value], …]], …]}, "from": T, "hours": N} and writes
{"names": […], "collected": {METRIC: {project: {tier: quantity}}}}: what CloudKitty would rate.
"""

import json
import re
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import yaml
from cloudkitty import collector
from cloudkitty.collector.prometheus_base import PrometheusCollectorBase
from oslo_config import cfg

QUERY = re.compile(r'^avg\(avg_over_time\((\w+)\{project_id="([^"]*)"\}\[(\d+)s\]\)\) by \(([\w, ]+)\)$')


class Prometheus:
    """Answers the one kind of query that metrics.yml leads to, by Prometheus' own definition of avg_over_time."""

    def __init__(self, series: dict[str, Any]) -> None:
        self._series = series

    def get_instant(self, query: str, time: str) -> dict[str, Any]:
        found = QUERY.match(query)
        assert found, query
        metric, project, seconds, by = found.groups()
        assert {part.strip() for part in by.split(",")} == {"project_id", "tier"}, by
        until = datetime.fromisoformat(time).timestamp()
        result = []
        for owner, tier, samples in self._series.get(metric, []):
            values = [v for at, v in samples if until - int(seconds) < at <= until]
            if owner == project and values:
                labels = {"project_id": owner, "tier": tier}
                result.append({"metric": labels, "value": [until, str(sum(values) / len(values))]})
        return {"status": "success", "data": {"result": result}}


class Collector(PrometheusCollectorBase):  # type: ignore[misc]  # CloudKitty ships no types
    collector_name = "prometheus"


def main() -> None:
    """See the module."""
    asked = json.load(sys.stdin)
    cfg.CONF([], project="cloudkitty", default_config_files=[], default_config_dirs=[])
    cfg.CONF.set_override("collector", "prometheus", "collect")
    with open(asked["metrics"], encoding="utf-8") as file:  # noqa: PTH123
        text = file.read()
    valid = collector.validate_conf(yaml.safe_load(text))
    mine = Collector(period=3600, conf=yaml.safe_load(text))
    mine._conn = Prometheus(asked["series"])
    collected: dict[str, Any] = {}
    for name in mine.conf:
        metric = name.split("@#")[0]
        for project in sorted({owner for owner, _, _ in asked["series"].get(metric, [])}):
            sums: dict[str, Decimal] = {}
            for hour in range(asked["hours"]):
                start, end = (datetime.fromtimestamp(asked["from"] + (hour + k) * 3600, UTC) for k in (0, 1))
                for point in mine.fetch_all(name, start, end, project):
                    tier = point.groupby["tier"]
                    sums[tier] = sums.get(tier, Decimal(0)) + Decimal(str(point.qty))
            collected.setdefault(metric, {})[project] = {tier: str(qty) for tier, qty in sums.items()}
    json.dump({"names": sorted(valid), "collected": collected}, sys.stdout)


if __name__ == "__main__":
    main()
