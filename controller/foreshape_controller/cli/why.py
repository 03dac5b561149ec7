"""``foreshape why SERVER``: why a server has the size it has."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime
from typing import Any

from foreshape_controller.cli.server import add_server, server_path
from foreshape_controller.cli.view import ShowView


def instant(text: str) -> float:
    """Epoch seconds or ISO 8601 (UTC where no zone is said)."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no time: write 2026-11-21T14:30 (UTC), or seconds since the epoch") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


class Why(ShowView):
    """Say why a server has the size it has: the decision in force, what it led to, what the agent did by itself."""

    text_default = True

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = add_server(super().get_parser(prog_name))
        parser.add_argument("--at", metavar="TIME", type=instant, help="at this time (ISO 8601 in UTC, or epoch seconds); default now")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        params = {} if parsed.at is None else {"at": parsed.at}
        return self.app.client.get(server_path(parsed, "/why"), **params)

    def text(self, answer: Any, parsed: Namespace) -> str:  # noqa: ARG002 - the sentences are the text
        said = answer["sentences"] or ["nothing was decided for it yet: the next plan will"]
        return "\n".join([f"{answer['name']} ({answer['server']})", *(f"  {s}" for s in said)])
