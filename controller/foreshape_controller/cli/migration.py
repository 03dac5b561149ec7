"""``foreshape migration list|show|plan|propose|approve|cancel``, ``foreshape host drain|undrain|drains``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.errors import UsageError
from foreshape_controller.cli.event import seconds
from foreshape_controller.cli.local import who
from foreshape_controller.cli.paths import path
from foreshape_controller.cli.view import MACHINE, Columns, ListView, PastView, Row, ShowView, moment

ARRIVED = frozenset({"arrived", "settled"})


def _took(row: Row) -> str:
    predicted = f"{row['predicted_s']:.0f} s"
    return predicted if row["took_s"] is None else f"{row['took_s']:.0f} s (predicted {predicted})"


def _downtime(row: Row) -> str:
    """Measured or not: nobody's guess."""
    predicted = f"predicted {row['downtime_s']:.2f} s"
    if row["stopped_s"] is not None:
        return f"{row['stopped_s']:.3f} s ({predicted})"
    return f"not measured ({predicted})" if row["state"] in ARRIVED else predicted


def _state(row: Row) -> str:
    return f"{row['kind']} {row['state']}" if row["kind"] == "proposal" else str(row["state"])


PLANNED: Columns = (
    ("Server", lambda r: r["name"] or r["server"]),
    ("From", lambda r: r["source"]),
    ("To", lambda r: r["target"]),
    ("For", lambda r: r["goal"]),
    ("Begin by", lambda r: "-" if r["deadline"] is None else moment(r["deadline"])),
    ("Takes", _took),
    ("What", lambda r: r["said"] or r["reason"]),
)
COLUMNS: Columns = (("Id", lambda r: r["id"]), ("State", _state), *PLANNED)
ALL_COLUMNS: Columns = (
    *COLUMNS,
    ("Server id", lambda r: r["server"]),
    ("Reason", lambda r: r["reason"]),
    ("Word of", lambda r: r["by"] or "nobody yet"),
    ("Downtime", _downtime),
    ("Link", lambda r: r["link"] or "-"),
    ("Reservation", lambda r: r["reservation"] or "-"),
    ("Nova's id", lambda r: r["nova_id"] or "-"),
    ("Cause", lambda r: r["cause"] or "-"),
    ("History", lambda r: "\n".join(map(_line, r["history"])) or "-"),
)
DRAIN: Columns = (
    ("Host", lambda r: r["host"]),
    ("State", lambda r: r["state"]),
    ("Left", lambda r: f"{r['left']} of {r['total']}"),
    ("Moving", lambda r: r["moving"]),
    ("Proposed", lambda r: r["proposed"]),
    ("Until", lambda r: "-" if r["until"] is None else moment(r["until"])),
    ("Disables nova-compute", lambda r: "yes" if r["disabled"] else "no"),
    ("Reason", lambda r: r["reason"]),
    ("Cannot be moved", lambda r: "\n".join(f"{k['name']}: {k['reason']}" for k in r["kept"]) or "-"),
)


def _line(h: Row) -> str:
    return f"{moment(h['at'])} {h['what']} -> {h['state']}: {h['text']}"


class MigrationList(PastView):
    """List proposed moves and migrations."""

    nothing = "Nobody is to be moved."
    columns = COLUMNS

    def ask(self, parsed: Namespace) -> Any:
        return self.get("/v1/migrations", parsed)


class MigrationShow(ShowView):
    """Show a migration with its history."""

    columns = ALL_COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("migration", metavar="MIGRATION", help="its id")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(path("migrations", parsed.migration))


