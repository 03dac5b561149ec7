"""Histories, terms and usage made by hand; and a controller whose hosts report five minutes at a time."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import structlog

from foreshape_controller.config_tenants import PricingSettings
from foreshape_controller.decide.book import period_of
from foreshape_controller.main import build
from foreshape_controller.model.history import History
from foreshape_controller.model.metering import AT, METERS, Amounts, Kind, Since, Terms, UsageDay, Used, bits
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.sample import DomainCard, HostReport, VmSample
from store_support import ask, card, report, sample, settings, size
from tenants_support import FakeTokens

HOUR = 1_793_523_600
"""2026-11-01T09:00Z."""
DAY = HOUR - HOUR % 86400
STEP = 300

CARD = """
currency: EUR
cards:
  - valid_from: 2026-01-01
    tiers:
      guaranteed:
        cpu: {entitlement: 0.03, guaranteed: 0.003, burst: 0.045, pool: 0.01, reservation: 0.015}
        memory: {entitlement: 0.004, guaranteed: 0.0004, burst: 0.006, pool: 0.001, reservation: 0.002}
        freed_discount: 0.4
        opt_in: 0.02
        credits: {violations: 0.25, guarantee: 10, claim: 1.5}
      standard:
        cpu: {entitlement: 0.02, guaranteed: 0.002, burst: 0.03, pool: 0.005, reservation: 0.01}
        memory: {entitlement: 0.003, guaranteed: 0.0003, burst: 0.004, pool: 0.0007, reservation: 0.0015}
        freed_discount: 0.5
        opt_in: -0.02
        accuracy:
          - {at_least: 0.8, discount: 0.02}
          - {at_least: 0.9, discount: 0.05}
        credits: {violations: 0.1, guarantee: 10, claim: 0.5}
      economy:
        cpu: {entitlement: 0.012}
        memory: {entitlement: 0.002}
        freed_discount: 0.5
        credits: {violations: 0.05}
