"""``foreshape halt list`` and ``halt clear``: what the guard stopped by itself."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.local import who
from foreshape_controller.cli.view import Columns, ListView, moment

STATES = {"open": "halted", "half_open": "one order is tried"}
COLUMNS: Columns = (
    ("Scope", lambda r: r["scope"]),
    ("Kind", lambda r: r["kind"]),
    ("State", lambda r: STATES.get(r["state"], r["state"])),
    ("Since", lambda r: moment(r["since"])),
    ("Until", lambda r: moment(r["until"])),
    ("Times", lambda r: r["trips"]),
    ("Reason", lambda r: r["reason"]),
)


class HaltList(ListView):
    """List where Foreshape orders less than it would: orders failed, somebody else changes sizes, measurements are missing."""

    nothing = "Nothing is halted."
    columns = COLUMNS

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - the list takes no arguments
        return self.app.client.get("/v1/halts")


class HaltClear(ListView):
    """Say that a scope is in order again; what was before does not count any more."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("scope", metavar="SCOPE", help="cloud, host:NAME or server:ID, as in halt list")
        parser.add_argument("--reason", metavar="TEXT", required=True, help="why; kept in the controller's log")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.post("/v1/halts/clear", {"scope": parsed.scope, "reason": parsed.reason, "by": who()})
        return [{**halt, "state": "cleared"} for halt in answer]
