"""``foreshape need list``: hosts that somebody has to leave."""

from argparse import Namespace
from typing import Any

from foreshape_controller.cli.view import PastView, Row, moment


def _amount(row: Row) -> str:
    return f"{row['amount']:.2f} cores" if row["resource"] == "cpu" else f"{row['amount']:.0f} MiB"


def _first(row: Row) -> str:
    names = [c["name"] for c in row["candidates"]]
    return ", ".join(names[:3]) or "nobody"


class NeedList(PastView):
    """List hosts that no sharing can serve: how much has to leave, when a migration has to begin, and who could go."""

    nothing = "No host needs anybody to leave."
    columns = (
        ("Host", lambda r: r["host"]),
        ("Resource", lambda r: r["resource"]),
        ("Amount", _amount),
        ("Begin by", lambda r: moment(r["deadline"])),
        ("Could go", _first),
        ("Reason", lambda r: r["reason"] if r["closed_at"] is None else f"closed: {r['closed_why']}"),
    )

    past = "also those that were closed within a week"

    def ask(self, parsed: Namespace) -> Any:
        return self.get("/v1/needs", parsed)
