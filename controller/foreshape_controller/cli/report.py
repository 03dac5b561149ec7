"""``foreshape report tiers``: how tiers did, against what they promise; ``foreshape lever list``: how long guests waited."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import Any

from foreshape_controller.cli.event import seconds
from foreshape_controller.cli.view import MACHINE, ListView, Row, moment


def _percent(key: str, digits: int = 1) -> Callable[[Row], str]:
    return lambda row: "-" if row[key] is None else f"{100 * row[key]:.{digits}f} %"


def _number(key: str, digits: int = 1) -> Callable[[Row], str]:
    return lambda row: "-" if row[key] is None else f"{row[key]:.{digits}f}"


def _factors(row: Row) -> str:
    return f"× {row['headroom']:.2f} / × {row['hold']:.2f}"


def _right(row: Row) -> str:
    """Growths that came true, shrinks that were not short, holds that were not."""
    kept = [None if row[k] is None else 1 - row[k] for k in ("shrank_short_share", "held_short_share")]
    shares = (row["grew_came_share"], *kept)
    return " / ".join("-" if s is None else f"{100 * s:.0f} %" for s in shares)


class ReportTiers(ListView):
    """List how each tier did: violations against its target, slack, resizes, what feedback made of it, whether decisions were right."""

    nothing = ""
    columns = (
        ("Tier", lambda r: r["tier"]),
        ("Resource", lambda r: r["resource"]),
        ("VM-days", lambda r: f"{r['vm_days']:.1f}"),
        ("Violated", _percent("violation_share", 2)),
        ("Target", _percent("violation_target", 2)),
        ("Short", _percent("short_share", 2)),
        ("Slack", _percent("slack", 0)),
        ("Has of sold", _percent("allocation_of_entitlement", 0)),
        ("Resizes a day", _number("resizes_per_vm_day")),
        ("Headroom / hold", _factors),
        ("By forecast", _percent("changed_share")),
        ("Right: grew / shrank / held", _right),
        ("Sold", _number("price_sold", 2)),
        ("Freed", _number("price_freed", 2)),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--since", metavar="TIME", type=seconds, default=86400.0, help="how far back: 24h, 7d, 90min (default 24h)")
        parser.add_argument("--reasons", action="store_true", help="say why each tier's headroom and hold time are what they are")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.get("/v1/tiers/report", since_s=parsed.since)
        for row in answer["rows"]:
            row["vm_days"] = row["bins"] * answer["step_s"] / 86400
        if answer["alarm"]:
            self.app.stderr.write(f"ALARM: {answer['alarm']}\n")
        if parsed.formatter not in MACHINE:
            self._preface(answer, parsed)
        return answer

    def _preface(self, answer: Any, parsed: Namespace) -> None:
        out = self.app.stdout
        if not answer["rows"]:
            out.write("Nothing is judged yet: a half-hour is, once it is over and plans were made in it.\n")
            return
        share = answer["changed_share"]
        said = "" if share is None else f" Forecasts changed {100 * share:.1f} % of the decisions."
        out.write(f"From {moment(answer['since'])} to {moment(answer['until'])}.{said}\n")
        if parsed.reasons:
            for row in answer["rows"]:
                out.write(f"{row['tier']} {row['resource']}: {row['factor_reason'] or 'nothing was learned yet'}.\n")

    def rows(self, answer: Any) -> Sequence[Row]:
        return list(answer["rows"])


class LeverList(ListView):
    """List the levers that orders pulled in the last 30 days (the newest 20,000): how long guests waited for the proof, what failed."""

    columns = (
        ("Lever", lambda r: r["lever"]),
        ("Way", lambda r: r["direction"]),
        ("Count", lambda r: r["pulls"]),
        ("Failed", lambda r: r["failed"]),
        ("Median s", _number("median_s")),
        ("p95 s", _number("p95_s")),
        ("Lever alone p95 s", _number("own_p95_s")),
        ("Lead s", _number("lead_s")),
    )

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - no arguments
        return self.app.client.get("/v1/levers")
