"""``foreshape stop`` and ``foreshape resume``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.local import who
from foreshape_controller.cli.mode import COLUMNS, FOLLOWS, SCOPE
from foreshape_controller.cli.view import MACHINE, ShowView


class Stop(ShowView):
    """Stop everything at once: nothing is decided or ordered in a scope, and orders that wait are withdrawn."""

    columns = (*COLUMNS, ("Orders withdrawn", lambda r: r["withdrawn"]), ("of these with an agent", lambda r: r["with_agents"]))

    def get_parser(self, prog_name: str) -> ArgumentParser:
        return _scoped(super().get_parser(prog_name))

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.post("/v1/stop", _body(parsed))
        if parsed.formatter not in MACHINE:
            self.app.stdout.write(f"{answer['scope']}: stopped. Go on with: foreshape resume --scope {answer['scope']} --reason TEXT\n")
            if answer["with_agents"]:
                said = f"{answer['with_agents']} orders were with their agents already: these may still be carried out"
                self.app.stdout.write(f"{said}; see them with: foreshape why SERVER\n")
        return answer


class Resume(ShowView):
    """Let a scope that was stopped go on as before."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        return _scoped(super().get_parser(prog_name))

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.post("/v1/resume", _body(parsed))
        if parsed.formatter not in MACHINE:
            self.app.stdout.write(f"{answer['scope']}: {answer['mode']}. {FOLLOWS[answer['mode']]}\n")
        return answer


def _scoped(parser: ArgumentParser) -> ArgumentParser:
    parser.add_argument("--scope", metavar="SCOPE", default="cloud", help=SCOPE)
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why; kept with the change")
    return parser


def _body(parsed: Namespace) -> dict[str, str]:
    return {"scope": parsed.scope, "reason": parsed.reason, "by": who()}
