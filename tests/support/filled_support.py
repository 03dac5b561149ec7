"""A controller with something of everything in it: what metrics, rules and dashboards are held against."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from foreshape_controller.config import Settings
from foreshape_controller.main import Program, build
from store_support import T0, card, report, sample, settings
from tenants_support import FakeTokens

NOW = T0 + 3600.0
SERVERS = {"hv1": ("vm-1", "vm-2"), "hv2": ("vm-3", "vm-4")}


def filled(folder: Path, of: Settings | None = None, clock: Callable[[], float] = lambda: NOW, door: Any = None) -> Program:
    """Two hosts with two servers each, an hour of reports, a plan and its forecasts. The caller closes its store."""
    base = of or settings(folder)
    program = build(replace(base, api=replace(base.api, metrics_token_file=str(folder / "metrics-token"))), clock, door, FakeTokens())
    for host, servers in SERVERS.items():
        cards = tuple(card(s, project="p1") for s in servers)
        for n in range(13):
            at = NOW - 3600.0 + n * 300.0 - 5
            program.store.history.take(report(n + 1, at, [sample(s) for s in servers], host=host, cards=cards if n == 0 else None), at + 1)
    program.look_ahead()
    program.plan_loop.run_once(clock(), look_ahead=False)
    return program
