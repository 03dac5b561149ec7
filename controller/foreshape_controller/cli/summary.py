"""``foreshape summary``: the fleet in one row."""

from argparse import Namespace
from typing import Any

from foreshape_controller.cli.view import Row, ShowView, amounts


def _share(share: float | None) -> str:
    return "" if share is None else f", {100 * share:.1f} % in the last day"


def _servers(row: Row) -> str:
    """What nobody measures is not nothing: it is missing from what is wanted."""
    blind = row["servers_unmeasured"]
    return f"{row['servers']}, {blind} of them not measured: what they want is not in the sums" if blind else str(row["servers"])


class Summary(ShowView):
    """Show the whole fleet: demand, allocation, entitlement now; decisions and orders since the database was made."""

    columns = (
        ("Hosts reporting", lambda r: f"{r['hosts_fresh']} of {r['hosts']}"),
        ("Servers", _servers),
        ("Cores wants / has / sold", lambda r: amounts(r["cpu_demand_cores"], r["cpu_allocated_cores"], r["cpu_entitled_cores"], digits=1)),
        (
            "GiB wants / has / sold",
            lambda r: amounts(*(r[f"memory_{k}_mib"] / 1024 for k in ("demand", "allocated", "entitled")), digits=1),
        ),
        ("Decisions", lambda r: r["decisions"]),
        ("Changed by the forecast", lambda r: f"{r['decisions_changed_by_forecast']}{_share(r['changed_share_24h'])}"),
        ("Held for nothing", lambda r: f"{r['ahead_unused_core_h']:.1f} core-hours, {r['ahead_unused_mib_h'] / 1024:.1f} GiB-hours"),
        ("Orders", lambda r: f"{r['orders']}: {r['orders_applied']} applied, {r['orders_refused']} refused, {r['orders_failed']} failed"),
        ("Reflexes", lambda r: r["reflexes"]),
        ("Halted", lambda r: "\n".join(r["halts"]) or "nothing"),
        ("Cloud", lambda r: r.get("cloud") or "none configured"),
        ("Simulated", lambda r: "yes" if r["simulated"] else "no"),
    )

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - no arguments
        answer = self.app.client.get("/v1/summary")
        if answer["alarm"]:
            self.app.stderr.write(f"ALARM: {answer['alarm']}\n")
        return answer
