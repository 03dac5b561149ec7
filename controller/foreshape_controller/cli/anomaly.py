"""``foreshape anomaly list``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.numbers import number
from foreshape_controller.cli.view import ListView, Row, moment


def _until(row: Row) -> str:
    return "lasts" if row["until"] is None else moment(row["until"])


class AnomalyList(ListView):
    """List what stood out in the load of servers, hosts and other groups, the newest first."""

    columns = (
        ("Name", lambda r: r["name"]),
        ("Resource", lambda r: r["resource"]),
        ("Kind", lambda r: r["kind"].replace("_", " ")),
        ("Since", lambda r: moment(r["since"])),
        ("Until", _until),
        ("Strength", lambda r: f"{r['strength']:.1f}"),
        ("Confidence", lambda r: f"{r['confidence']:.0%}"),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="SERVER", nargs="?", help="id or name of a server, or host:NAME, project:ID, segment:NAME")
        parser.add_argument("--open", action="store_true", help="only those that last")
        parser.add_argument(
            "--days", type=number(0, 3650, above=True), default=30.0, metavar="N", help="how far back (default %(default)g)"
        )
        return parser

    def ask(self, parsed: Namespace) -> Any:
        wanted: dict[str, str | float] = {"open": "true" if parsed.open else "false", "days": parsed.days}
        if parsed.server:
            wanted["server"] = parsed.server
        return self.app.client.get("/v1/anomalies", **wanted)
