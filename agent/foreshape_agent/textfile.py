"""The agent's own figures for node_exporter's textfile collector: a hypervisor opens no port for them. The door to prometheus_client."""

import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from foreshape_agent.errors import ConfigError

log = structlog.get_logger()

GAUGES = {
    "domains": ("foreshape_agent_domains", "Domains that the hypervisor has; absent while it cannot be asked."),
    "unsettled": ("foreshape_agent_actions_unsettled", "Resizes that are not seen done yet."),
    "orders_waiting": ("foreshape_agent_orders_waiting", "Orders that wait for the next cycle."),
    "reports_waiting": ("foreshape_agent_reports_waiting", "Reports that the controller has not taken yet."),
}
COUNTERS = {
    "gave_back": ("foreshape_agent_reflexes", "Answers to pressure since the start."),
    "restored": ("foreshape_agent_restored", "Servers put back to what they were sold since the start."),
}


class Textfile:
    """``write`` after each cycle. A file that cannot be written is one line in the log, until it can be again."""

    def __init__(self, path: str) -> None:
        try:
            import prometheus_client as prometheus  # noqa: PLC0415  only where it is asked for
        except ImportError as e:
            raise ConfigError(f"[agent] metrics_file needs prometheus-client ({e}): pip install 'foreshape[agent]'") from e
        self._path, self._prometheus, self._complained = Path(path), prometheus, False
        self._registry = prometheus.CollectorRegistry()
        self._gauges = {k: prometheus.Gauge(*named, registry=self._registry) for k, named in GAUGES.items()}
        self._counters = {k: prometheus.Counter(*named, registry=self._registry) for k, named in COUNTERS.items()}
        self._cycles = prometheus.Counter("foreshape_agent_cycles", "Cycles since the start.", registry=self._registry)
        self._took = prometheus.Histogram("foreshape_agent_cycle_duration_seconds", "What a cycle takes.", registry=self._registry)
        self._last = prometheus.Gauge("foreshape_agent_last_cycle_timestamp_seconds", "When the last cycle ended.", registry=self._registry)
        self._safe = prometheus.Gauge("foreshape_agent_safe_mode", "1 where the agent only measures.", registry=self._registry)

    def write(self, facts: Mapping[str, object], took_s: float) -> None:
        """``facts``: those of the cycle's canonical line."""
        for name, gauge in self._gauges.items():
            value = facts.get(name)
            gauge.set(float(value) if isinstance(value, (int, float)) else float("nan"))
        for name, counter in self._counters.items():
            value = facts.get(name)
            counter.inc(float(value) if isinstance(value, (int, float)) else 0.0)
        self._cycles.inc()
        self._took.observe(took_s)
        self._last.set(time.time())
        self._safe.set(float(bool(facts.get("safe_mode"))))
        self._put()

    def _put(self) -> None:
        try:
            self._prometheus.write_to_textfile(str(self._path), self._registry)  # written beside, then renamed
        except OSError as e:
            if not self._complained:
                log.warning("metrics file cannot be written", file=str(self._path), error=str(e))
            self._complained = True
        else:
            self._complained = False
