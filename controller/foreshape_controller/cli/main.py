"""``foreshape``: the operator's command, a client of the controller's API."""

import argparse
import inspect
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cliff.app import App
from cliff.commandmanager import CommandManager
from cliff.help import HelpExit

from foreshape_controller.cli.errors import EXIT_ERROR, EXIT_USAGE, CliError
from foreshape_controller.cli.numbers import number

if TYPE_CHECKING:
    from foreshape_controller.cli.client import Client

DEFAULT_URL = "http://127.0.0.1:8470"
DEFAULT_TOKEN_FILE = "/var/lib/foreshape/admin-token"  # noqa: S105 - a path
DEFAULT_CA_FILE = "/var/lib/foreshape/tls/ca.pem"
COMMANDS = "foreshape.cli"
EXIT_PIPE = 141
"""As a shell reports a program that SIGPIPE ended."""


class Foreshape(App):
    """Global options, one client for the command, and errors as sentences with their exit code."""

    DEFAULT_VERBOSE_LEVEL = 0  # cliff's own default shows the HTTP client's log lines

    def __init__(self) -> None:
        super().__init__(
            description="Keeps every VM of an OpenStack/KVM cloud the size it is about to need.",
            version=_version(),
            command_manager=CommandManager(COMMANDS),
            deferred_help=True,  # a command with --help gets its own help
        )
        self._client: Client | None = None
        self.failed: CliError | None = None

    def build_option_parser(
        self, description: str | None, version: str | None, argparse_kwargs: dict[str, Any] | None = None
    ) -> argparse.ArgumentParser:
        # No abbreviations: the global options are looked for in all words, and a command's --to would be taken for --token-file.
        parser = super().build_option_parser(description, version, {"allow_abbrev": False} | (argparse_kwargs or {}))
        parser.add_argument(
            "--url",
            metavar="URL",
            default=os.environ.get("FORESHAPE_URL", DEFAULT_URL),
            help=f"the controller's address (env FORESHAPE_URL, default {DEFAULT_URL})",
        )
        parser.add_argument(
            "--token-file",
            metavar="FILE",
            type=Path,
            default=_named_token_file(),
            help=f"the operators' token (env FORESHAPE_TOKEN_FILE; else Keystone's token of env OS_TOKEN, else {DEFAULT_TOKEN_FILE})",
        )
        parser.add_argument(
            "--ca-file",
            metavar="FILE",
            type=Path,
            default=_default_ca(),
            help=f"CA that signed the controller's certificate (env FORESHAPE_CA_FILE, default {DEFAULT_CA_FILE} if it is there, "
            "else the system's)",
        )
        parser.add_argument(
            "--timeout", metavar="SECONDS", type=number(0.1, 86400), default=15.0, help="give up after this long (default 15)"
        )
        return parser

    @property
    def client(self) -> "Client":
        """Made at the first request: commands that ask nothing need no token, and start faster."""
        if self._client is None:
            from foreshape_controller.cli.client import Access, Client  # noqa: PLC0415 - httpx costs a tenth of a second

            o = self.options
            keystone = "" if o.token_file else os.environ.get("OS_TOKEN", "")
            file = o.token_file or Path(DEFAULT_TOKEN_FILE)
            self._client = Client(
                Access(url=o.url.rstrip("/"), token_file=file, ca_file=o.ca_file, timeout_s=o.timeout, keystone_token=keystone)
            )
        return self._client

    def run_subcommand(self, argv: list[str]) -> int:
        """As cliff does, with our exit codes, and with mistakes on standard error."""
        try:
            factory, name, rest = self.command_manager.find_command(argv)
        except ValueError:
            return self._unknown_command(argv)
        extra = {"cmd_name": name} if "cmd_name" in inspect.getfullargspec(factory.__init__).args else {}
        command = factory(self, self.options, **extra)
        parsed = command.get_parser(f"foreshape {name}").parse_args(rest)
        return self._run(command, parsed)

    def _run(self, command: Any, parsed: argparse.Namespace) -> int:
        try:
            return int(command.run(parsed) or 0)
        except HelpExit:
            return 0
        except BrokenPipeError:  # `foreshape server list | head`: nobody reads on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_PIPE
        except CliError as e:
            return self._say(str(e), e.exit_code)
        except ValueError as e:  # cliff's own: a column that does not exist
            return self._say(str(e), EXIT_USAGE)
        except KeyError as e:  # the package was upgraded, and the controller not restarted; or the other way round
            said = f"the controller's answer lacks {e}: is it another version than this command? restart it after an upgrade"
            return self._say(f"{said} (--debug shows the trace)", EXIT_ERROR)
        except Exception as e:  # noqa: BLE001 - an operator gets a sentence; --debug gets the trace
            return self._say(f"unexpected: {type(e).__name__}: {e}; repeat with --debug for the trace", EXIT_ERROR)
        finally:
            if self._client is not None:
                self._client.close()

    def _say(self, sentence: str, code: int) -> int:
        self.stderr.write(f"foreshape: {sentence}\n")
        if self.options.debug:
            logging.getLogger("foreshape").debug("trace", exc_info=True)
        return code

    def _unknown_command(self, argv: list[str]) -> int:
        words = " ".join(argv)
        near = ", ".join(repr(m) for m in self.get_fuzzy_matches(argv[0]))
        hint = f"did you mean {near}?" if near else "see foreshape --help"
        return self._say(f"{words!r} is not a command: {hint}", EXIT_USAGE)

    def interact(self) -> None:
        """Without a command: the help, not cliff's shell."""
        self.run_subcommand(["help"])
        raise SystemExit(EXIT_USAGE)


def _named_token_file() -> Path | None:
    named = os.environ.get("FORESHAPE_TOKEN_FILE")
    return Path(named) if named else None


def _default_ca() -> Path | None:
    named = os.environ.get("FORESHAPE_CA_FILE")
    if named:
        return Path(named)
    usual = Path(DEFAULT_CA_FILE)
    return usual if usual.exists() else None


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - cliff has loaded it already

    try:
        return version("foreshape")
    except PackageNotFoundError:
        return "unknown"


def main(argv: list[str] | None = None) -> int:
    """Entry point of the ``foreshape`` command; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    return int(Foreshape().run(words) or 0)


if __name__ == "__main__":
    sys.exit(main())
