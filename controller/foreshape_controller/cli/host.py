"""``foreshape host list`` and ``host show``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from foreshape_controller.cli import chart
from foreshape_controller.cli.paths import segment
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


class HostChart(ListView):
    """Draw what each hypervisor has: used, allocated, sold, against what is there."""

    text_default = True
    columns = HostList.columns

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", nargs="?", help="one host only")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        if parsed.name is None:
            return self.app.client.get("/v1/hosts")
        return [self.app.client.get(f"/v1/hosts/{segment(parsed.name)}")]

    def text(self, answer: Any, parsed: Namespace) -> str:  # noqa: ARG002 - the base class's parameters
        if not answer:
            return self.nothing
        return "\n".join([chart.BAR_LEGEND, *(line for row in answer for line in _bars(row))])


def _bars(row: Row) -> list[str]:
    used = row["memory_mib"] - row["memory_available_mib"]
    cpu = (row["cpu_used_cores"], row["cpu_allocated_cores"], row["cpu_entitled_cores"], row["cpus"])
    memory = tuple(v / 1024 for v in (used, row["memory_allocated_mib"], row["memory_entitled_mib"], row["memory_mib"]))
    return [
        f"{row['name']}: {row['servers']} servers, {row['mode']}, {_state(row)}",
        f"  CPU    {chart.bar(*cpu)} {amounts(*cpu, digits=1)} cores",
        f"  memory {chart.bar(*memory)} {amounts(*memory, digits=1)} GiB",
    ]


class HostShow(ShowView):
    """Show one hypervisor."""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="name of the host, as in host list")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(f"/v1/hosts/{segment(parsed.name)}")