"""


def terms(**more: object) -> Terms:
    """A server of project p1 that was sold 4 cores and 8 GiB."""
    given = {
        "kind": Kind.SERVER,
        "project": "p1",
        "name": "web",
        "tier": "standard",
        "mcores": 4000,
        "mib": 8192,
        "floor_mcores": 400,
        "floor_mib": 1024,
        "most_mcores": 8000,
        "most_mib": 16384,
        **more,
    }
    return Terms(**given)  # type: ignore[arg-type]


def since(server: str, at: float, **more: object) -> Since:
    return Since(server, at, terms(**more))


def history(
    resource: str, servers: Sequence[str], had: Mapping[str, Sequence[float]], need: Mapping[str, Sequence[float]] | None = None
) -> History:
    """An hour from ``HOUR`` on, in cores or MiB; NaN is a bin without data."""
    allocated = np.array([had[s] for s in servers], np.float32).reshape(len(servers), -1)
    mean = np.array([(need or {}).get(s, [0.1] * allocated.shape[1]) for s in servers], np.float32)
    known = np.isfinite(allocated)
    n, count = allocated.shape
    return History(
        resource=resource,
        series=tuple(servers),
        start=HOUR,
        mean=np.where(known, mean, np.nan).astype(np.float32),
        max=mean,
        coverage=known.astype(np.float32),
        censored=np.zeros((n, count), np.float32),
        entitlement=np.full(n, 4.0, np.float32),
        first_seen=np.zeros(n),
        allocated=allocated,
    )


def amounts(**given: int) -> Amounts:
    found = [0] * len(METERS)
    for name, value in given.items():
        found[AT[name]] = value
    return tuple(found)


def usage(day: int, *used: Used, booked: str = "2026-11") -> UsageDay:
    return UsageDay(DAY + day * 86400, booked, list(used))


def used(server: str, tier: str = "standard", *, act: bool = False, accuracy: int = -1, **given: int) -> Used:
    return Used(server, f"name of {server}", tier, accuracy, act, bits(1), amounts(**given))


class Had(NamedTuple):
    """One server in one bin."""

    cores: float
    mib: float = 8192.0
    need: float = 0.1
    """Cores that it wanted."""


Story = Callable[[str, float], Had | None]
"""What a server had in the bin that begins at an instant; None: its agent told nothing of it."""


class PriceWorld:
    """A controller with one host. Its servers are cards; ``run`` lets time pass, one report a bin."""

    def __init__(self, folder: Path, start: float, cards: Mapping[str, Mapping[str, Any]], *, step: int = STEP, **more: Any) -> None:
        """``step``: width of a bin, of which an agent makes one sample; ``more``: options of [pricing]."""
        rates = folder / "rates.yaml"
        if not rates.exists():
            rates.write_text(CARD)
        self.folder, self.now, self.cards = folder, start, dict(cards)
        self.sequence, self.told = 0, 0
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        self.step = step
        base = settings(folder)
        if step != STEP:  # the template of databases has bins of five minutes
            (folder / "controller.db").unlink(missing_ok=True)
        pricing = PricingSettings(rates_file=str(rates), **more)
        self.settings = replace(
            base, pricing=pricing, history=replace(base.history, step_s=step), store=replace(base.store, synchronous="normal")
        )
        self.program: Any = None
        self.start()

    def start(self) -> None:
        """Another process on the same database."""
        if self.program is not None:
            self.program.store.close()
        self.program = build(self.settings, lambda: self.now, tokens=FakeTokens())
        self.loop, self.store = self.program.pricing.loop, self.program.store
        self.statements = self.program.pricing.statements

    def sell(self, server: str, **more: Any) -> None:
        """Another card: a new server, flavor or project."""
        self.cards[server] = {**self.cards.get(server, {}), **more}
        self.told = 0

    def report(self, at: float, story: Story, **more: Any) -> HostReport:
        """Of the bin that ends now."""
        told = {name: story(name, at - self.step) for name in self.cards}
        self.sequence += 1
        cards = None if self.told else tuple(_card(name, **sold) for name, sold in self.cards.items())
        self.told += 1
        samples = [_sample(name, had, self.step) for name, had in told.items() if had is not None]
        return report(self.sequence, at, samples, cards=cards, **more)

    def run(self, until: float, story: Story, *, metering: bool = True) -> None:
        """Let time pass: a report at the end of each bin, and a look at it three seconds later."""
        while self.now < until:
            self.now = (self.now // self.step + 1) * self.step
            message = self.report(self.now, story)
            self.now += 3
            ask(self.program.intake, message, now=self.now)
            if metering:
                self.loop.run_once(self.now)

    def jump(self, until: float, story: Story) -> None:
        """Let time pass without reports but one at the end: nothing is known of what lies between."""
        self.now = until - self.step
        self.run(until, story)
        self.settle()

    def settle(self) -> None:
        """Count all that is over, as the clock would in its next runs."""
        while self.loop.run_once(self.now):
            pass

    def amounts(self, project: str = "p1", period: str = "") -> dict[str, int]:
        """All that was metered of a project, by meter."""
        days = self.store.metering.days(project, period or period_of(self.now))
        sums = {name: sum(u.amounts[i] for d in days for u in d.used) for name, i in AT.items()}
        return {name: value for name, value in sums.items() if value}


def always(cores: float = 4.0, mib: float = 8192.0, need: float = 0.1) -> Story:
    return lambda _server, _at: Had(cores, mib, need)


def _card(server: str, **sold: Any) -> DomainCard:
    ceiling = sold.pop("most", None)
    made = card(server, **{"project": "p1", "cores": 4.0, "mib": 8192.0, **sold})
    most = size(*(ceiling or (made.entitlement.cpu.cores * 2, made.entitlement.memory.mib * 2)))
    return msgspec.structs.replace(made, ceiling=most)


def _sample(server: str, had: Had, window: int) -> VmSample:
    base = sample(server, cores=min(had.need, had.cores), mib=500.0, window_s=float(window))
    assert base.cpu is not None
    assert base.memory is not None
    cpu = msgspec.structs.replace(base.cpu, allocation=Cores(had.cores), demand=Cores(had.need))
    return msgspec.structs.replace(base, cpu=cpu, memory=msgspec.structs.replace(base.memory, allocation=Memory(had.mib)))
