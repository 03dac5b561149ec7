"""``foreshape statement``: what was used in a month, and what that costs."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from foreshape_controller.cli.errors import CliError
from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.view import MACHINE, ListView, Row, moment


class StatementList(ListView):
    """List the statements of a month: what each project's servers cost, and what they would have cost at their flavors' size."""

    nothing = "Nothing was metered in that month."
    columns = (
        ("Project", lambda r: r["project"]),
        ("Month", lambda r: r["period"]),
        ("State", lambda r: r["state"]),
        ("Total", lambda r: f"{r['total']} {r['currency']}"),
        ("Static flavors", lambda r: r["static"]),
        ("Saved", lambda r: r["saved"]),
        ("Could save", lambda r: r["could_save"]),
        ("Credits", lambda r: r["credits"]),
        ("Shadow", lambda r: "yes" if r["shadow"] else "no"),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--month", metavar="YYYY-MM", default="", help="default: the running one")
        parser.add_argument("--project", metavar="ID", default="", help="only this one")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get("/v1/statements", period=parsed.month, project=parsed.project)


def _rate(row: Row) -> str:
    return "" if not float(row["rate"]) else str(row["rate"])


def _quantity(row: Row) -> str:
    return f"{float(row['quantity']):,.3f}".rstrip("0").rstrip(".") if float(row["quantity"]) else ""


class StatementShow(ListView):
    """Show a project's statement of a month; with --csv every single line goes into a file."""

    columns = (
        ("Server", lambda r: r["name"] or r["server"]),
        ("Item", lambda r: r["item"]),
        ("Quantity", _quantity),
        ("Unit", lambda r: r["unit"]),
        ("Rate", _rate),
        ("Amount", lambda r: r["amount"]),
        ("Why", lambda r: r["why"]),
        ("Causes", lambda r: " ".join(r["causes"])),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("month", metavar="YYYY-MM", help="the month")
        parser.add_argument("--project", metavar="ID", default="", help="default: that of the token; operators have to say it")
        parser.add_argument("--by", choices=("meter", "server", "day", "line"), default="meter", help="added up by what (default: meter)")
        parser.add_argument("--csv", metavar="FILE", type=Path, help="write its lines into this file, too")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        path = f"/v1/statements/{segment(parsed.month)}"
        answer = self.app.client.get(path, project=parsed.project, by=parsed.by)
        if parsed.csv:
            _write(parsed.csv, self.app.client.text(f"{path}/csv", project=parsed.project, by="line"))
        if parsed.formatter not in MACHINE:
            self._say(answer)
        return answer

    def rows(self, answer: Any) -> list[Row]:
        return list(answer["lines"])

    def _say(self, answer: Row) -> None:
        money = answer["currency"]
        state = f"closed on {moment(answer['closed_at'])}" if answer["closed_at"] else f"open; metered until {moment(answer['until'])}"
        self.app.stdout.write(
            f"Project {answer['project']}, {answer['period']}, {state}; rates {answer['card']}.\n"
            f"{answer['note']}\n"
            f"Total {answer['total']} {money}, credits {answer['credits']}, for earlier months {answer['adjustments']}.\n"
            f"The same servers at their flavors' size: {answer['static']}; saved {answer['saved']}, "
            f"and {answer['could_save']} more could be.\n"
        )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as e:
        raise CliError(f"{path}: {e.strerror or e}") from e
