"""History from a Prometheus server that scrapes a libvirt exporter, through its range queries.

Asked in pieces that stay under the server's limit of 11,000 points a series, one value every five minutes: the mean over the
five minutes *before* the moment asked, so that the value of 12:05 belongs to the bin of 12:00. The names of the metrics are those
of the common exporters (kumina, Tinkoff, inovex and their kin) and can be given; a metric that is not there is told and left out.
"""

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from foreshape_controller.errors import TraceError
from foreshape_controller.model.history import STEP_S
from foreshape_controller.replay.columns import Column
from foreshape_controller.replay.importers.blocks import Block
from foreshape_controller.replay.trace_file import pick

MOST_POINTS = 10_000
"""Of one series in one answer; the server refuses more than 11,000."""

KIB, MIB = 1024, 1 << 20

METRICS: Mapping[str, str] = {
    "cpu_time": "libvirt_domain_info_cpu_time_seconds_total",
    "cpus": "libvirt_domain_info_virtual_cpus",
    "memory_max": "libvirt_domain_info_maximum_memory_bytes",
    "memory_available": "libvirt_domain_memory_stats_available_bytes",
    "memory_usable": "libvirt_domain_memory_stats_usable_bytes",
    "memory_rss": "libvirt_domain_memory_stats_rss_bytes",
    "memory_used_percent": "libvirt_domain_memory_stats_used_percent",
    "disk_read": "libvirt_domain_block_stats_read_bytes_total",
    "disk_write": "libvirt_domain_block_stats_write_bytes_total",
    "net_rx": "libvirt_domain_interface_stats_receive_bytes_total",
    "net_tx": "libvirt_domain_interface_stats_transmit_bytes_total",
}
"""What we need, and how the exporters call it."""

Tell = Callable[[str], None]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Server:
    """Where Prometheus is, by what right it is asked, and how its series are called.

    label: the one that names a VM. matching: further matchers, such as ``job="libvirt"``. inside: also ask for the largest use
    inside each bin (a subquery, one minute apart), which costs the server five times as much.
    """

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    timeout_s: float = 60.0
    label: str = "domain"
    matching: str = ""
    inside: bool = False
    metrics: Mapping[str, str] = field(default_factory=dict)

    def metric(self, what: str) -> str:
        """A metric with its matchers."""
        return f"{self.metrics.get(what, METRICS[what])}{{{self.matching}}}"


def queries(server: Server) -> Mapping[str, Sequence[str]]:
    """Canonical column -> PromQL expressions, the first that answers anything counts."""

    def gauge(what: str) -> str:
        return f"avg_over_time({server.metric(what)}[5m])"

    def total(per: str) -> str:
        return f"sum by ({server.label}) ({per})"

    def flow(*whats: str) -> str:
        return " + ".join(total(f"rate({server.metric(w)}[5m])") for w in whats)

    cpu = f"rate({server.metric('cpu_time')}[5m])"
    most = f"max by ({server.label}) (max_over_time({server.metric('memory_max')}[5m]))"
    mem = [
        f"{total(gauge('memory_available'))} - {total(gauge('memory_usable'))}",
        f"{total(gauge('memory_used_percent'))} / 100 * {most}",
        total(gauge("memory_rss")),
    ]
    asked: dict[str, Sequence[str]] = {
        "cpu_cores": [total(cpu)],
        "cpu_cap_cores": [f"max by ({server.label}) (max_over_time({server.metric('cpus')}[5m]))"],
        "mem_mib": [f"({m}) / {MIB}" for m in mem],
        "mem_cap_mib": [f"{most} / {MIB}"],
        "disk_kib_s": [f"({flow('disk_read', 'disk_write')}) / {KIB}"],
        "net_kib_s": [f"({flow('net_rx', 'net_tx')}) / {KIB}"],
    }
    if server.inside:
        minute = total(f"rate({server.metric('cpu_time')}[1m])")
        asked["cpu_cores_max"] = [f"max_over_time(({minute})[5m:1m])"]
    return asked


