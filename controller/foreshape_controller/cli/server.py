"""``foreshape server list`` and ``server show``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.view import ListView, Row, ShowView, amounts


def _cpu(row: Row) -> str:
    return amounts(row["cpu_demand_cores"], row["cpu_allocated_cores"], row["cpu_entitled_cores"])


THROTTLES = {"disk.iops": "requests/s", "disk.bandwidth": "KiB/s", "net.bandwidth": "KiB/s"}


def _memory(row: Row) -> str:
    return amounts(row["memory_demand_mib"], row["memory_allocated_mib"], row["memory_entitled_mib"], digits=0)


def lever_line(lever: Row) -> str:
    """One capability as a line: its range, or why it is not there."""
    if lever["reason"]:
        return f"{lever['lever']}: no, {lever['reason']}"
    if lever["lever"] in THROTTLES:
        return f"{lever['lever']}: can be capped, in {THROTTLES[lever['lever']]}"
    unit = "cores" if lever["lever"].startswith("cpu.") else "MiB"
    return f"{lever['lever']}: {lever['lowest']:g} to {lever['highest']:g} {unit} in steps of {lever['granule']:g}"


class ServerList(ListView):
    """List servers: what each wants, has, and was sold."""

    columns = (
        ("Name", lambda r: r["name"]),
        ("Host", lambda r: r["host"]),
        ("Tier", lambda r: r["tier"]),
        ("Mode", lambda r: r["mode"]),
        ("State", lambda r: f"{r['state']}, left alone" if r.get("held") else r["state"]),
        ("Cores wants / has / sold", _cpu),
        ("MiB wants / has / sold", _memory),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--host", metavar="NAME", help="only servers on this host")
        parser.add_argument("--project", metavar="ID", help="only servers of this project")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        wanted = {"host": parsed.host, "project": parsed.project}
        rows = self.app.client.get("/v1/servers")
        return [r for r in rows if all(v is None or r[k] == v for k, v in wanted.items())]


def add_server(parser: ArgumentParser) -> ArgumentParser:
    """The argument SERVER, by id or name."""
    parser.add_argument("server", metavar="SERVER", help="id or name of the server")
    return parser


def server_path(parsed: Namespace, rest: str = "") -> str:
    """The API's path of the server named on the command line."""
    return f"/v1/servers/{segment(parsed.server)}{rest}"


class ServerShow(ShowView):
    """Show one server, with its levers or the reasons why it lacks them."""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        return add_server(super().get_parser(prog_name))

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.get(server_path(parsed))
        if parsed.formatter == "table":
            answer["levers"] = [lever_line(lever) for lever in answer["levers"]]
        return answer
