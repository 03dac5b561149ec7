"""``foreshape policy show`` and ``policy set``: the text behind the tiers, as the controller has it."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from foreshape_controller.cli.errors import CliError
from foreshape_controller.cli.view import Columns, ShowView

PATH = "/v1/policy"
SHORT = 12
COLUMNS: Columns = (
    ("File", lambda r: r["file"] or "none: the built-in tiers"),
    ("In force", lambda r: r["in_force"][:SHORT]),
    ("This text is in force", lambda r: "yes" if r["current"] else "no"),
    ("Problems", lambda r: "\n".join(r["problems"]) or "-"),
    ("Odd", lambda r: "\n".join(r["warnings"]) or "-"),
    ("Cannot be written", lambda r: r["read_only"] or "-"),
)


class PolicyShow(ShowView):
    """Print tiers.yaml as the controller has it, to be edited and set; -f table says whether it is in force."""

    text_default = True
    columns = COLUMNS

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - it takes no arguments
        return self.app.client.get(PATH)

    def text(self, answer: Any, parsed: Namespace) -> str:  # noqa: ARG002 - one way to say it
        state = "" if answer["current"] else f", and that is NOT this text: {'; '.join(answer['problems'])}"
        self.app.stderr.write(f"In force: {answer['in_force'][:SHORT]}{state}\n")
        return answer["text"] or "# The built-in tiers: etc/foreshape/tiers.yaml of the source has them with every key."

    def say_if_simulated(self, parsed: Namespace) -> None:
        """What is printed may be kept as a file."""
        if parsed.formatter != "text":
            super().say_if_simulated(parsed)


class PolicySet(ShowView):
    """Write tiers.yaml anew, where the controller may, and decide by it from now on. A text with a mistake changes nothing."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("file", metavar="FILE", type=Path, help="the new text, all of it")
        parser.add_argument("--reason", metavar="TEXT", default="", help="why; kept in the controller's log")
        parser.add_argument("--replaces", metavar="HASH", default="", help="only while this is in force, as policy show says")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        try:
            text = parsed.file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise CliError(f"{parsed.file} cannot be read: {getattr(e, 'strerror', None) or 'not a text file'}") from e
        before, tag = self.app.client.tagged(PATH)
        if not before["in_force"].startswith(parsed.replaces):
            raise CliError(
                f"not written: {before['in_force'][:SHORT]} is in force, not {parsed.replaces[:80]}: somebody has changed it meanwhile; "
                "read it again with 'foreshape policy show'"
            )
        return self.app.client.put(PATH, {"text": text, "reason": parsed.reason}, tag)
