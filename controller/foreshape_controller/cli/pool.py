"""``foreshape pool create``, ``list``, ``show``, ``delete``, ``claim``, ``report``, ``schedule`` and ``template``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.cap import amount
from foreshape_controller.cli.event import seconds
from foreshape_controller.cli.numbers import number, whole
from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.view import Columns, ListView, Row, ShowView, ago, moment

COSTS = (
    ("miss-cost", "what it costs when a claim finds none (default: 1)"),
    ("idle-cost", "what one that waits costs in an hour (default: 0.05)"),
    ("boot-cost", "what booting one costs (default: 0)"),
    ("threshold", "one that costs more, boot and wait together, is not made (default: no limit)"),
    ("budget", "most that all that wait may cost in an hour (default: no limit)"),
    ("expected", "claims per hour that you expect, until there are some to learn from"),
)
DAYS_MOST = 365
FIELDS = {"idle_cost": "idle_cost_h", "budget": "budget_h", "expected": "expected_h"}


def _number(value: float | None, form: str = "{:g}") -> str:
    return "-" if value is None else form.format(value)


def _doing(row: Row) -> str:
    decided = row["decided"] or {}
    said = [decided.get("why", "not looked at yet")]
    proposed = [f"{decided['boot']} to boot"] if decided.get("boot") else []
    proposed += [f"{len(decided['retire'])} to go"] if decided.get("retire") else []
    if decided.get("not_done"):
        said.append(f"only proposed ({', '.join(proposed) or 'nothing'}): {decided['not_done']}")
    return "\n".join([*said, *decided.get("problems", ())])


COLUMNS: Columns = (
    ("Name", lambda r: r["pool"]["name"]),
    ("State", lambda r: r["state"]),
    ("Ready", lambda r: r["ready"]),
    ("Booting", lambda r: r["booting"]),
    ("Wanted", lambda r: r["wanted"]),
    ("Flavor", lambda r: r["pool"]["flavor"]),
    ("Image", lambda r: r["pool"]["image"]),
    ("Project", lambda r: r["pool"]["project"]),
)
ALL_COLUMNS: Columns = (
    *COLUMNS,
    ("Id", lambda r: r["pool"]["id"]),
    ("Zone", lambda r: r["pool"]["az"] or "any"),
    ("Networks", lambda r: ", ".join(r["pool"]["networks"]) or "none"),
    ("Bounds", lambda r: f"{r['pool']['least']} to {r['pool']['most']}"),
    ("Waiting", lambda r: f"{r['pool']['wait_cores']:g} cores, {r['pool']['wait_mib']:g} MiB each"),
    ("Fallback", lambda r: r["pool"]["fallback"]),
    ("Now", _doing),
    ("Shadow VMs", lambda r: "\n".join(map(_shadow, r["shadows"])) or "-"),
)
CLAIM: Columns = (
    ("Server", lambda r: r["server"] or "not yet"),
    ("Name", lambda r: r["name"]),
    ("Host", lambda r: r["host"] or "-"),
    ("State", lambda r: r["state"]),
    ("Warm", lambda r: r["hit"]),
    ("Took", lambda r: f"{r['took_s']:.2f} s"),
    ("Note", lambda r: r["note"] or "-"),
)
REPORT: Columns = (
    ("Claims", lambda r: r["claims"]),
    ("Hits", lambda r: r["hits"]),
    ("Misses", lambda r: r["misses"]),
    ("Hit rate", lambda r: _number(r["hit_rate"], "{:.0%}")),
    ("Mean age", lambda r: "-" if r["age_s"] is None else ago(r["age_s"])),
    ("Oldest", lambda r: "-" if r["oldest_s"] is None else ago(r["oldest_s"])),
    ("Age when taken", lambda r: "-" if r["hit_age_s"] is None else ago(r["hit_age_s"])),
    ("Boots", lambda r: f"{r['boots']}, {r['failures']} failed"),
    ("Boot takes", lambda r: _number(r["boot_s"], "{:.1f} s")),
    ("Claim takes", lambda r: _number(r["claim_s"], "{:.1f} s")),
    ("Waited", lambda r: f"{r['waited_h']:.2f} h"),
    ("Cost", lambda r: _number(r["cost"])),
    ("Cost per hit", lambda r: _number(r["cost_per_hit"])),
)
SCHEDULE: Columns = (
    ("From", lambda r: moment(r["start"])),
    ("Claims", lambda r: r["claims"]),
    ("Shadow VMs", lambda r: r["servers"]),
    ("Cores", lambda r: r["cores"]),
    ("MiB", lambda r: r["mib"]),
    ("Cost", lambda r: r["cost"]),
)


def _shadow(s: Row) -> str:
    size = "small" if s["deflated_at"] else "as sold"
    return f"{s['id']}: {s['state']} on {s['host'] or '-'}, {size}, server {s['server'] or '-'}" + (f" ({s['why']})" if s["why"] else "")


_days = number(0, DAYS_MOST, above=True)
"""How far back a report looks."""


def _path(pool: str, more: str = "") -> str:
    return f"/v1/pools/{segment(pool)}{more}"


def _named(parser: Any) -> ArgumentParser:
    parser.add_argument("pool", metavar="POOL", help="its name or id")
    found: ArgumentParser = parser
    return found


class PoolList(ListView):
    """List pools of shadow VMs."""

    nothing = "There are no pools."
    columns = COLUMNS

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - the list takes no arguments
        return self.app.client.get("/v1/pools")


class PoolShow(ShowView):
    """Show a pool, why it has as many as it has, and its shadow VMs."""

    columns = ALL_COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        return _named(super().get_parser(prog_name))

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(_path(parsed.pool))


class PoolCreate(ShowView):
    """Make a pool: servers are booted ahead, held small, and wait for a claim. In mode advise it is only proposed how many."""

    columns = ALL_COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--image", required=True, help="id or name; of several with one name the newest counts")
        parser.add_argument("--flavor", required=True, help="id or name")
        parser.add_argument(
            "--network", dest="networks", metavar="ID", action="append", default=[], help="a port on each; none: no network"
        )
        parser.add_argument("--cloud", default="", help="entry of clouds.yaml whose credentials boot (default: the controller's own)")
        parser.add_argument("--project", default="", help="must be that of the credentials: Nova moves no server to another")
        parser.add_argument("--az", default="", help="availability zone (default: Nova chooses)")
        parser.add_argument("--least", type=whole(0, 1_000_000), help="never fewer (default: 0)")
        parser.add_argument("--most", type=whole(0, 1_000_000), help="never more (default: 5)")
        for name, text in COSTS:
            parser.add_argument(f"--{name}", metavar="N", type=amount, help=text)
        parser.add_argument("--fallback", choices=("smaller", "cold", "none"), help="where one costs more than the threshold")
        parser.add_argument("--lead", dest="lead_s", type=seconds, help="from order to usable guest, until it was measured (default: 2min)")
        parser.add_argument("--max-age", dest="max_age_s", type=seconds, help="older ones are replaced (default: 1d)")
        parser.add_argument("--idle", dest="idle_s", type=seconds, help="one too many goes after so long without a claim (default: 1h)")
        parser.add_argument("--wait-cores", type=amount, help="what one has while it waits (default: 0.1)")
        parser.add_argument("--wait-mib", type=amount, help="likewise (default: 256); never what its guest uses")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        names = (
            "name",
            "image",
            "flavor",
            "networks",
            "cloud",
            "project",
            "az",
            "least",
            "most",
            "fallback",
            "lead_s",
            "max_age_s",
            "idle_s",
        )
        more = ("wait_cores", "wait_mib", *(name.replace("-", "_") for name, _ in COSTS))
        given = {FIELDS.get(name, name): getattr(parsed, name) for name in (*names, *more)}
        return self.app.client.post("/v1/pools", {k: v for k, v in given.items() if v is not None})


class PoolDelete(ShowView):
    """Close a pool: what waits is deleted, what was claimed stays."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        return _named(super().get_parser(prog_name))

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.delete(_path(parsed.pool))