def read(server: Server, start: int, end: int, vms: Sequence[str] | None, tell: Tell, progress: Progress) -> Iterator[Block]:
    """Blocks of everything between two instants (epoch s, on the grid). Raises TraceError."""
    with _client(server) as http:
        door = _Door(http, server)
        chosen = _names(door, start, end, vms)
        asked = queries(server)
        for done, (column, ways) in enumerate(asked.items()):
            found = False
            for way in ways:
                for block in _column(door, column, way, (start, end), chosen):
                    found = True
                    yield block
                if found:
                    break
            progress("columns", done + 1, len(asked))
            if not found:
                tell(f"{server.url}: no {column}: nothing answers {ways[-1]}")


def _column(door: "_Door", column: str, query: str, span: tuple[int, int], chosen: frozenset[str] | None) -> Iterator[Block]:
    for begin in range(span[0], span[1], MOST_POINTS * STEP_S):
        until = min(span[1], begin + MOST_POINTS * STEP_S)
        block = door.block(column, query, begin, until, chosen)
        if len(block.t):
            yield block


def _names(door: "_Door", start: int, end: int, vms: Sequence[str] | None) -> frozenset[str] | None:
    """VMs that were there at all; TraceError when none is."""
    metric = door.server.metric("cpu_time")
    found = door.names(metric, start, end)
    if not found:
        raise TraceError(
            f"{door.server.url}: no series {metric} between {start} and {end}: is a libvirt exporter scraped there? "
            "Other names are given with --metric cpu_time=NAME, another label with --label"
        )
    return None if vms is None else frozenset(pick(found, vms))


def _client(server: Server) -> httpx.Client:
    headers = {"Authorization": f"Bearer {_token(server.token_file)}"} if server.token_file else {}
    try:
        verify = ssl.create_default_context(cafile=server.ca_file) if server.ca_file else True
        return httpx.Client(base_url=httpx.URL(server.url), headers=headers, timeout=server.timeout_s, verify=verify, follow_redirects=True)
    except (httpx.InvalidURL, OSError) as e:
        raise TraceError(f"{server.ca_file or server.url}: cannot be used: {e}") from e


def _token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as e:
        raise TraceError(f"cannot read the token in {path}: {e.strerror}") from e


class _Door:
    """Asks Prometheus; every way it can go wrong is a sentence."""

    def __init__(self, http: httpx.Client, server: Server) -> None:
        self._http, self.server = http, server

    def names(self, metric: str, start: int, end: int) -> list[str]:
        said = self._ask("/api/v1/series", {"match[]": metric, "start": str(start), "end": str(end)})
        return sorted({s[self.server.label] for s in said if s.get(self.server.label)})

    def block(self, column: str, query: str, start: int, end: int, chosen: frozenset[str] | None) -> Block:
        """Values of one column; the value of a moment speaks of the five minutes before it."""
        asked = {"query": query, "start": str(start + STEP_S), "end": str(end), "step": str(STEP_S)}
        said = self._ask("/api/v1/query_range", asked)
        series = said.get("result", []) if isinstance(said, dict) else []
        named = [(s["metric"].get(self.server.label), s["values"]) for s in series]
        kept = [(n, v) for n, v in named if n and (chosen is None or n in chosen)]
        pairs = np.array([p for _, values in kept for p in values], np.float64).reshape(-1, 2)
        code = np.repeat(np.arange(len(kept), dtype=np.int32), [len(v) for _, v in kept])
        values: Column = pairs[:, 1].astype(np.float32)
        return Block(tuple(n for n, _ in kept), code, pairs[:, 0].astype(np.int64) - STEP_S, {column: values})

    def _ask(self, path: str, asked: Mapping[str, str]) -> Any:
        url = self.server.url
        try:
            answer = self._http.post(f"{url.rstrip('/')}{path}", data=dict(asked))
            body = answer.json() if "json" in answer.headers.get("content-type", "") else None
        except httpx.TimeoutException as e:
            raise TraceError(f"{url}: no answer within {self.server.timeout_s:g} s: raise --query-timeout, or ask for less") from e
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as e:
            raise TraceError(f"cannot ask {url}: {e or type(e).__name__}; is it the address of a Prometheus server?") from e
        if answer.status_code in (401, 403):
            raise TraceError(f"{url}: not permitted ({answer.status_code}): give a token with --bearer-token-file FILE")
        if not isinstance(body, dict) or body.get("status") != "success":
            why = body.get("error") if isinstance(body, dict) else None
            raise TraceError(f"{url}: answers {answer.status_code}: {why or 'not as Prometheus does; is the address right?'}")
        return body.get("data")
