"""``foreshape mode get`` and ``mode set``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.view import MACHINE, Columns, ListView, ShowView, moment

FOLLOWS = {
    "observe": "Foreshape measures and forecasts; it decides nothing and changes nothing there.",
    "advise": "Foreshape decides and explains; it changes nothing there but what somebody approves. See: foreshape plan show",
    "act": "From the next plan on, Foreshape resizes servers there, within their floor and ceiling, "
    "and does what it planned in the cloud, if one is configured: room held, servers migrated and booted ahead. "
    "Stop it with: foreshape stop --reason TEXT. A scope never goes further than the scopes above it.",
}
COLUMNS: Columns = (
    ("Scope", lambda r: r["scope"]),
    ("Mode", lambda r: r["mode"]),
    ("Since", lambda r: moment(r["since"])),
    ("Reason", lambda r: r["reason"]),
)
SCOPE = "cloud, host:NAME, project:ID or server:ID (default cloud)"


class ModeList(ListView):
    """List every scope for which a mode is set; the lowest of cloud, host, project and server wins."""

    columns = COLUMNS

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - the list takes no arguments
        return self.app.client.get("/v1/modes")


class ModeGet(ShowView):
    """Show how far Foreshape may go in a scope."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--scope", metavar="SCOPE", default="cloud", help=SCOPE)
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get("/v1/mode", scope=parsed.scope)


class ModeSet(ShowView):
    """Say how far Foreshape may go in a scope: observe, advise or act."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("mode", metavar="MODE", choices=tuple(FOLLOWS), help="observe, advise or act")
        parser.add_argument("--scope", metavar="SCOPE", default="cloud", help=SCOPE)
        parser.add_argument("--reason", metavar="TEXT", default="", help="why; kept with the change")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.put("/v1/mode", {"scope": parsed.scope, "mode": parsed.mode, "reason": parsed.reason})
        if parsed.formatter not in MACHINE:
            self.app.stdout.write(f"{answer['scope']}: {answer['mode']}. {FOLLOWS[answer['mode']]}\n")
        return answer
