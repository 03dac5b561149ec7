"""``foreshape cap set``, ``list``, ``show`` and ``lift``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.event import seconds
from foreshape_controller.cli.numbers import number
from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.view import MACHINE, Columns, ListView, Row, ShowView, ago, moment

SCOPE = "server:ID, project:ID, segment:NAME or host:NAME"
AMOUNTS = (
    ("cpu", "CORES", "cores"),
    ("memory", "MIB", "MiB; taken step by step, never what the guest uses"),
    ("disk-iops", "N", "requests per second of all its disks together"),
    ("disk-kib-s", "N", "KiB per second of all its disks together"),
    ("net-kib-s", "N", "KiB per second of all its interfaces together, each way"),
)


amount = number()
"""The controller says which are possible."""


def _amount(row: Row) -> str:
    return f"{row['amount']:g} {row['unit']}"


def _ends(row: Row) -> str:
    if row["state"] == "in force":
        return f"{moment(row['until'])}, in {ago(row['left_s'])}"
    return moment(row["lifted_at"] if row["state"] == "lifted" else row["until"])


COLUMNS: Columns = (
    ("Id", lambda r: r["id"]),
    ("Scope", lambda r: r["scope"]),
    ("Resource", lambda r: r["resource"]),
    ("At most", _amount),
    ("State", lambda r: r["state"]),
    ("Ends", _ends),
    ("Servers", lambda r: r["servers"]),
    ("Reason", lambda r: r["reason"]),
)
ALL_COLUMNS: Columns = (
    *COLUMNS,
    ("By", lambda r: r["by"]),
    ("Since", lambda r: moment(r["since"])),
    ("Lifted", lambda r: r["lifted_why"] or "-"),
    ("Effects", lambda r: "\n".join(map(_effect, r["effects"])) or "-"),
)


def _effect(effect: Row) -> str:
    notes = f" ({'; '.join(effect['notes'])})" if effect["notes"] else ""
    return f"{effect['name'] or effect['server']}: at most {effect['amount']:g}{notes}; agent: {effect['seen']}"


def _path(cap: str) -> str:
    return f"/v1/caps/{segment(cap)}"


class CapList(ListView):
    """List hard caps: in force, and ended."""

    columns = COLUMNS

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - the list takes no arguments
        return self.app.client.get("/v1/caps")


class CapShow(ShowView):
    """Show a cap, and what it means for each server in its scope."""

    columns = ALL_COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("cap", metavar="CAP", help="its id")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(_path(parsed.cap))


class CapSet(ListView):
    """Cap every server of a scope for a while. It ends by itself, also where the controller cannot be asked."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("scope", metavar="SCOPE", help=SCOPE)
        for name, unit, text in AMOUNTS:
            parser.add_argument(f"--{name}", metavar=unit, type=amount, help=f"at most so many {text}")
        parser.add_argument("--for", metavar="TIME", dest="for_s", type=seconds, required=True, help="as 90min, 2h, 3d; at most 30d")
        parser.add_argument("--reason", metavar="TEXT", required=True, help="kept with it, and told to the owner")
        parser.add_argument("--by", metavar="NAME", default="", help="who asked for it")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        given = {name.replace("-", "_"): getattr(parsed, name.replace("-", "_")) for name, *_ in AMOUNTS}
        amounts = {resource: value for resource, value in given.items() if value is not None}
        body = {"scope": parsed.scope, "amounts": amounts, "for_s": parsed.for_s, "reason": parsed.reason, "by": parsed.by}
        made = self.app.client.post("/v1/caps", body)
        if parsed.formatter not in MACHINE:
            for cap in made:
                self.app.stdout.write("".join(f"{cap['resource']}: {_effect(e)}\n" for e in cap["effects"][:10] if e["notes"]))
        return made


class CapLift(ShowView):
    """End a cap now: every server goes back to what it had."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("cap", metavar="CAP", help="its id")
        parser.add_argument("--reason", metavar="TEXT", default="", help="kept with it")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.delete(_path(parsed.cap), reason=parsed.reason)
