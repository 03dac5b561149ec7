"""``foreshape request``: create, list, show, cancel, decline, accept, take, approve; and ``foreshape webhook``."""

import time
from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.event import seconds
from foreshape_controller.cli.local import instant, who
from foreshape_controller.cli.numbers import whole
from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.view import Columns, ListView, PastView, Row, ShowView, moment

ENDS = ("started", "fulfilled", "cancelled", "declined", "expired")
LOOK_EVERY_S = 2.0
_UNITS = (("VCPU", "VCPU"), ("MEMORY_MB", "MiB"), ("DISK_GB", "GiB"))


def _each(row: Row) -> str:
    return ", ".join(f"{row['each'][name]} {unit}" for name, unit in _UNITS if row["each"].get(name))


def _what(row: Row) -> str:
    ask = row["ask"]
    kind = f"growth of {ask['server']}" if ask.get("server") else ask.get("flavor") or _each(row)
    return f"{row['count']} x {kind}" if row["count"] > 1 else kind


def _starts(row: Row) -> str:
    if row["start"] is not None:
        return moment(row["start"])
    return f"waits, number {row['position']}" if row["position"] else "-"


def _alternatives(row: Row) -> str:
    told = [f"{i}: {a['said']}" + (f", {a['price']}" if a["price"] else "") for i, a in enumerate(row["alternatives"])]
    return "\n".join(told) or "-"


def _step(step: Row) -> str:
    return f"{moment(step['at'])} {step['state']}: {step['said']}"


COLUMNS: Columns = (
    ("Id", lambda r: r["id"] or "none: a dry run"),
    ("Name", lambda r: r["name"] or "-"),
    ("Project", lambda r: r["project"]),
    ("What", _what),
    ("Criticality", lambda r: r["ask"]["criticality"]),
    ("State", lambda r: r["state"]),
    ("Starts", _starts),
    ("Why", lambda r: r["said"]),
)
ALL_COLUMNS: Columns = (
    *COLUMNS,
    ("Each", _each),
    ("Ends", lambda r: moment(r["end"]) if r["end"] is not None else "-"),
    ("Take it by", lambda r: moment(r["take_by"]) if r["take_by"] is not None else "-"),
    ("Hosts", lambda r: ", ".join(f"{h['host']}: {h['count']}" for h in r["hosts"]) or "-"),
    ("Price", lambda r: r["price"] or "-"),
    ("Taken for granted", lambda r: "\n".join(r["assumed"]) or "nothing"),
    ("Alternatives", _alternatives),
    ("Looked at again", lambda r: moment(r["next_look"]) if r["next_look"] else "-"),
    ("Approved by", lambda r: r["approved"] or "nobody"),
    ("History", lambda r: "\n".join(map(_step, r["history"])) or "-"),
)


def _path(request: str) -> str:
    return f"/v1/requests/{segment(request)}"


class _One(ShowView):
    """A command about one request."""

    columns = ALL_COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("request", metavar="REQUEST", help="its id")
        return parser


class RequestCreate(ShowView):
    """Ask for servers, or for growth of one: now, at a time, or in the queue, with what could be had instead."""

    columns = ALL_COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--flavor", metavar="NAME", default="", help="servers of this flavor")
        parser.add_argument("--vcpus", metavar="N", type=whole(1), help="instead of a flavor, of each; with --grow: its new size")
        parser.add_argument("--ram", metavar="MIB", type=whole(1), help="with --vcpus")
        parser.add_argument("--disk", metavar="GIB", type=whole(), help="with --vcpus; without it none")
        parser.add_argument("--grow", metavar="SERVER", dest="server", default="", help="not new servers: more of this one")
        parser.add_argument("--count", metavar="N", type=whole(1, 1_000_000), default=1, help="how many (default: 1)")
        parser.add_argument("--for", metavar="TIME", dest="for_s", type=seconds, default=4 * 3600.0, help="how long, as 90min, 4h, 3d (4h)")
        parser.add_argument("--earliest", metavar="TIME", type=instant, help="earliest start, as 2026-11-22T08:00, UTC (default: now)")
        parser.add_argument("--latest", metavar="TIME", type=instant, help="latest start (default: whenever there is room)")
        kinds = ("critical", "normal", "flexible")
        parser.add_argument("--criticality", choices=kinds, default="normal", help="how far it may be moved in time (default: normal)")
        parser.add_argument("--together", choices=("any", "spread", "same_host"), default="any", help="how they want to stand")
        parser.add_argument("--az", metavar="ZONE", default="", help="only in this availability zone")
        parser.add_argument("--tier", metavar="NAME", default="", help="SLA tier (default: the cloud's default)")
        parser.add_argument("--name", metavar="TEXT", default="", help="yours; a second open request of this name is refused")
        parser.add_argument("--note", metavar="TEXT", default="")
        parser.add_argument("--project", metavar="ID", default="", help="operators: for whom")
        parser.add_argument("--dry-run", action="store_true", help="only tell what would be answered")
        _waiting(parser)
        return parser

    def ask(self, parsed: Namespace) -> Any:
        names = ("flavor", "vcpus", "ram", "disk", "server", "count", "for_s", "earliest", "latest", "criticality", "together", "az")
        given = {name: getattr(parsed, name) for name in (*names, "tier", "name", "note", "project")}
        path = "/v1/requests?dry_run=true" if parsed.dry_run else "/v1/requests"
        made = self.app.client.post(path, {k: v for k, v in given.items() if v is not None})
        return made if parsed.dry_run else _waited(self.app.client, made, parsed)


