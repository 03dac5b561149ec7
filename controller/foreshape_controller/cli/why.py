"""``foreshape why SERVER`` and ``foreshape why --cause ID``: why a server has the size it has."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any

from foreshape_controller.cli.errors import UsageError
from foreshape_controller.cli.server import server_path
from foreshape_controller.cli.view import ShowView
from foreshape_controller.model.moment import read_moment


def instant(text: str) -> str:
    """A time as the API takes it. What "ago" is counted from, the controller's clock says."""
    try:
        read_moment(text, now=1e10)
    except ValueError as e:
        raise ArgumentTypeError(str(e)) from None
    return text.strip()


class Why(ShowView):
    """Say why a server has the size it has: the decision in force, what it led to, and what really came afterwards."""

    text_default = True

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="SERVER", nargs="?", help="id, or name where only one has it")
        parser.add_argument(
            "--at", metavar="TIME", type=instant, help="at this time: ISO 8601 in UTC, '2h ago', epoch seconds; default now"
        )
        parser.add_argument("--cause", metavar="ID", help="the decision with this cause id, as orders, outcomes and log lines name it")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        if bool(parsed.server) == bool(parsed.cause):
            raise UsageError("name a server, or a cause with --cause ID: one of the two")
        if parsed.cause:
            if parsed.at is not None:
                raise UsageError("--at goes with a server: a cause has its own time")
            return self.app.client.get("/v1/why", cause=parsed.cause)
        params = {} if parsed.at is None else {"at": parsed.at}
        return self.app.client.get(server_path(parsed, "/why"), **params)

    def text(self, answer: Any, parsed: Namespace) -> str:  # noqa: ARG002 - the sentences are the text
        said = answer["sentences"] or ["nothing was decided for it yet: the next plan will"]
        return "\n".join([f"{answer['name']} ({answer['server']})", *(f"  {s}" for s in said)])
