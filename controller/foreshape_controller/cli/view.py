"""How answers are shown: ``-f json|yaml|csv`` gives the API's own fields, ``table`` and ``text`` what fits a person's eye.

``-c`` may name any of both. A simulated cloud says so on every screen a person reads.
"""

import csv
import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from operator import methodcaller
from time import sleep
from typing import Any, TextIO

from cliff.columns import FormattableColumn
from cliff.formatters.base import SingleFormatter
from cliff.lister import Lister
from cliff.show import ShowOne
from stevedore import ExtensionManager
from stevedore.extension import Extension

from foreshape_controller.cli.errors import Unreachable
from foreshape_controller.cli.numbers import number

Row = dict[str, Any]
Columns = tuple[tuple[str, Callable[[Row], Any]], ...]
"""Header, and how its cell is made from the API's answer."""

MACHINE = ("json", "yaml", "csv")
SIMULATED = "SIMULATED: these hosts and servers do not exist."


class Structure(FormattableColumn[Any]):
    """A nested value: itself for machines, one line per item for people."""

    def human_readable(self) -> str:
        items = self._value
        if isinstance(items, dict):
            return printable("\n".join(f"{k}: {v}" for k, v in items.items()))
        return printable("\n".join(_line(i) for i in items))


def _line(item: Any) -> str:
    return ", ".join(f"{k}={v}" for k, v in item.items() if v not in ("", None)) if isinstance(item, dict) else str(item)


class Amount(FormattableColumn[float]):
    """A number: whole for machines, to two places for people."""

    def human_readable(self) -> str:
        return f"{self._value:.2f}".rstrip("0").rstrip(".")


def cell(value: Any, form: str) -> Any:
    """A value as a cell: whole for machines (JSON inside CSV where it is nested), readable for people."""
    nested = isinstance(value, dict | list | tuple)
    if form == "csv":
        return json.dumps(value) if nested else no_formula(value)
    if isinstance(value, float):
        return Amount(value)
    if isinstance(value, str) and form not in MACHINE:
        return printable(value)
    return Structure(value) if nested else value


def no_formula(value: Any) -> Any:
    """What a spreadsheet would run begins with an apostrophe: names and reasons are other people's words."""
    runs = isinstance(value, str) and len(value) > 1 and (value.lstrip()[:1] in ("=", "+", "-", "@") or value[:1] in ("\t", "\r", "\n"))
    return f"'{value}" if runs else value


def printable(text: str) -> str:
    """Without what a terminal would obey: names and reasons are other people's words."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\n" else " " for c in text)


class CsvSingle(SingleFormatter):
    """One object as a header and one row; cliff itself has CSV for lists only."""

    def add_argument_group(self, parser: ArgumentParser) -> None:
        """No options."""

    def emit_one(self, column_names: Sequence[str], data: Iterable[Any], stdout: TextIO, parsed_args: Namespace) -> None:  # noqa: ARG002
        writer = csv.writer(stdout, quoting=csv.QUOTE_NONNUMERIC, lineterminator=os.linesep)
        writer.writerow(column_names)
        writer.writerow(data)


WATCHABLE = frozenset({"list", "show", "get", "report", "status", "accuracy", "summary", "drains", "chart", "why"})
"""Last words of commands that only read: these may be repeated."""
CLEAR = "\x1b[H\x1b[2J"


class _Text(CsvSingle):
    """A name for ``-f text``: what it prints is the command's own ``text``."""