class PoolClaim(ShowView):
    """Take a shadow VM: it grows to what was sold, gets its name, and is yours."""

    columns = CLAIM

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = _named(super().get_parser(prog_name))
        parser.add_argument("--name", required=True, help="what the server shall be called")
        parser.add_argument("--project", default="", help="must be the pool's")
        parser.add_argument("--owner", default="", help="kept with it, in Nova too")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        body = {"name": parsed.name, "project": parsed.project, "owner": parsed.owner}
        return self.app.client.post(_path(parsed.pool, "/claims"), body)


class PoolReport(ShowView):
    """How a pool did: hits, misses, ages, and what a hit cost."""

    columns = REPORT

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = _named(super().get_parser(prog_name))
        parser.add_argument("--days", type=_days, default=7.0, help="so far back (default: 7)")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(_path(parsed.pool, "/report"), days=str(parsed.days))


class PoolSchedule(ListView):
    """What a pool would have in each half-hour of the next day. ``-f csv``, ``-f json`` and ``--ical`` export it."""

    columns = SCHEDULE
    text_default = False

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = _named(super().get_parser(prog_name))
        parser.add_argument("--ical", action="store_true", help="print it as a calendar (iCalendar)")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(_path(parsed.pool, "/schedule"))

    def run(self, parsed: Namespace) -> int:
        if parsed.ical:
            self.app.stdout.write(self.app.client.text(_path(parsed.pool, "/schedule.ics")))
            return 0
        return super().run(parsed)


class PoolTemplate(ShowView):
    """A pool as a Heat template (HOT): YAML for a terminal, or ``-f json``."""

    text_default = True

    def get_parser(self, prog_name: str) -> ArgumentParser:
        return _named(super().get_parser(prog_name))

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(_path(parsed.pool, "/template"))

    def text(self, answer: Any, parsed: Namespace) -> str:  # noqa: ARG002
        import yaml  # noqa: PLC0415 - start-up time

        return str(yaml.safe_dump(answer, sort_keys=False))

    def say_if_simulated(self, parsed: Namespace) -> None:
        """Nothing beside the template: it is fed to Heat."""
