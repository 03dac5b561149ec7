"""``foreshape segment list``."""

from argparse import Namespace
from typing import Any

from foreshape_controller.cli.view import ListView, Row


def _ahead(median: str, peak: str, digits: int) -> Any:
    def cell(row: Row) -> str:
        return "-" if row[median] is None else f"{row[median]:.{digits}f} / {row[peak]:.{digits}f}"

    return cell


class SegmentList(ListView):
    """List segments: members, and what each is expected to want (median of the next half-hour / 95 % of the day's peak)."""

    columns = (
        ("Segment", lambda r: r["name"]),
        ("Servers", lambda r: r["servers"]),
        ("Cores soon / day's peak", _ahead("cpu_cores", "cpu_peak24h_q95_cores", 2)),
        ("MiB soon / day's peak", _ahead("memory_mib", "memory_peak24h_q95_mib", 0)),
    )

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002
        return self.app.client.get("/v1/segments")
