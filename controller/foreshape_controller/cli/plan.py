"""``foreshape plan show``: the newest plan, one row per server and resource."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from foreshape_controller.cli.view import ListView, Row


def _rows(decision: Row) -> list[Row]:
    said = {k: decision[k] for k in ("server", "host", "cause", "at", "tier", "mode")}
    return [said | decision[resource] for resource in ("cpu", "memory")]


def _amount(key: str) -> Any:
    return lambda row: f"{row[key]:.{2 if row['resource'] == 'cpu' else 0}f}"


class PlanShow(ListView):
    """Show the newest plan: what each server has, should have, and why."""

    columns = (
        ("Server", lambda r: r["server"]),
        ("Host", lambda r: r["host"]),
        ("Resource", lambda r: r["resource"]),
        ("Choice", lambda r: r["choice"]),
        ("Has", _amount("allocation")),
        ("Target", _amount("target")),
        ("Mode", lambda r: r["mode"]),
        ("Reason", lambda r: r["reason"]),
    )

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.get("/v1/plan")
        if parsed.formatter not in ("json", "yaml", "csv"):
            for note in answer["notes"]:
                self.app.stdout.write(f"{note}\n")
        return answer

    def rows(self, answer: Any) -> Sequence[Row]:
        return [row for decision in answer["decisions"] for row in _rows(decision)]