class _View:
    """What lists and single objects share: the client, the choice of columns, the word SIMULATED."""

    columns: Columns = ()
    text_default = False
    """Whether ``-f text`` exists and is the default: the command then has ``text``."""
    app: Any
    default_machine_columns: tuple[str, ...] = ()

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        if prog_name.rsplit(maxsplit=1)[-1] in WATCHABLE:
            text = "ask again every so many seconds (default 5) until Ctrl-C"
            parser.add_argument("--watch", metavar="SECONDS", nargs="?", type=number(0.5, 86400), const=5.0, help=text)
        return parser

    def run(self, parsed: Namespace) -> int:
        """Once, or again and again."""
        if getattr(parsed, "watch", None) is None:
            return self.once(parsed)
        return _watched(self, parsed)

    def once(self, parsed: Namespace) -> int:
        """Ask and show; the exit code."""
        if parsed.formatter == "text":
            return _print_text(self, parsed)
        return int(super().run(parsed))  # type: ignore[misc]

    def ask(self, parsed: Namespace) -> Any:
        """The API's answer; commands implement it."""
        raise NotImplementedError

    def text(self, answer: Any, parsed: Namespace) -> str:
        """The answer as text for a person; commands implement it."""
        raise NotImplementedError

    def say_if_simulated(self, parsed: Namespace) -> None:
        if parsed.formatter not in MACHINE and self.app.client.simulated:
            self.app.stdout.write(f"{SIMULATED}\n")

    def chosen(self, parsed: Namespace, first: Row) -> Columns:
        """Machines get every field; people the short columns, or any field they name with ``-c``."""
        raw: Columns = tuple((key, methodcaller("get", key)) for key in first)
        if parsed.formatter in MACHINE and not parsed.columns:
            return raw
        if not parsed.columns:
            return self.columns or raw
        taken = {header.lower().replace(" ", "_") for header, _ in raw}
        return raw + tuple(c for c in self.columns if c[0].lower().replace(" ", "_") not in taken)

    def with_formatters(self, manager: ExtensionManager[Any], extra: dict[str, type]) -> ExtensionManager[Any]:
        """The formatters that cliff lacks, only in our own commands (an entry point would change every cliff program here)."""
        for name, factory in extra.items():
            if name not in manager.names():
                entry = EntryPoint(name, f"{factory.__module__}:{factory.__name__}", manager.namespace)
                manager.extensions.append(Extension(name, entry, factory, factory()))
        return manager


class ListView(_View, Lister):
    """A list of the API's objects."""

    nothing = "There are none."
    """What a person reads instead of an empty table."""

    def _load_formatter_plugins(self) -> ExtensionManager[Any]:
        manager: ExtensionManager[Any] = ExtensionManager(self.formatter_namespace, invoke_on_load=True)
        return self.with_formatters(manager, {"text": _Text} if self.text_default else {})

    @property
    def formatter_default(self) -> str:
        return "text" if self.text_default else "table"

    def rows(self, answer: Any) -> Sequence[Row]:
        """Rows of an answer that is not itself a list."""
        return list(answer)

    def take_action(self, parsed: Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        rows = self.rows(self.ask(parsed))
        self.say_if_simulated(parsed)
        if not rows and parsed.formatter == "table":
            self.app.stdout.write(self.nothing)  # the empty table is the end of the line
        columns = self.chosen(parsed, rows[0]) if rows else self.columns
        return [c[0] for c in columns], [[cell(make(row), parsed.formatter) for _, make in columns] for row in rows]


class PastView(ListView):
    """A list of what is open, and with ``--all`` of what is over, too."""

    past = "also those that ended within a week"

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--all", action="store_true", help=self.past)
        return parser

    def get(self, url: str, parsed: Namespace, **query: str) -> Any:
        """Ask for the list."""
        return self.app.client.get(url, all=str(parsed.all).lower(), **query)


class ShowView(_View, ShowOne):
    """One of the API's objects."""

    def _load_formatter_plugins(self) -> ExtensionManager[Any]:
        manager: ExtensionManager[Any] = ExtensionManager(self.formatter_namespace, invoke_on_load=True)
        extra: dict[str, type] = {"csv": CsvSingle}
        return self.with_formatters(manager, extra | ({"text": _Text} if self.text_default else {}))

    @property
    def formatter_default(self) -> str:
        return "text" if self.text_default else "table"

    def take_action(self, parsed: Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        answer = self.ask(parsed)
        self.say_if_simulated(parsed)
        columns = self.chosen(parsed, answer)
        return [c[0] for c in columns], [cell(make(answer), parsed.formatter) for _, make in columns]


def _watched(view: _View, parsed: Namespace) -> int:
    """A controller that is away for a moment is waited for; any other error ends it."""
    out = view.app.stdout
    try:
        while True:
            if out.isatty():
                out.write(CLEAR)
            if parsed.formatter not in MACHINE:
                out.write(f"every {parsed.watch:g} s, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC; Ctrl-C ends it\n\n")
            try:
                view.once(parsed)
            except Unreachable as e:
                view.app.stderr.write(f"foreshape: {e}\n")
            out.write("\n")
            out.flush()
            sleep(parsed.watch)
    except KeyboardInterrupt:
        return 0


def _print_text(view: _View, parsed: Namespace) -> int:
    answer = view.ask(parsed)
    view.say_if_simulated(parsed)
    view.app.stdout.write(printable(view.text(answer, parsed)).rstrip("\n") + "\n")
    return 0


def amounts(*values: float | None, digits: int = 2) -> str:
    """``0.52 / 1.00 / 4.00``, with ``-`` for what is not known."""
    return " / ".join("-" if v is None else f"{v:.{digits}f}" for v in values)


def moment(at: float) -> str:
    """An instant, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def ago(seconds: float) -> str:
    """An age, in the unit a person would say."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
