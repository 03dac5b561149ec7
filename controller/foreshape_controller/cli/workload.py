"""``foreshape workload list``, ``show``, ``declare`` and ``clear``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from cliff.command import Command

from foreshape_controller.cli.server import add_server, server_path
from foreshape_controller.cli.view import Columns, ListView, Row, ShowView, moment

WORKS = ("idle", "steady", "diurnal", "bursty", "batch")
DISKS = ("read-heavy", "write-heavy", "mixed")


def _by(row: Row) -> str:
    return "declared" if row["declared"] else f"{row['confidence']:.0%} sure"


def _seen(row: Row) -> str:
    return f"{row['inferred']}, {row['inferred_confidence']:.0%} sure"


COLUMNS: Columns = (
    ("Server", lambda r: r["name"]),
    ("Workload", lambda r: r["workload"]),
    ("Told by", _by),
    ("Disk", lambda r: r["read_write"] or "-"),
    ("Inferred", _seen),
    ("Since", lambda r: moment(r["at"]) if r["at"] else "-"),
    ("Note", lambda r: r["note"]),
)


class WorkloadList(ListView):
    """List what each server does: declared by people, else inferred from its history."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--class", dest="work", choices=(*WORKS, "unknown"), help="only servers of this class")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        rows = self.app.client.get("/v1/workloads")
        return [r for r in rows if parsed.work in (None, r["workload"])]


class WorkloadShow(ShowView):
    """Show what one server does, and what its history says."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        return add_server(super().get_parser(prog_name))

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(server_path(parsed, "/profile"))


class WorkloadDeclare(ShowView):
    """Say what a server does; it counts before what its history says, until it is cleared."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = add_server(super().get_parser(prog_name))
        parser.add_argument("work", metavar="CLASS", choices=WORKS, help=", ".join(WORKS))
        parser.add_argument("--disk", choices=DISKS, default="", help="what its disk mostly does (default: inferred)")
        parser.add_argument("--note", metavar="TEXT", default="", help="why; kept with it")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        body = {"class": parsed.work, "read_write": parsed.disk, "note": parsed.note}
        return self.app.client.put(server_path(parsed, "/profile"), body)


class WorkloadClear(Command):
    """Forget what was declared for a server: its history speaks again."""

    app: Any

    def get_parser(self, prog_name: str) -> ArgumentParser:
        return add_server(super().get_parser(prog_name))

    def take_action(self, parsed_args: Namespace) -> None:
        self.app.client.delete(server_path(parsed_args, "/profile"))
        self.app.stdout.write(f"{parsed_args.server}: its class is inferred again.\n")
