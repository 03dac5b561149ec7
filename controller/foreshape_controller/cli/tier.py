"""``foreshape tier``: the policy in force, a file checked before it is, and the tier of one server."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from cliff.command import Command

from foreshape_controller.cli.errors import EXIT_USAGE, CliError
from foreshape_controller.cli.local import who
from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.view import MACHINE, Columns, ListView, Row, ShowView, moment

COLUMNS: Columns = (
    ("Name", lambda r: r["name"]),
    ("Servers", lambda r: r["servers"]),
    ("Weight × criticality", lambda r: f"{r['weight']:g} × {r['criticality']:g}"),
    ("Throttled", lambda r: r["throttle_order"]),
    ("Moved", lambda r: r["migrate_order"]),
    ("Violations", lambda r: f"{r['violation_target']:.2%}"),
    ("CPU quantile / floor", lambda r: _rules(r["cpu"])),
    ("Memory quantile / floor", lambda r: _rules(r["memory"])),
    ("May shrink", lambda r: "yes" if r["may_shrink"] else "no"),
    ("May reclaim", lambda r: "yes" if r["may_reclaim"] else "no"),
)


def _rules(rules: Row) -> str:
    return f"{rules['quantile']:g} / {rules['floor_share']:.0%}"


class _Policy(ListView):
    """A policy as a list of its tiers, and above it what is in force."""

    columns = COLUMNS

    def rows(self, answer: Any) -> list[Row]:
        return list(answer["tiers"])

    def say(self, answer: Any, parsed: Namespace) -> None:
        if parsed.formatter in MACHINE:
            return
        file = answer["file"] or "the built-in tiers"
        lines = [f"In force since {moment(answer['since'])}: {file}, {answer['hash'][:12]}; default {answer['default']}"]
        lines += [f"  odd: {w}" for w in answer["warnings"]]
        if answer["problems"]:
            lines += ["The file has changed since and is NOT in force:", *(f"  {p}" for p in answer["problems"])]
        self.app.stdout.write("\n".join(lines) + "\n")


class TierList(_Policy):
    """List the tiers in force, and what is wrong with a file that is not."""

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.get("/v1/tiers")
        self.say(answer, parsed)
        return answer


class TierReload(_Policy):
    """Read the tiers file now; a file with a mistake changes nothing, and ends this with exit code 1."""

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.post("/v1/tiers/reload")
        self.say(answer, parsed)
        if answer["problems"]:
            count = len(answer["problems"])
            raise CliError(f"{count} problem{'s' if count > 1 else ''} in {answer['file']}: the tiers before stay in force")
        return answer


class TierShow(ShowView):
    """Show one tier as decisions are made by it now, feedback included."""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="name of the tier, as in tier list")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(f"/v1/tiers/{segment(parsed.name)}")


class TierCheck(Command):
    """Check a tiers file and say everything that is wrong with it; no controller is needed. Exit code 2: it has problems."""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("file", metavar="FILE", type=Path, help="the file, as [plan] tiers_file would name it")
        return parser

    def take_action(self, parsed: Namespace) -> int:
        from foreshape_controller.decide.tiers import check_tiers  # noqa: PLC0415 - start-up time

        try:
            found = check_tiers(parsed.file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as e:
            raise CliError(f"{parsed.file} cannot be read: {getattr(e, 'strerror', None) or 'not a text file'}") from e
        for problem in found.problems:
            self.app.stdout.write(f"problem: {problem}\n")
        for warning in found.warnings:
            self.app.stdout.write(f"odd: {warning}\n")
        if found.tiers is None:
            return EXIT_USAGE
        self.app.stdout.write(f"{parsed.file}: {len(found.tiers.tiers)} tiers, {len(found.tiers.rules)} rules, no problem\n")
        return 0


class TierSet(ShowView):
    """Put a server into a tier; this comes before every rule of the tiers file."""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="SERVER", help="id or name of the server")
        parser.add_argument("tier", metavar="TIER", help="name of the tier, as in tier list")
        parser.add_argument("--reason", metavar="TEXT", default="", help="why; kept in the controller's log")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        body = {"tier": parsed.tier, "reason": parsed.reason, "by": who()}
        return self.app.client.put(f"/v1/servers/{segment(parsed.server)}/tier", body)


class TierUnset(TierSet):
    """Let the tiers file say again which tier a server is in."""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = ShowView.get_parser(self, prog_name)
        parser.add_argument("server", metavar="SERVER", help="id or name of the server")
        parser.add_argument("--reason", metavar="TEXT", default="", help="why; kept in the controller's log")
        parser.set_defaults(tier="")
        return parser
