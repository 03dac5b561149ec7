"""``foreshape optout``, ``optin`` and ``choice list``: how far the owner of servers lets Foreshape go."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.errors import UsageError
from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.view import MACHINE, Columns, ListView, ShowView, moment

COLUMNS: Columns = (
    ("Scope", lambda r: r["scope"]),
    ("Name", lambda r: r["name"]),
    ("Chosen", lambda r: r["mode"] or f"nothing ({r['default']})"),
    ("Operators", lambda r: r["operators"]),
    ("In force", lambda r: r["in_force"]),
    ("Since", lambda r: moment(r["since"]) if r["since"] else ""),
    ("By", lambda r: r["by"]),
    ("Reason", lambda r: r["reason"]),
    ("Going back", lambda r: r["returning"]),
)


class ChoiceList(ListView):
    """List what owners chose for their projects and servers; the lowest of it and of the operators' modes is in force."""

    columns = COLUMNS

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - the list takes no arguments
        return self.app.client.get("/v1/choices")


class _Choose(ShowView):
    columns = COLUMNS
    mode = "observe"

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="SERVER", nargs="?", help="id or name of a server; or --project")
        parser.add_argument("--project", metavar="ID", nargs="?", const="", help="a whole project; without an id your own")
        parser.add_argument("--reason", metavar="TEXT", default="", help="why; kept with the change")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.put(f"/v1/choices/{segment(_scope(parsed))}", {"mode": self.mode, "reason": parsed.reason})
        if parsed.formatter not in MACHINE:
            self.app.stdout.write(f"{answer['name']}: {answer['said']}.\n")
            if answer["returning"]:
                self.app.stdout.write(f"{answer['returning']} servers are being given back what they were sold: foreshape choice list\n")
        return answer


class OptOut(_Choose):
    """Opt out: from now on nothing is changed, and servers get back what they were sold. Needs nobody's consent."""


class OptIn(_Choose):
    """Opt in, up to what the operators allow."""

    mode = "act"


def _scope(parsed: Namespace) -> str:
    if (parsed.server is None) == (parsed.project is None):
        raise UsageError("name a server, or --project for a whole one")
    if parsed.server is not None:
        return f"server:{parsed.server}"
    return f"project:{parsed.project}" if parsed.project else "project"
