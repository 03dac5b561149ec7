"""``foreshape reclaim list``, ``object`` and ``allow``, ``foreshape notice list``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from cliff.command import Command

from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.server import add_server
from foreshape_controller.cli.view import Columns, ListView, Row, ago, amounts, moment

STATES = ("found", "noticed", "shrinking", "reclaimed", "giving_back", "given_back", "objected", "gone")
DIGITS = {"cores": 2, "MiB": 0}


def _floor(row: Row) -> str:
    return f"{amounts(row['floor_from'], row['floor_now'], row['floor_to'], digits=DIGITS[row['unit']])} {row['unit']}"


def _saves(row: Row) -> str:
    return f"{amounts(row['saved'], row['saves'], row['spare'], digits=DIGITS[row['unit']])} {row['unit']}"


def _give_back(row: Row) -> str:
    return " / ".join("-" if row[k] is None else ago(row[k]) for k in ("give_back_stated_s", "give_back_measured_s"))


def _next(row: Row) -> str:
    """What happens next, or why nothing does."""
    if row["state"] == "noticed" and row["begins_at"] is not None:
        return f"begins {moment(row['begins_at'])}"
    return str(row["hindrance"] or row["why"])


COLUMNS: Columns = (
    ("Server", lambda r: r["name"] or r["server"]),
    ("Tier", lambda r: r["tier"]),
    ("Resource", lambda r: r["resource"]),
    ("State", lambda r: r["state"]),
    ("Floor tier's / now / to", _floor),
    ("Saved / saves / never used", _saves),
    ("Give-back stated / measured", _give_back),
    ("What", _next),
)


class ReclaimList(ListView):
    """List idle and over-sized servers: what their floors are lowered to, what that saves, how long a give-back takes."""

    nothing = "Nobody was found idle or over-sized; the first look is an hour after a start ([reclaim] find_every_s)."
    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--project", metavar="ID", help="only servers of this project")
        parser.add_argument("--state", metavar="STATE", choices=STATES, help=f"one of {', '.join(STATES)} (default: all but gone)")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        asked = {"project": parsed.project, "state": parsed.state}
        return self.app.client.get("/v1/reclaims", **{k: v for k, v in asked.items() if v})


class ReclaimObject(ListView):
    """Object to a reclaim of a server, for its owner: what was taken is given back at once, and nothing more is taken."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = add_server(super().get_parser(prog_name))
        parser.add_argument("--reason", metavar="TEXT", required=True, help="why; kept with the objection")
        parser.add_argument("--resource", choices=("cpu", "memory"), default="", help="only this one (default: both)")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.post(f"{_path(parsed)}/object", {"reason": parsed.reason, "resource": parsed.resource})


class ReclaimAllow(Command):
    """Take an objection back: the server may be found idle or over-sized again."""

    app: Any

    def get_parser(self, prog_name: str) -> ArgumentParser:
        return add_server(super().get_parser(prog_name))

    def take_action(self, parsed: Namespace) -> int:
        self.app.client.delete(f"{_path(parsed)}/objection")
        self.app.stdout.write(f"{parsed.server}: the objection was taken back.\n")
        return 0


class NoticeList(ListView):
    """List what owners of servers were told, the newest first."""

    columns = (
        ("When", lambda r: moment(r["at"])),
        ("Project", lambda r: r["project"]),
        ("Server", lambda r: r["name"] or r["server"]),
        ("Kind", lambda r: r["kind"]),
        ("Text", lambda r: r["text"]),
        ("Answered", lambda r: "-" if r["answered_at"] is None else moment(r["answered_at"])),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--project", metavar="ID", help="only notices to this project")
        parser.add_argument("--server", metavar="SERVER", help="only notices of this server (id or name)")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        asked = {"project": parsed.project, "server": parsed.server}
        return self.app.client.get("/v1/notices", **{k: v for k, v in asked.items() if v})


def _path(parsed: Namespace) -> str:
    return f"/v1/reclaims/{segment(parsed.server)}"