def _waiting(parser: ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="until it starts or ends")
    parser.add_argument("--wait-for", metavar="TIME", type=seconds, default=3600.0, help="longest, of --wait (default: 1h)")


def _waited(client: Any, made: Row, parsed: Namespace) -> Row:
    """As it is when it starts or ends, or when the time is over."""
    end = time.monotonic() + parsed.wait_for
    while parsed.wait and made["state"] not in ENDS and time.monotonic() < end:
        time.sleep(LOOK_EVERY_S)
        made = client.get(_path(made["id"]))
    return made


class RequestList(PastView):
    """List requests in the order of the queue."""

    nothing = "Nothing is asked for."
    past = "also those that are over, the newest first"
    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--state", metavar="STATE", default="", help="only those that are queued, proposed, scheduled, started ...")
        parser.add_argument("--project", metavar="ID", default="", help="only of this one")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        given = {"state": parsed.state, "project": parsed.project}
        return self.get("/v1/requests", parsed, **{k: v for k, v in given.items() if v})


class RequestShow(_One):
    """Show a request: its answer, its place in the queue, its alternatives and its history."""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        _waiting(parser)
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return _waited(self.app.client, self.app.client.get(_path(parsed.request)), parsed)


class RequestCancel(_One):
    """Cancel a request; what is held for it is given back."""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--reason", metavar="TEXT", default="", help="kept with it")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.delete(_path(parsed.request), **({"reason": parsed.reason} if parsed.reason else {}))


class RequestDecline(_One):
    """Say no to what a request was offered; it ends."""

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.post(f"{_path(parsed.request)}/decline", {})


class RequestAccept(_One):
    """Take one of a request's alternatives ('foreshape request show' numbers them)."""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("alternative", metavar="NUMBER", type=whole(), help="from 0")
        _waiting(parser)
        return parser

    def ask(self, parsed: Namespace) -> Any:
        made = self.app.client.put(f"{_path(parsed.request)}/accept", {"alternative": parsed.alternative})
        return _waited(self.app.client, made, parsed)


class RequestTake(_One):
    """Come for a request that has started: its room is given up for you, so boot or resize right after."""

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.post(f"{_path(parsed.request)}/take", {})


class RequestApprove(_One):
    """Operators: have a proposed request carried out although the mode is advise."""

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.post(f"{_path(parsed.request)}/approve", {"by": who()})


HOOKS: Columns = (
    ("Id", lambda r: r["id"]),
    ("Project", lambda r: r["project"]),
    ("URL", lambda r: r["url"]),
    ("Since", lambda r: moment(r["created"])),
)


def _hook(webhook: str) -> str:
    return f"/v1/webhooks/{segment(webhook)}"


class WebhookCreate(ShowView):
    """Be told at a URL of what becomes of the project's requests. Shows the secret that signs it: this once."""

    columns = (*HOOKS, ("Secret, shown once", lambda r: r["secret"]))

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("url", metavar="URL", help="https://HOST[:PORT]/PATH")
        parser.add_argument("--project", metavar="ID", default="", help="operators: whose")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.post("/v1/webhooks", {"url": parsed.url, "project": parsed.project})


class WebhookList(ListView):
    """List webhooks; of one, what it was told."""

    nothing = "Nobody is told."
    columns = HOOKS

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - it takes no arguments
        return self.app.client.get("/v1/webhooks")


class WebhookShow(ListView):
    """List what a webhook was told, and what waits; the newest first."""

    nothing = "It was told nothing yet."
    columns = (
        ("Event", lambda r: r["event"]),
        ("Request", lambda r: r["request"]),
        ("State", lambda r: r["state"]),
        ("Tries", lambda r: r["tries"]),
        ("Last answer", lambda r: r["said"] or "-"),
        ("Since", lambda r: moment(r["created"])),
        ("Next try", lambda r: moment(r["next_try"]) if r["next_try"] else "-"),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("webhook", metavar="WEBHOOK", help="its id")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(f"{_hook(parsed.webhook)}/deliveries")


class WebhookDelete(ShowView):
    """Be told no more."""

    columns = HOOKS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("webhook", metavar="WEBHOOK", help="its id")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.delete(_hook(parsed.webhook))
