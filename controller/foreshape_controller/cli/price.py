"""``foreshape price``: the rates in force, a file checked before it is, and what a size would cost."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from cliff.command import Command

from foreshape_controller.cli.errors import EXIT_USAGE, CliError
from foreshape_controller.cli.local import duration
from foreshape_controller.cli.numbers import exact, whole
from foreshape_controller.cli.view import MACHINE, Columns, ListView, Row, ShowView, moment

ITEMS = ("entitlement", "guaranteed", "burst", "pool", "reservation")
UNITS = {"cpu": "core-hour", "memory": "GiB-hour"}


def _rows(answer: Any) -> list[Row]:
    """A line for each tier and resource."""
    tiers = (answer["card"] or {"tiers": {}})["tiers"]
    return [
        {
            "tier": tier,
            "resource": resource,
            "unit": UNITS[resource],
            **{item: rates[resource][item] for item in ITEMS},
            "freed_discount": rates["freed_discount"],
            "opt_in": rates["opt_in"],
            "accuracy": rates["accuracy"],
            "credits": rates["credits"],
        }
        for tier, rates in tiers.items()
        for resource in UNITS
    ]


def _percent(share: str) -> str:
    return f"{float(share):.0%}"


class _Rates(ListView):
    nothing = "No rate card holds today: nothing costs anything."
    columns: Columns = (
        ("Tier", lambda r: r["tier"]),
        ("Per", lambda r: r["unit"]),
        *((item.capitalize(), lambda r, item=item: r[item]) for item in ITEMS),
        ("Freed", lambda r: f"-{_percent(r['freed_discount'])}"),
        ("Opted in", lambda r: f"{float(r['opt_in']):+.0%}"),
        (
            "Accurate profile",
            lambda r: ", ".join(f"-{_percent(s['discount'])} from {_percent(s['at_least'])}" for s in r["accuracy"]) or "-",
        ),
    )

    def rows(self, answer: Any) -> list[Row]:
        return _rows(answer)

    def say(self, answer: Any, parsed: Namespace) -> None:
        if parsed.formatter in MACHINE:
            return
        begins = answer["card"]["valid_from"] if answer["card"] else "no card"
        since = moment(answer["since"])
        lines = [f"{answer['currency']}, card of {begins}, version {answer['version']}, in force since {since}. {answer['note']}"]
        if answer["currency"] == "XXX":
            lines.append("Examples without a currency: name your own rates in [pricing] rates_file.")
        if answer["next"]:
            lines.append(f"From {answer['next']['valid_from']} on another card holds.")
        lines += [f"  odd: {w}" for w in answer["warnings"]]
        if answer["problems"]:
            lines += ["The file has changed since and is NOT in force:", *(f"  {p}" for p in answer["problems"])]
        self.app.stdout.write("\n".join(lines) + "\n")


class PriceList(_Rates):
    """List what each tier costs today."""

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.get("/v1/prices")
        self.say(answer, parsed)
        return answer


class PriceReload(_Rates):
    """Read the rate file now; a file with a mistake changes nothing, and ends this with exit code 1."""

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.post("/v1/prices/reload")
        self.say(answer, parsed)
        if answer["problems"]:
            count = len(answer["problems"])
            raise CliError(f"{count} problem{'s' if count > 1 else ''} in {answer['file']}: the rates before stay in force")
        return answer


class PriceCheck(Command):
    """Check a rate file and say everything that is wrong with it; no controller is needed. Exit code 2: it has problems."""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("file", metavar="FILE", type=Path, help="the file, as [pricing] rates_file would name it")
        parser.add_argument("--tiers", metavar="FILE", type=Path, help="tiers file whose tiers there are (default: the built-in ones)")
        return parser

    def take_action(self, parsed: Namespace) -> int:
        from foreshape_controller.decide.rates_file import check_rates  # noqa: PLC0415 - start-up time
        from foreshape_controller.decide.tiers import check_tiers  # noqa: PLC0415 - start-up time

        tiers = check_tiers(_read(parsed.tiers) if parsed.tiers else "").tiers
        if tiers is None:
            raise CliError(f"{parsed.tiers} has problems of its own: 'foreshape tier check {parsed.tiers}' names them")
        text = _read(parsed.file)
        found = check_rates(text, tiers.tiers)
        problems = found.problems if text.strip() else ("the file is empty",)
        for problem in problems:
            self.app.stdout.write(f"problem: {problem}\n")
        for warning in found.warnings:
            self.app.stdout.write(f"odd: {warning}\n")
        if problems or found.cards is None:
            return EXIT_USAGE
        cards = found.cards
        self.app.stdout.write(f"{parsed.file}: {len(cards.cards)} cards in {cards.currency}, version {cards.version}, no problem\n")
        return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise CliError(f"{path} cannot be read: {getattr(e, 'strerror', None) or 'not a text file'}") from e


class PriceQuote(ShowView):
    """Show what a size would cost for a time; nothing is ordered."""

    columns = (
        ("Tier", lambda r: r["tier"]),
        ("Total", lambda r: f"{r['total']} {r['currency']}"),
        ("Per hour", lambda r: f"{r['per_hour']} {r['currency']}"),
        ("Items", lambda r: [f"{n['item']}: {n['quantity']} {n['unit']} × {n['rate']} = {n['amount']}" for n in r["lines"]]),
        ("Rates", lambda r: r["card"]),
        ("Note", lambda r: r["note"]),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--cores", metavar="N", type=exact(0, 1e6, above=True), required=True, help="vCPUs of one server")
        parser.add_argument("--gib", metavar="N", type=exact(0, 1e9, above=True), required=True, help="memory of one server, GiB")
        parser.add_argument("--for", dest="runs", metavar="TIME", type=duration, default=duration("30d"), help="how long (default: 30d)")
        parser.add_argument("--tier", metavar="NAME", default="", help="default: the default tier")
        parser.add_argument("--count", metavar="N", type=whole(1, 1_000_000), default=1, help="how many servers (default: 1)")
        parser.add_argument("--reserved", metavar="TIME", type=duration, default=0, help="how long it is held before")
        parser.add_argument("--pool", metavar="TIME", type=duration, default=0, help="how long a shadow VM waits for it")
        parser.add_argument("--opt-in", action="store_true", help="Foreshape may resize them")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        body = {
            "cores": parsed.cores,
            "gib": parsed.gib,
            "duration_s": parsed.runs,
            "tier": parsed.tier,
            "count": parsed.count,
            "reserved_s": parsed.reserved,
            "pool_s": parsed.pool,
            "opt_in": parsed.opt_in,
        }
        return self.app.client.post("/v1/prices/quote", body)
