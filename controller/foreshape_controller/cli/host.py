"""``foreshape host list`` and ``host show``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli.view import ListView, Row, ShowView, ago, amounts


def _cpu(row: Row) -> str:
    return amounts(row["cpu_used_cores"], row["cpu_allocated_cores"], row["cpu_entitled_cores"], row["cpus"], digits=1)


def _memory(row: Row) -> str:
    used = (row["memory_mib"] - row["memory_available_mib"]) / 1024
    return amounts(used, row["memory_allocated_mib"] / 1024, row["memory_entitled_mib"] / 1024, row["memory_mib"] / 1024, digits=1)


def _state(row: Row) -> str:
    if not row["fresh"]:
        return f"silent for {ago(row['last_report_s_ago'])}"
    return f"safe mode: {row['safe_mode']}" if row["safe_mode"] else "reporting"


class HostList(ListView):
    """List hypervisors: use, what their servers have, what was sold, what is there."""

    columns = (
        ("Name", lambda r: r["name"]),
        ("Servers", lambda r: r["servers"]),
        ("CPU used / has / sold / host", _cpu),
        ("GiB used / has / sold / host", _memory),
        ("Mode", lambda r: r["mode"]),
        ("State", _state),
    )

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - the list takes no arguments
        return self.app.client.get("/v1/hosts")


class HostShow(ShowView):
    """Show one hypervisor."""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="name of the host, as in host list")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        from foreshape_controller.cli.client import segment  # noqa: PLC0415 - start-up time

        return self.app.client.get(f"/v1/hosts/{segment(parsed.name)}")
