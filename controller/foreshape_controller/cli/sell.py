"""``foreshape sell list``, ``show``, ``stop`` and ``start``; ``foreshape headroom list``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.view import Columns, ListView, Row, ShowView, moment


def _would(row: Row) -> str:
    if row["wanted"] is None:
        return "-"
    return f"{row['wanted']:g}" + (f" (proposed: {row['waits']})" if row["waits"] else "")


def _sold(row: Row) -> str:
    unit = "vCPU of {} cores" if row["resource"] == "cpu" else "of {} MiB"
    return f"{row['sold']} {unit.format(row['physical'])}"


def _ratio(row: Row) -> str:
    return f"{row['ratio']:g}" if row["ratio"] == row["original"] else f"{row['ratio']:g} (was {row['original']:g})"


COLUMNS: Columns = (
    ("Host", lambda r: r["host"]),
    ("Resource", lambda r: r["resource"]),
    ("Sold", _sold),
    ("Ratio", _ratio),
    ("Would be", _would),
    ("State", lambda r: r["state"]),
    ("Reason", lambda r: r["reason"]),
)


def _lines(rows: list[Row]) -> str:
    return "\n".join(f"{r['resource']}: {_sold(r)}, ratio {_ratio(r)}, would be {_would(r)}; {r['state']}: {r['reason']}" for r in rows)


def _moves(rows: list[Row]) -> str:
    return "\n".join(f"{moment(m['at'])} {m['resource']} {m['was']:g} -> {m['target']:g}: {m['reason']}; {m['result']}" for m in rows)


class SellList(ListView):
    """List what hosts are sold at: their allocation ratios, what these were, what they would be, and why."""

    nothing = "No host was looked at yet. [sell] enabled, in controller.conf, has to be true."
    columns = COLUMNS

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - the list takes no arguments
        return self.app.client.get("/v1/sales")


class SellShow(ShowView):
    """Show what one host is sold at, and every ratio that was written."""

    columns = (
        ("Host", lambda r: r["host"]),
        ("Now", lambda r: _lines(r["sales"])),
        ("Stopped", lambda r: r["stopped"] or "-"),
        ("Frozen", lambda r: r["frozen"] or "-"),
        ("Written", lambda r: _moves(r["moves"]) or "-"),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="its name in Nova")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(f"/v1/sales/{segment(parsed.host)}")


class _Told(ListView):
    """An operator's word about one host, or all."""

    nothing = "Said. No host was looked at yet."
    columns = COLUMNS
    path = ""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", nargs="?", default="", help="its name in Nova; without it: everywhere")
        parser.add_argument("--reason", metavar="TEXT", required=True, help="why; kept with it")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.post(self.path, {"host": parsed.host, "reason": parsed.reason})


class SellStop(_Told):
    """Sell nothing more on a host or anywhere: what was there before is put back, as far as what was bought meanwhile lets it."""

    path = "/v1/sales/stop"


class SellStart(_Told):
    """Sell again where it was stopped, or where somebody else wrote a ratio over ours: what is there then counts as the original."""

    path = "/v1/sales/start"


class HeadroomList(ListView):
    """List what the day ahead is expected to leave free on each host: what Nova's scheduler is told."""

    nothing = "Nobody can tell of any host yet."
    columns = (("Host", lambda r: r["host"]), ("Free", lambda r: f"{100 * r['free']:.0f} %"))

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - the list takes no arguments
        told = self.app.client.get("/v1/headroom")["hosts"]
        return [{"host": host, "free": free} for host, free in sorted(told.items(), key=lambda row: (-row[1], row[0]))]