class MigrationCancel(ShowView):
    """Withdraw a proposal, or end a migration where that is possible."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("migration", metavar="MIGRATION", help="its id")
        parser.add_argument("--reason", metavar="TEXT", default="", help="kept with it")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.post(path("migrations", parsed.migration, "cancel"), {"reason": parsed.reason})


class MigrationApprove(ListView):
    """Have proposed moves carried out; every rule is looked at again before each is."""

    nothing = "Nothing is proposed."
    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("ids", metavar="ID", nargs="*", help="proposals")
        parser.add_argument("--all", action="store_true", help="every open proposal")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        if bool(parsed.ids) == parsed.all:
            raise UsageError("name proposals, or say --all")
        return self.app.client.post("/v1/migrations/approve", {"ids": parsed.ids, "all": parsed.all, "by": who()})


class MigrationPropose(ShowView):
    """Propose one move; with --approve it is carried out."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="SERVER", help="id or name")
        parser.add_argument("--to", metavar="HOST", default="", help="target (default: the emptiest possible one)")
        parser.add_argument("--reason", metavar="TEXT", required=True, help="kept with it")
        parser.add_argument("--approve", action="store_true", help="carry it out")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        body = {"server": parsed.server, "target": parsed.to, "reason": parsed.reason, "approve": parsed.approve, "by": who()}
        return self.app.client.post("/v1/migrations/propose", body)


_KEPT = "Proposed: 'foreshape migration list' has their ids, 'foreshape migration approve' has them carried out."
_NOT_KEPT = "Only looked at: nothing of it is kept. With --propose these moves become proposals, which can be approved."


class MigrationPlan(ListView):
    """Plan moves for open needs, for emptying a host or for making room: what would move, what not and why."""

    nothing = "Nothing would move."
    columns = PLANNED

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        goal = parser.add_mutually_exclusive_group()
        goal.add_argument("--drain", metavar="HOST", default="", help="how this host could be emptied")
        goal.add_argument("--consolidate", action="store_true", help="how more of the largest flavor would fit")
        parser.add_argument("--flavor", metavar="NAME", default="", help="with --consolidate: make room for this one")
        parser.add_argument("--propose", action="store_true", help="keep the moves as proposals, to be approved")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        if parsed.flavor and not parsed.consolidate:
            raise UsageError("--flavor says what to make room for: it goes with --consolidate")
        goal = "drain" if parsed.drain else "consolidate" if parsed.consolidate else "need"
        body = {"goal": goal, "host": parsed.drain, "flavor": parsed.flavor, "propose": parsed.propose}
        made = self.app.client.post("/v1/migrations/plan", body)
        if parsed.formatter not in MACHINE:
            for note in made["notes"]:
                self.app.stdout.write(f"{note}\n")
            for kept in made["kept"][:50]:
                self.app.stdout.write(f"stays: {kept['name']}: {kept['reason']}\n")
            if made["moves"]:
                self.app.stdout.write(f"{_KEPT if parsed.propose else _NOT_KEPT}\n")
        return made["moves"]


class HostDrain(ShowView):
    """Empty a host: it takes nobody any more, and its servers are moved away, as far as they can be."""

    columns = DRAIN

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="its name in Nova")
        parser.add_argument("--reason", metavar="TEXT", required=True, help="kept with it; Nova shows it with --disable")
        parser.add_argument("--in", metavar="TIME", dest="for_s", type=seconds, help="it has to be empty in: 90min, 2h, 3d")
        parser.add_argument("--approve", action="store_true", help="carry its moves out also where the mode is advise")
        parser.add_argument("--disable", action="store_true", help="disable its nova-compute meanwhile; in mode advise with --approve")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        body = {"reason": parsed.reason, "for_s": parsed.for_s, "approve": parsed.approve, "disable": parsed.disable, "by": who()}
        return self.app.client.post(path("hosts", parsed.host, "drain"), body)


class HostUndrain(ShowView):
    """End a drain: the host may take servers again, and its nova-compute is enabled if the drain disabled it."""

    columns = DRAIN

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="its name in Nova")
        parser.add_argument("--reason", metavar="TEXT", default="", help="kept with it")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.delete(path("hosts", parsed.host, "drain"), reason=parsed.reason)


class HostDrains(PastView):
    """List hosts that are being emptied, how far they are, and what cannot be moved."""

    nothing = "No host is being emptied."
    columns = DRAIN

    def ask(self, parsed: Namespace) -> Any:
        return self.get("/v1/drains", parsed)
