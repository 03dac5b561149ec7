"""``foreshape audit list`` and ``verify``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.numbers import whole
from foreshape_controller.cli.view import Columns, ListView, Row, ShowView, moment


def _status(row: Row) -> str:
    return str(row["status"] or "not known")


COLUMNS: Columns = (
    ("At", lambda r: moment(r["at"])),
    ("User", lambda r: r["name"] or r["user"] or "-"),
    ("Project", lambda r: r["project"] or "-"),
    ("Method", lambda r: r["method"]),
    ("Path", lambda r: r["path"]),
    ("Touched", lambda r: r["scope"] or "-"),
    ("Status", _status),
    ("Cause", lambda r: r["cause"] or "-"),
)
TYPES = {"status": whole(1, 599), "limit": whole(1, 1000)}
FILTERS = ("project", "user", "method", "route", "touched", "cause", "status", "since", "until", "limit", "marker")


class AuditList(ListView):
    """Who changed what, or tried to: the newest first."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        for name, what in (
            ("project", "only of this project's things"),
            ("user", "only by this user (id)"),
            ("method", "POST, PUT, DELETE"),
            ("route", "as the API's reference writes it, as /v1/servers/{name}/tier"),
            ("touched", "server:ID, project:ID, host:NAME, cloud"),
            ("cause", "the id that orders and log lines carry, too"),
            ("status", "403, or 4 for all that were refused"),
            ("since", 'epoch seconds, ISO 8601, or "2h ago"'),
            ("until", "the same"),
            ("limit", "most entries (default 100)"),
            ("marker", "only what is older than the entry with this id"),
        ):
            parser.add_argument(f"--{name}", metavar=name.upper(), type=TYPES.get(name, str), help=what)
        return parser

    def ask(self, parsed: Namespace) -> Any:
        wanted = {n: v for n in FILTERS if (v := getattr(parsed, n)) is not None}
        return self.app.client.get("/v1/audit", **wanted)


class AuditVerify(ShowView):
    """Whether the audit still is what was written. Exit status 1 where it is not."""

    columns = (
        ("Rows", lambda r: r["rows"]),
        ("First", lambda r: r["first"]),
        ("Last", lambda r: r["last"]),
        ("Hash of the last", lambda r: r["head"] or "-"),
        ("Broken at", lambda r: r["broken"] if r["broken"] is not None else "nowhere"),
        ("Why", lambda r: r["why"] or "-"),
    )

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002
        self._found = self.app.client.get("/v1/audit/verify")
        return self._found

    def once(self, parsed: Namespace) -> int:
        return super().once(parsed) or int(self._found["broken"] is not None)
