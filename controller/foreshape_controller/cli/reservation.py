"""``foreshape reservation create``, ``approve``, ``list``, ``show``, ``release`` and ``audit``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.event import seconds
from foreshape_controller.cli.local import instant, who
from foreshape_controller.cli.numbers import whole
from foreshape_controller.cli.paths import path
from foreshape_controller.cli.view import Columns, PastView, Row, ShowView, ago, moment

_UNITS = (("VCPU", "VCPU"), ("MEMORY_MB", "MiB"), ("DISK_GB", "GiB"))


def _each(row: Row) -> str:
    named = [f"{row['resources'][name]} {unit}" for name, unit in _UNITS if name in row["resources"]]
    others = [f"{amount} {name}" for name, amount in row["resources"].items() if name not in dict(_UNITS)]
    return ", ".join([*named, *others])


def _ends(row: Row) -> str:
    return f"{moment(row['until'])}, in {ago(row['left_s'])}" if row["left_s"] else moment(row["changed"])


def _write(write: Row) -> str:
    said = f" ({write['said']})" if write["said"] else ""
    return f"{moment(write['at'])} {write['what']} {write['subject']}: {write['outcome']}{said}; {write['reason']}"


COLUMNS: Columns = (
    ("Id", lambda r: r["id"]),
    ("Host", lambda r: r["host"]),
    ("State", lambda r: r["state"]),
    ("Each", _each),
    ("Held", lambda r: f"{r['held']} of {r['count']}"),
    ("Owner", lambda r: r["owner"]),
    ("Ends", _ends),
    ("What", lambda r: r["said"]),
)
ALL_COLUMNS: Columns = (
    *COLUMNS,
    ("Reason", lambda r: r["reason"]),
    ("Approved by", lambda r: r["approved"] or "nobody"),
    ("Server", lambda r: r["server"] or "-"),
    ("Needed from", lambda r: moment(r["starts"])),
    ("Created", lambda r: moment(r["created"])),
    ("Consumers", lambda r: "\n".join(r["consumers"])),
    ("Written", lambda r: "\n".join(map(_write, r["writes"])) or "nothing yet"),
)


class ReservationList(PastView):
    """List room that is held in Placement, or planned to be."""

    nothing = "Nothing is reserved."
    past = "also those that are over, the newest first"
    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--host", metavar="HOST", default="", help="only on this one")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.get("/v1/reservations", parsed, host=parsed.host)


class ReservationShow(ShowView):
    """Show a reservation, its consumers in Placement, and what was written there for it."""

    columns = ALL_COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("reservation", metavar="RESERVATION", help="its id")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(path("reservations", parsed.reservation))


class ReservationCreate(ShowView):
    """Hold room for servers that are to come: nobody else is scheduled there. It ends by itself. In mode advise it is a proposal."""

    columns = ALL_COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("--host", metavar="HOST", default="", help="Nova's name of it")
        where.add_argument(
            "--anywhere-in",
            metavar="ZONE",
            dest="az",
            default="",
            help="one host of this zone: that with most room in which all of --count fit",
        )
        parser.add_argument("--flavor", metavar="NAME", default="", help="room for servers of this flavor")
        parser.add_argument("--vcpus", metavar="N", type=whole(1), help="instead of a flavor, of each slot")
        parser.add_argument("--ram", metavar="MIB", type=whole(1), help="with --vcpus")
        parser.add_argument("--disk", metavar="GIB", type=whole(), help="with --vcpus; without it none")
        parser.add_argument("--count", metavar="N", type=whole(1, 1_000_000), default=1, help="slots, all on one host (default: 1)")
        parser.add_argument("--starts", metavar="TIME", type=instant, help="when it is needed, as 2026-11-22T08:00 UTC (default: now)")
        until = parser.add_mutually_exclusive_group(required=True)
        until.add_argument("--until", metavar="TIME", type=instant, help="when it ends, as 2026-11-22T18:00 UTC")
        until.add_argument("--for", metavar="TIME", dest="for_s", type=seconds, help="how long from its start, as 90min, 2h, 3d")
        parser.add_argument("--reason", metavar="TEXT", required=True, help="kept with it")
        parser.add_argument("--approve", action="store_true", help="hold it also where the mode is advise")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        names = ("host", "az", "flavor", "vcpus", "ram", "disk", "count", "starts", "for_s", "until", "reason", "approve")
        given = {name: getattr(parsed, name) for name in names}
        return self.app.client.post("/v1/reservations", {**{k: v for k, v in given.items() if v is not None}, "by": who()})


class ReservationApprove(ShowView):
    """Have a planned reservation held although the mode is advise."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("reservation", metavar="RESERVATION", help="its id")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.post(path("reservations", parsed.reservation, "approve"), {"by": who()})


class ReservationRelease(ShowView):
    """Give a reservation back now."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("reservation", metavar="RESERVATION", help="its id")
        parser.add_argument("--reason", metavar="TEXT", default="", help="kept with it")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.delete(path("reservations", parsed.reservation), reason=parsed.reason)


class ReservationAudit(ShowView):
    """Compare what should be held with Placement now: hold again what is missing, delete what is nobody's."""

    columns = (
        ("Reservations", lambda r: r["reservations"]),
        ("Slots", lambda r: r["slots"]),
        ("In order", lambda r: r["in_order"]),
        ("Held again", lambda r: r["held_again"]),
        ("Lost", lambda r: r["lost"]),
        ("Nobody's", lambda r: f"{r['orphans']}, {r['deleted']} deleted"),
        ("Other controllers'", lambda r: f"{r['others']}, left alone" if r["others"] else "-"),
        ("Locks lifted", lambda r: r["lifted"]),
        ("Problems", lambda r: "\n".join(r["problems"]) or "-"),
    )

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - the audit takes no arguments
        return self.app.client.post("/v1/reservations/audit", {})
