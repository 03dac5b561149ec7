"""``foreshape plan show``: the newest plan, one row per server and resource."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from foreshape_controller.cli.view import MACHINE, ListView, Row


def _rows(decision: Row) -> list[Row]:
    said = {k: decision[k] for k in ("name", "server", "host", "cause", "at", "tier", "mode") if k in decision}
    return [said | decision[resource] for resource in ("cpu", "memory")]


def _amount(key: str) -> Any:
    return lambda row: f"{row[key]:.{2 if row['resource'] == 'cpu' else 0}f}"


class PlanShow(ListView):
    """Show the newest plan: what each server has, should have, and why."""

    nothing = "Nothing is to be changed."
    columns = (
        ("Server", lambda r: r.get("name", r["server"])),
        ("Host", lambda r: r["host"]),
        ("Resource", lambda r: r["resource"]),
        ("Choice", lambda r: r["choice"]),
        ("Has", _amount("allocation")),
        ("Target", _amount("target")),
        ("Mode", lambda r: r["mode"]),
        ("Reason", lambda r: r["reason"]),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--changes", action="store_true", help="only servers of which something is to change")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.get("/v1/plan", changes=str(parsed.changes).lower())
        if parsed.formatter not in MACHINE:
            for note in answer["notes"]:
                self.app.stdout.write(f"{note}\n")
            names = {s["id"]: s["name"] for s in self.app.client.get("/v1/servers")}
            for decision in answer["decisions"]:
                decision["name"] = names.get(decision["server"], decision["server"])
        return answer

    def rows(self, answer: Any) -> Sequence[Row]:
        return [row for decision in answer["decisions"] for row in _rows(decision)]
