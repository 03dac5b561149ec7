"""``foreshape forecast accuracy``: how forecasts did, once their future was over."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.numbers import number
from foreshape_controller.cli.view import ListView

HEADS = {"steps": "next 30 min", "half_hours": "next day", "peak30m": "peak of 30 min", "peak24h": "peak of a day"}


days = number(0.01, 3650)


def _share(key: str) -> Any:
    return lambda row: "-" if row[key] is None else f"{100 * row[key]:.1f}"


def _number(key: str) -> Any:
    return lambda row: "-" if row[key] is None else f"{row[key]:.3f}"


class ForecastAccuracy(ListView):
    """List how forecasts did: their error beside the baseline's, and how often the truth lay inside their intervals.

    With SERVER: of servers of its kind (by resource and activity). Error is wQL, the mean quantile loss by what was used.
    """

    columns = (
        ("Resource", lambda r: r["resource"]),
        ("Kind", lambda r: r["stratum"]),
        ("Window", lambda r: HEADS.get(r["head"], r["head"])),
        ("Model", lambda r: r["predictor"]),
        ("n", lambda r: r["windows"]),
        ("wQL", _number("wql")),
        ("Baseline", _number("baseline_wql")),
        ("Ratio", _number("ratio")),
        ("in 80 %", _share("inside80")),
        ("in 90 %", _share("inside90")),
        ("in 98 %", _share("inside98")),
        ("under q99", _share("below99")),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="SERVER", nargs="?", default="", help="only servers of the kind of this one (id or name)")
        parser.add_argument("--days", metavar="N", type=days, default=7.0, help="forecasts made in the last N days (default 7)")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get("/v1/learning/accuracy", days=parsed.days, server=parsed.server)
