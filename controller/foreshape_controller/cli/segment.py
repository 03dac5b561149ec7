"""``foreshape segment list``, ``show`` and ``report``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.event import seconds
from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.view import MACHINE, Columns, ListView, Row, ShowView, amounts, moment

DIGITS = {"cpu": 2, "memory": 0}


def _pair(resource: str, *keys: str) -> Any:
    def cell(row: Row) -> str:
        return amounts(*(row[resource][k] for k in keys), digits=DIGITS[resource])

    return cell


def _both(key: str) -> Any:
    """A share of both resources, in percent."""

    def cell(row: Row) -> str:
        return " / ".join("-" if row[r][key] is None else f"{100 * row[r][key]:.0f}%" for r in DIGITS)

    return cell


_HAS = ("demand", "allocated", "floor", "entitled", "capacity")
_AHEAD = ("ahead", "peak24h_q95")


class SegmentList(ListView):
    """List segments: members, what they want, have, are promised and were sold, their part of their hosts, and what is expected.

    Capacity is the segment's part of what its hosts can hand out, by what was sold there. Expected: the median of the next
    half-hour and the day's peak (95 %). Slack: (allocation - use) / allocation now, of the servers that were measured.
    """

    columns: Columns = (
        ("Segment", lambda r: r["name"]),
        ("Servers / hosts", lambda r: f"{r['servers']} / {r['hosts']}"),
        ("Cores wants / has / floors / sold / capacity", _pair("cpu", *_HAS)),
        ("Cores soon / day's peak", _pair("cpu", *_AHEAD)),
        ("MiB wants / has / floors / sold / capacity", _pair("memory", *_HAS)),
        ("MiB soon / day's peak", _pair("memory", *_AHEAD)),
        ("Slack", _both("slack")),
    )

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002
        return self.app.client.get("/v1/segments")


class SegmentShow(ShowView):
    """Show one segment, and which servers are in it."""

    columns = (*SegmentList.columns, ("Members", lambda r: "\n".join(r["members"] or ()) or "-"))

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="name of the segment, as in segment list")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(f"/v1/segments/{segment(parsed.name)}")


class SegmentReport(ListView):
    """Who gave and who got on hosts that were short: segment by segment, or tier by tier where a server is in no segment."""

    nothing = "Nobody had to give: no host was short."
    columns: Columns = (
        ("Giver", lambda r: r["giver"]),
        ("Taker", lambda r: r["taker"]),
        ("Resource", lambda r: r["resource"]),
        ("Amount", lambda r: f"{amounts(r['amount'], digits=DIGITS[r['resource']])} {r['unit']}"),
        ("Times / hosts", lambda r: f"{r['times']} / {r['hosts']}"),
        ("Last", lambda r: moment(r["last_at"])),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--since", metavar="TIME", type=seconds, default=86400.0, help="how far back, as 90min, 24h, 7d (default 24h)")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.get("/v1/segments/report", since_s=parsed.since)
        if parsed.formatter not in MACHINE:
            nobody = "" if answer["transfers"] else " Nobody had to give."
            self.app.stdout.write(f"From {moment(answer['since'])} to {moment(answer['until'])}.{nobody}\n")
        return answer["transfers"]
